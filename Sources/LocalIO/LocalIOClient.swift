// A connection to one NFS export: the session of the RPC road, the engine of the local road, and
// the lease that says whether the local road is open.
package import DirectIO
internal import Glibc
public import Logging
public import NFSClient
package import NFSTypes
internal import PageCache
internal import SystemPackage
internal import Synchronization
internal import Threads

/// A client of one NFS export.
///
/// File data goes straight to the server's local file while the server is proved to be on this
/// host (`locality`), else by RPC; metadata always goes by RPC. Any thread may use it.
public final class LocalIOClient: Sendable {
    public let url: NFSURL
    public let configuration: ClientConfiguration
    /// The RPC road; metadata calls of programs may use it directly.
    public let session: NFSSession
    package let engine: IOEngine
    package let budget: UncommittedBudget
    let counters = Counters()
    let logger: Logger
    let lane: ControlLane
    let commitLane: ControlLane
    let files: FileTable
    private let openFiles = Lock<[ObjectIdentifier: LocalIOFile]>([:])
    let lease: Lease
    let forecast = OpenForecast()
    private let isClosed = Lock(false)
    private let dontCache = Atomic<Bool>(true)
    private let cache = Lock<ClientCache?>(nil)

    private init(
        session: NFSSession, configuration: ClientConfiguration, engine: IOEngine,
        logger: Logger
    ) {
        url = session.url
        self.session = session
        self.configuration = configuration
        self.engine = engine
        self.logger = logger
        budget = UncommittedBudget(commitThreshold: configuration.uncommittedByteCount)
        files = FileTable(budget: budget)
        lane = ControlLane(threadCount: max(configuration.controlThreads, 1))
        commitLane = ControlLane(threadCount: 2)
        lease = Lease(
            session: session, configuration: configuration, lane: lane, logger: logger)
    }

    /// Connects to the export and probes whether it is local. Blocks.
    public static func connectBlocking(
        to url: NFSURL, configuration: ClientConfiguration = ClientConfiguration(),
        logger: Logger = Logger(label: "localio")
    ) throws(LocalIOError) -> LocalIOClient {
        let session: NFSSession
        do throws(RPCError) {
            session = try NFSSession.connectBlocking(
                to: url, configuration: configuration.session, logger: logger)
        } catch {
            throw LocalIOError(.connect, errno: error.errno, "\(error)", cause: error)
        }
        return try start(session, configuration, logger)
    }

    /// Connects to the export and probes whether it is local.
    public static func connect(
        to url: NFSURL, configuration: ClientConfiguration = ClientConfiguration(),
        logger: Logger = Logger(label: "localio")
    ) async throws(LocalIOError) -> LocalIOClient {
        let starter = ControlLane(threadCount: 1)
        guard starter.start() else {
            throw LocalIOError(.usage, errno: EAGAIN, "no thread to be had for the client")
        }
        defer { starter.stop() }
        return try await starter.run { () throws(LocalIOError) in
            try connectBlocking(to: url, configuration: configuration, logger: logger)
        }
    }

    private static func start(
        _ session: NFSSession, _ configuration: ClientConfiguration, _ logger: Logger
    ) throws(LocalIOError) -> LocalIOClient {
        var settings = configuration.engine
        // Without a local road the engine only carries completions: it needs no buffers.
        if configuration.locality == .off { settings.poolByteCount = 0 }
        let engine: IOEngine
        do throws(Errno) {
            engine = try settings.makeEngine()
        } catch {
            session.closeBlocking()
            throw LocalIOError(
                .local, errno: error.rawValue, "the I/O engine could not start: \(error)")
        }
        let client = LocalIOClient(
            session: session, configuration: configuration, engine: engine, logger: logger)
        guard client.lane.start(), client.commitLane.start(), client.lease.start(client) else {
            client.closeBlocking()
            throw LocalIOError(.usage, errno: EAGAIN, "no thread to be had for the client")
        }
        return client
    }

    /// Whether file data goes the local road now.
    public var locality: Locality { lease.report.locality }

    /// The last probe's steps.
    public var probeReport: ProbeReport { lease.report }

    /// The counters so far.
    public func statistics() -> Statistics {
        counters.snapshot(
            engine: engine.statistics, uncommittedBytes: budget.usedBytes,
            cache: cache.withLock { $0 }?.cache.statistics)
    }

    /// Opens a file. Blocks.
    ///
    /// - Parameters:
    ///   - path: below the export, with or without a leading "/"; symbolic links are followed
    ///     by the client as long as they stay in the export.
    ///   - mode: permission bits of a file that is created.
    public func openBlocking(
        _ path: String, _ access: AccessMode = .readOnly, options: OpenOptions = [],
        mode: UInt32 = 0o644
    ) throws(LocalIOError) -> LocalIOFile {
        let file = try openBase(path, access, options: options, mode: mode, isBuffered: false)
        // What is kept of it from before may become wrong without a sign.
        if access.canWrite { cache.withLock { $0 }?.forget(file.handle) }
        return file
    }

    /// The page cache, made when it is first wanted.
    func pageCache() throws(LocalIOError) -> ClientCache {
        try checkOpen()
        return try cache.withLock { cache throws(LocalIOError) in
            if let cache { return cache }
            let made = try ClientCache(configuration.cache)
            cache = made
            return made
        }
    }

    func openBase(
        _ path: String, _ access: AccessMode, options: OpenOptions, mode: UInt32, isBuffered: Bool
    ) throws(LocalIOError) -> LocalIOFile {
        try checkOpen()
        // A buffered file asks for its local file below, in any case.
        var ahead: OpenAhead?
        let found = try PathWalk(session: session).open(
            path, access: access, options: options, mode: mode
        ) { handle, attributes, path in
            if attributes.type == .regular {
                ahead = askAhead(handle, path: path, access, isCertain: isBuffered)
            }
        }
        guard let state = files.opened(found.handle, isBuffered: isBuffered) else {
            throw LocalIOError(
                .usage, errno: EBUSY,
                "\(path): open \(isBuffered ? "unbuffered" : "buffered") in this client; close "
                    + "it first, or open it the same way")
        }
        let file = LocalIOFile(
            client: self, state: state, path: path, found: found, access: access,
            ahead: ahead)
        openFiles.withLock { $0[ObjectIdentifier(file)] = file }
        // The threads that write pages back must not wait for the agent: before there are any.
        if isBuffered { _ = file.route() }
        if options.contains(.truncate) { try file.truncateBlocking(to: 0) }
        return file
    }

    /// `openBlocking` for async callers.
    public func open(
        _ path: String, _ access: AccessMode = .readOnly, options: OpenOptions = [],
        mode: UInt32 = 0o644
    ) async throws(LocalIOError) -> LocalIOFile {
        try await lane.run { () throws(LocalIOError) in
            try self.openBlocking(path, access, options: options, mode: mode)
        }
    }

    /// Opens a file that the caller has found at the server itself; metadata programs such as
    /// the mount know files by their handles. Asks nobody and does not wait.
    ///
    /// - Parameters:
    ///   - attributes, granted: what the server has just said about the file and this caller.
    ///   - whereabouts: says at any time, on any thread, the file's path below the export without
    ///     symbolic links; a stale one costs the local road, never the wrong file.
    ///   - credentials: who the file's RPC calls are made as.
    ///   - ahead: what `askAhead` answered for it.
    package func open(
        handle: FileHandle, attributes: FileAttributes, granted: AccessRights,
        access: AccessMode, credentials: Credentials, ahead: OpenAhead? = nil,
        whereabouts: @escaping @Sendable () -> NFSName
    ) throws(LocalIOError) -> LocalIOFile {
        try checkOpen()
        let path = whereabouts()
        let found = FoundFile(
            handle: handle, attributes: attributes, granted: granted, resolvedPath: path)
        guard let state = files.opened(handle, isBuffered: false) else {
            throw LocalIOError(.usage, errno: EBUSY, "\(path): open buffered in this client")
        }
        let file = LocalIOFile(
            client: self, state: state, path: path.description, found: found, access: access,
            ahead: ahead, credentials: credentials, whereabouts: whereabouts)
        openFiles.withLock { $0[ObjectIdentifier(file)] = file }
        return file
    }

    /// Sends new I/O on these files by RPC. A file without a road yet has nothing to give back;
    /// its first I/O asks for what there is then.
    func revokeLocalFiles(where isMeant: (LocalIOFile) -> Bool) {
        for file in currentFiles() where file.currentRoute != nil && isMeant(file) {
            file.setRoute(.remote(.leaseRevoked))
        }
    }

    /// Opens the local road of open files that have none; called by the lease's thread.
    /// - Returns: false if it may be worth trying once more.
    func reopenLocalFiles() -> Bool {
        var isDone = true
        for file in currentFiles() {
            guard case .remote = file.currentRoute else { continue }
            let walk = PathWalk(session: session, credentials: file.credentials)
            do throws(LocalIOError) {
                let found = try walk.find(
                    handle: file.handle, resolvedPath: file.resolvedPath, access: file.access)
                openRoad(of: file, found: found)
            } catch {
                logger.debug("\(file.path) stays on RPC: \(error)")
            }
            if case .remote(let reason) = file.currentRoute, reason.mayPass { isDone = false }
        }
        return isDone
    }

    /// Whether buffered edges ask the kernel to drop their pages once written (RWF_DONTCACHE,
    /// Linux 6.14, and a file system that knows it).
    var usesDontCache: Bool { dontCache.load(ordering: .relaxed) }
    func dontCacheIsRefused() { dontCache.store(false, ordering: .relaxed) }

    private func currentFiles() -> [LocalIOFile] { openFiles.withLock { Array($0.values) } }

    func closed(_ file: LocalIOFile) {
        openFiles.withLock { $0[ObjectIdentifier(file)] = nil }
        files.closed(file.handle)
    }

    func checkOpen() throws(LocalIOError) {
        if isClosed.withLock({ $0 }) { throw .closed("client of \(url)") }
    }

    /// Commits and closes every open file, then the connection. Later calls do nothing.
    ///
    /// Must not be called from a completion.
    public func closeBlocking() {
        let first = isClosed.withLock { isClosed in
            defer { isClosed = true }
            return !isClosed
        }
        guard first else { return }
        let cache = cache.withLock { $0 }
        cache?.close(logger: logger)
        for file in currentFiles() {
            do throws(LocalIOError) {
                try file.closeBlocking()
            } catch {
                logger.error("closing \(file.path): \(error)")
            }
        }
        lease.stop()
        commitLane.stop()
        lane.stop()
        engine.shutdown()
        session.closeBlocking()
        cache?.detach()
    }

    /// `closeBlocking` for async callers.
    public func close() async {
        await withCheckedContinuation { waiter in
            let closer = OwnedThread(name: "lio-close") {
                self.closeBlocking()
                waiter.resume()
            }
            if closer == nil { waiter.resume() }
        }
    }
}

/// What `open` may do besides opening.
public struct OpenOptions: OptionSet, Sendable, Hashable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Make the file if it does not exist.
    public static let create = OpenOptions(rawValue: 1)
    /// With `create`: fail if it does.
    public static let exclusive = OpenOptions(rawValue: 2)
    /// Cut it to no bytes.
    public static let truncate = OpenOptions(rawValue: 4)
}

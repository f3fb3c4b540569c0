// An open file of an NFS export: what a program reads, writes and commits through.
internal import DirectIO
internal import Glibc
internal import NFSClient
public import NFSTypes
internal import Synchronization
internal import Threads

/// Where a segment goes right now.
package enum Route: Sendable {
    case local(LocalFile)
    case remote(FallbackReason)
}

/// An open file of an NFS export.
///
/// Any thread may use it, and many at once. Reads and writes that overlap in time and range have
/// no order among them, as with pread(2) and pwrite(2). Offsets and lengths are bytes.
/// Close it: a file that is dropped instead commits nothing.
///
/// Its local file is opened by its first I/O, not by `open` (Linux: fs/nfs/localio.c,
/// nfs_local_open_fh): what is only opened and closed costs no more than by RPC. Where the last
/// opens were followed by I/O, the agent is asked while the server is, and the first I/O finds
/// the answer there.
public final class LocalIOFile: Sendable {
    /// The path below the export, as it was opened.
    public let path: String
    public let access: AccessMode
    /// Who the file's RPC calls are made as; nil for the session's.
    package let credentials: Credentials?
    let client: LocalIOClient
    package let state: FileState
    /// The path below the export without symbolic links, as far as it is known by now: where the
    /// local file is looked for.
    var resolvedPath: NFSName { whereabouts() }
    private let whereabouts: @Sendable () -> NFSName
    /// nil until the first I/O asks for it.
    private let road = Lock<Route?>(nil)
    private let roadChanges = Atomic<UInt64>(0)
    private struct Unopened {
        var found: FoundFile
        var ahead: OpenAhead?
    }

    /// What the server said at the open, and what the agent was asked; the first I/O takes it.
    private let unopened: Lock<Unopened?>
    // Held while the agent is asked, which a Lock must never be.
    private let opening = Semaphore(1)
    private let isClosed = Atomic<Bool>(false)

    init(
        client: LocalIOClient, state: FileState, path: String, found: FoundFile,
        access: AccessMode, ahead: OpenAhead?, credentials: Credentials? = nil,
        whereabouts: (@Sendable () -> NFSName)? = nil
    ) {
        self.client = client
        self.state = state
        self.path = path
        let resolved = found.resolvedPath
        self.whereabouts = whereabouts ?? { resolved }
        self.access = access
        self.credentials = credentials
        unopened = Lock(Unopened(found: found, ahead: ahead))
    }

    /// The server's handle of the file.
    public var handle: FileHandle { state.handle }

    /// Where the next aligned I/O goes: `nil` is the local road, else the reason against it.
    /// Before the first I/O this opens the local file, and waits for the agent as that would.
    public var fallbackReason: FallbackReason? {
        switch route() {
        case .local: nil
        case .remote(let reason): reason
        }
    }

    /// Where a segment goes right now. Opens the local file if nothing has before, and then waits
    /// for the agent: not for a thread that others need while `currentRoute` is nil.
    package func route() -> Route { currentRoute ?? openRoad() }

    /// The same, or nil as long as no I/O has asked for it. Never waits.
    package var currentRoute: Route? { road.withLock { $0 } }

    @inline(never)
    private func openRoad() -> Route {
        opening.wait()
        defer { opening.signal() }
        // A second thread comes here when the first has been served, and a closed file never.
        guard currentRoute == nil, var first = unopened.withLock({ $0.take() }) else {
            return currentRoute ?? .remote(.leaseRevoked)
        }
        client.forecast.sawIO()
        first.found.resolvedPath = resolvedPath
        client.openRoad(of: self, found: first.found, ahead: first.ahead)
        return currentRoute ?? .remote(.leaseRevoked)
    }

    /// New I/O takes this road from now on; what is in flight ends on its own. A closed file gets
    /// no local file any more: nobody would give it back.
    package func setRoute(_ route: Route) {
        road.withLock { road in
            road = isClosed.load(ordering: .acquiring) ? .remote(.leaseRevoked) : route
        }
        roadChanges.add(1, ordering: .releasing)
    }

    /// Counts changes of the route: who asks before `route()` may use that one again as long as
    /// this has not changed, without the lock and without counting references.
    var routeVersion: UInt64 { roadChanges.load(ordering: .acquiring) }

    func checkOpen() throws(LocalIOError) {
        if isClosed.load(ordering: .acquiring) { throw .closed(path) }
    }

    /// The file's attributes: by statx(2) while the local road is open, else by GETATTR.
    public func attributesBlocking() throws(LocalIOError) -> FileAttributes {
        try checkOpen()
        do throws(RPCError) {
            return try currentAttributes()
        } catch {
            throw LocalIOError(rpc: error, doing: "attributes of \(path)")
        }
    }

    /// `attributesBlocking` for async callers.
    public func attributes() async throws(LocalIOError) -> FileAttributes {
        try await client.lane.run { () throws(LocalIOError) in try self.attributesBlocking() }
    }

    /// Sets the size in bytes, by RPC, with the whole file's range held.
    public func truncateBlocking(to size: UInt64) throws(LocalIOError) {
        try checkOpen()
        try checkWritable("truncate")
        try setSize(to: size)
    }

    /// `truncateBlocking` for async callers.
    public func truncate(to size: UInt64) async throws(LocalIOError) {
        try await client.lane.run { () throws(LocalIOError) in
            try self.truncateBlocking(to: size)
        }
    }

    /// Writes at the end of the file, with the whole file's range held, and answers the offset
    /// the bytes were written at. Atomic among this client's appends only: NFS has no append.
    public func appendBlocking(
        from bytes: UnsafeRawBufferPointer, stable: StableHow = .unstable
    ) throws(LocalIOError) -> UInt64 {
        try checkOpen()
        try checkWritable("append")
        // The local file knows its size even where the server's cache does not.
        _ = route()
        let token = state.ranges.acquireBlocking(.wholeFile, .exclusive)
        defer { state.ranges.release(token) }
        let size = try attributesBlocking().size
        var position = 0
        while position < bytes.count {
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[position...])
            let written = try unsafe writeBlocking(
                from: rest, at: size + UInt64(position), stable: stable, holdsRange: true)
            guard written > 0 else { break }
            position += written
        }
        return size
    }

    /// Commits, lets the server see local writes, and closes. Later calls do nothing.
    ///
    /// The file is closed even if this throws; the error then is the last word on its bytes.
    public func closeBlocking() throws(LocalIOError) {
        let first = !isClosed.exchange(true, ordering: .acquiringAndReleasing)
        guard first else { return }
        defer {
            setRoute(.remote(.leaseRevoked))
            endUnopened()
            client.closed(self)
        }
        if access.canWrite { try flush() }
    }

    /// There will be no first I/O any more.
    private func endUnopened() {
        guard let unused = unopened.withLock({ $0.take() }) else { return }
        client.forecast.sawNone()
        // Whoever executes the file next must not find it open for writing (ETXTBSY).
        if access.canWrite { unused.ahead?.giveBack() }
    }

    /// `closeBlocking` for async callers.
    public func close() async throws(LocalIOError) {
        try await client.commitLane.run { () throws(LocalIOError) in try self.closeBlocking() }
    }

    func checkWritable(_ what: String) throws(LocalIOError) {
        guard access.canWrite else {
            throw LocalIOError(
                .usage, errno: EBADF, "\(what) of \(path): opened read-only; open it readWrite")
        }
    }

    func checkReadable() throws(LocalIOError) {
        guard access.canRead else {
            throw LocalIOError(
                .usage, errno: EBADF, "read of \(path): opened write-only; open it readWrite")
        }
    }
}

// How a session comes to be and ends: names, portmap, MOUNT, FSINFO; UMNT.
internal import CNFS
internal import Glibc
public import Logging
internal import NFSTypes
internal import Threads

/// What setting up found out.
struct Mount: Sendable {
    let address: String
    let nfsPort: UInt16
    let mountPort: UInt16
    let root: FileHandle
    let info: FileSystemInfo
}

extension NFSSession {
    /// Mounts the export that `url` names.
    ///
    /// Asks the host's portmapper for ports that the URL does not give. The URL's options
    /// override the configuration: `uid` and `gid` the credentials (without groups), `timeo` the
    /// request time-out, `retrans` the recovery (soft with that many retries).
    /// - Throws: `.unreachable` if no server answers there, `.mountRefused` if it refuses, even
    ///   with hard recovery: that begins when the session stands.
    public static func connect(
        to url: NFSURL, configuration: SessionConfiguration = SessionConfiguration(),
        logger: Logger = Logger(label: "localio.nfs")
    ) async throws(RPCError) -> NFSSession {
        try await ControlThread.run(server: url.host) { () throws(RPCError) in
            try establish(url, configuration, logger)
        }
    }

    /// As `connect`, blocking the calling thread.
    public static func connectBlocking(
        to url: NFSURL, configuration: SessionConfiguration = SessionConfiguration(),
        logger: Logger = Logger(label: "localio.nfs")
    ) throws(RPCError) -> NFSSession {
        try ControlThread.runBlocking(server: url.host) { () throws(RPCError) in
            try establish(url, configuration, logger)
        }
    }

    /// Asks the server of `url` what it exports (MOUNT EXPORT); the URL's path does not matter.
    public static func exports(
        of url: NFSURL, timeout: Duration = .seconds(10)
    ) async throws(RPCError) -> [ExportEntry] {
        try await ControlThread.run(server: url.host) { () throws(RPCError) in
            try Setup(url: url, timeout: timeout).exports()
        }
    }

    /// As `exports`, blocking the calling thread.
    public static func exportsBlocking(
        of url: NFSURL, timeout: Duration = .seconds(10)
    ) throws(RPCError) -> [ExportEntry] {
        try ControlThread.runBlocking(server: url.host) { () throws(RPCError) in
            try Setup(url: url, timeout: timeout).exports()
        }
    }

    private static func establish(
        _ url: NFSURL, _ configuration: SessionConfiguration, _ logger: Logger
    ) throws(RPCError) -> NFSSession {
        let configuration = configuration.overridden(by: url)
        let mount = try Setup(url: url, timeout: configuration.connectTimeout).mount()
        let session = try NFSSession(
            mount: mount, url: url, configuration: configuration, logger: logger)
        for index in session.connections.indices {
            let answer = Answer<Void, RPCError>()
            session.start(.null, credentials: nil, id: session.makeID(connection: index)) {
                answer.set($0)
            }
            try answer.wait()
        }
        return session
    }

    /// Fails what is pending with `.closed`, ends the connections and tells the server's mount
    /// daemon, if it answers. Later calls fail with `.closed`.
    public func close() async {
        _ = try? await ControlThread.run(server: server) { () throws(RPCError) in
            self.closeOnThisThread()
        }
    }

    /// As `close`, blocking the calling thread. Never from a completion.
    public func closeBlocking() {
        _ = try? ControlThread.runBlocking(server: server) { () throws(RPCError) in
            self.closeOnThisThread()
        }
    }

    private func closeOnThisThread() {
        let isFirst = connections.map { $0.close(waiting: true) }.contains(true)
        guard isFirst else { return }
        let setup = Setup(url: url, timeout: .seconds(1))
        try? setup.unmount(address: serverAddress, port: mountPort)
    }
}

extension SessionConfiguration {
    /// With what the URL says about it instead.
    func overridden(by url: NFSURL) -> SessionConfiguration {
        var configuration = self
        if url.uid != nil || url.gid != nil {
            configuration.credentials = Credentials(
                uid: url.uid ?? credentials.uid, gid: url.gid ?? credentials.gid)
        }
        if let tenths = url.timeoutTenths {
            configuration.requestTimeout = .milliseconds(Int64(tenths) * 100)
        }
        if let retries = url.retransmissions {
            configuration.recovery = .soft(retries: Int(retries))
        }
        return configuration
    }
}

/// A thread of its own for work that blocks and that may raise SIGPIPE.
enum ControlThread {
    private static func start<Reply: Sendable>(
        server: String, _ body: @escaping @Sendable () throws(RPCError) -> Reply,
        _ done: @escaping @Sendable (Result<Reply, RPCError>) -> Void
    ) -> OwnedThread? {
        let thread = OwnedThread(name: "nfs-control") {
            BrokenPipeSignal.blockOnThisThread()
            do throws(RPCError) {
                done(.success(try body()))
            } catch {
                done(.failure(error))
            }
        }
        if thread == nil {
            done(
                .failure(
                    RPCError(
                        .unreachable("this process has no thread left"), server: server)))
        }
        return thread
    }

    static func run<Reply: Sendable>(
        server: String, _ body: @escaping @Sendable () throws(RPCError) -> Reply
    ) async throws(RPCError) -> Reply {
        var thread: OwnedThread?
        let result: Result<Reply, RPCError> = await withCheckedContinuation { continuation in
            thread = start(server: server, body) { continuation.resume(returning: $0) }
        }
        thread?.join()
        return try result.get()
    }

    static func runBlocking<Reply: Sendable>(
        server: String, _ body: @escaping @Sendable () throws(RPCError) -> Reply
    ) throws(RPCError) -> Reply {
        let answer = Answer<Reply, RPCError>()
        let thread = start(server: server, body) { answer.set($0) }
        defer { thread?.join() }
        return try answer.wait()
    }
}

// The embedded NFSv3 server: starts, names its URL, stops.
internal import CLinux
internal import Glibc
internal import Logging
internal import Threads

/// An NFSv3 server inside this process: NFS, MOUNT and LOCALIO on one TCP port, one directory.
///
/// Without root's rights every call acts as the user of this process, whoever the client says
/// it is: such a server is for its own user's tests and trials, and listens on loopback unless
/// told otherwise. With root's rights each call acts as its AUTH_SYS ids, root included.
///
/// WRITE and COMMIT are as durable as RFC 1813 wants them. New, removed and renamed names
/// survive the server's death at once, and a crash of the machine when the file system's journal
/// has them.
///
/// It remembers no replies: a call that is sent again after its connection was lost is carried
/// out again, so a client must expect `NFS3ERR_NOENT` for its own REMOVE, as RFC 1813 warns.
///
/// Every method may be called from any thread.
public final class EmbeddedServer: Sendable {
    private struct Running {
        let service: Service
        let listener: Listener
        let workers: [OwnedThread]
    }

    private enum State {
        case new
        case starting
        case running(Running)
        case stopped
    }

    public let configuration: ServerConfiguration
    private let nonces: NonceTable?
    private let state = Lock(State.new)

    public init(_ configuration: ServerConfiguration) {
        self.configuration = configuration
        nonces = nil
    }

    /// A server whose UUID_IS_LOCAL claims nonces for an agent in this process.
    package init(_ configuration: ServerConfiguration, nonces: NonceTable) {
        self.configuration = configuration
        self.nonces = nonces
    }

    deinit { stop() }

    /// Opens the directory, listens, and answers from then on. Succeeds once per server.
    public func start() throws(ServerError) {
        try check()
        let isFirst = state.withLock { state in
            guard case .new = state else { return false }
            state = .starting
            return true
        }
        guard isFirst else {
            throw ServerError(.alreadyStarted, "this server was started before; make another")
        }
        do throws(ServerError) {
            let running = try run()
            state.withLock { $0 = .running(running) }
        } catch {
            state.withLock { $0 = .new }
            throw error
        }
    }

    private func run() throws(ServerError) -> Running {
        let service = Service(
            configuration: configuration, export: try Export(directory: configuration.directory),
            nonces: nonces)
        let limits = configuration.limits
        let listener = try Listener(
            Listener.Setup(
                address: configuration.bindAddress, port: configuration.port,
                connections: limits.connections,
                limits: ConnectionLimits(inFlight: limits.inFlight),
                logger: configuration.logger, idle: { service.openFiles.closeIdle() }),
            queue: service.queue)
        let workers = (0..<configuration.workers).compactMap { number in
            OwnedThread(name: "localio-nfs-\(number)") {
                if let worker = Worker(service: service) { worker.run() }
            }
        }
        let running = Running(service: service, listener: listener, workers: workers)
        guard workers.count == configuration.workers, listener.start() else {
            Self.stop(running)
            throw ServerError(
                .system, "the system gives no more threads; ask for fewer workers", errno: EAGAIN)
        }
        configuration.logger.info(
            "serving",
            metadata: [
                "directory": "\(service.export.path)", "port": "\(listener.port)",
                "credentials": service.export.honoursCredentials ? "honoured" : "ignored",
            ])
        return running
    }

    /// The TCP port it listens at, or nil when it is not running.
    public var port: Int? {
        state.withLock { if case .running(let running) = $0 { running.listener.port } else { nil } }
    }

    /// The URL for clients, or nil when it is not running:
    /// `nfs://127.0.0.1/abs/dir?version=3&nfsport=P&mountport=P`.
    public var url: String? {
        state.withLock { state in
            guard case .running(let running) = state else { return nil }
            return Self.url(
                host: configuration.bindAddress, port: running.listener.port,
                path: running.service.export.path)
        }
    }

    /// Closes all connections and joins all threads; calls being carried out end first.
    /// Harmless when the server is not running.
    public func stop() {
        let running = state.withLock { state -> Running? in
            guard case .running(let running) = state else { return nil }
            state = .stopped
            return running
        }
        guard let running else { return }
        Self.stop(running)
        configuration.logger.info("stopped")
    }

    private static func stop(_ running: Running) {
        running.listener.stop()
        running.service.queue.close(workerCount: running.workers.count)
        for worker in running.workers { worker.join() }
        running.service.openFiles.closeAll()
    }

    private func check() throws(ServerError) {
        guard (0...65535).contains(configuration.port) else {
            throw ServerError(
                .badAddress,
                "port \(configuration.port) is out of range: give 1 through 65535, or 0 for any")
        }
        let limits = configuration.limits
        let settings = [
            ("workers", configuration.workers, 1024), ("connections", limits.connections, 65536),
            ("calls in flight", limits.inFlight, 65536),
            ("open files", limits.openFiles, 1 << 20),
            ("indexed names", limits.indexedNames, 1 << 30),
        ]
        for (name, value, limit) in settings where !(1...limit).contains(value) {
            throw ServerError(
                .badSetting, "\(value) is no number of \(name): give 1 through \(limit)")
        }
    }

    private static func url(host: String, port: Int, path: String) -> String {
        let plain = Set("/-._~!$'()*+,;=:@".utf8)
        var text = ""
        for byte in path.utf8 {
            let isLetter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a
            if isLetter || (byte >= 0x30 && byte <= 0x39) || plain.contains(byte) {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                text += (byte < 16 ? "%0" : "%") + String(byte, radix: 16, uppercase: true)
            }
        }
        let host = host.contains(":") ? "[\(host)]" : host
        return "nfs://\(host)\(text)?version=3&nfsport=\(port)&mountport=\(port)"
    }
}

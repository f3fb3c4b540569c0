// Accepts connections, keeps them within the limit, and closes what lies idle.
internal import CLinux
internal import Glibc
internal import Logging
internal import Threads

/// The listening socket and the threads of its connections.
final class Listener: Sendable {
    private struct Client {
        let connection: Connection
        let reader: OwnedThread
    }

    private struct State {
        var clients: [Client] = []
        var isStopping = false
        var thread: OwnedThread?
    }

    /// Where to listen and what to bear.
    struct Setup: Sendable {
        var address: String
        var port: Int
        var connections: Int
        /// Of each of them.
        var limits: ConnectionLimits
        var logger: Logger
        /// Runs now and then on the listener's thread.
        var idle: @Sendable () -> Void = {}
    }

    let port: Int
    private let setup: Setup
    private let queue: RequestQueue
    private let socket: Int32
    private let doorbell: Doorbell
    private let state = Lock(State())

    /// Binds and listens; connections wait until `start`.
    init(_ setup: Setup, queue: RequestQueue) throws(ServerError) {
        guard let doorbell = Doorbell() else {
            throw .system("no descriptor left", errno: errno)
        }
        self.doorbell = doorbell
        self.setup = setup
        self.queue = queue
        socket = try Self.listen(
            address: setup.address, port: setup.port, backlog: setup.connections)
        port = Self.localPort(socket)
    }

    deinit { close(socket) }

    /// - Returns: false if there is no thread to be had.
    func start() -> Bool {
        let thread = OwnedThread(name: "localio-accept") { self.run() }
        state.withLock { $0.thread = thread }
        return thread != nil
    }

    /// Ends every connection and joins every thread.
    func stop() {
        let thread = state.withLock { state in
            state.isStopping = true
            return state.thread
        }
        doorbell.ring()
        thread?.join()
        let clients = state.withLock { state in
            defer { state.clients = [] }
            return state.clients
        }
        for client in clients { client.connection.abort() }
        for client in clients { client.reader.join() }
    }

    private func run() {
        while !state.withLock({ $0.isStopping }) {
            var polled = (
                pollfd(fd: socket, events: Int16(POLLIN), revents: 0),
                pollfd(fd: doorbell.descriptor, events: Int16(POLLIN), revents: 0)
            )
            let count = unsafe withUnsafeMutableBytes(of: &polled) { bytes in
                unsafe poll(bytes.bindMemory(to: pollfd.self).baseAddress, 2, 500)
            }
            if count > 0, polled.0.revents != 0 { accept() }
            if count > 0, polled.1.revents != 0 { doorbell.drain() }
            setup.idle()
            joinEnded()
        }
    }

    private func accept() {
        var host = [CChar](repeating: 0, count: 64)
        let descriptor = unsafe clinux_accept(socket, &host, host.count)
        guard descriptor >= 0 else {
            // Without descriptors the connection stays pending: waiting is all that helps.
            if descriptor == -EMFILE || descriptor == -ENFILE { usleep(50_000) }
            return
        }
        let text = host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let peer = String(decoding: text, as: UTF8.self)
        joinEnded()
        let count = state.withLock { $0.clients.count }
        guard count < setup.connections else {
            setup.logger.warning(
                "refused a connection: too many", metadata: ["limit": "\(setup.connections)"])
            close(descriptor)
            return
        }
        var on: Int32 = 1
        unsafe setsockopt(
            descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        guard
            let connection = Connection(
                socket: descriptor, peer: peer, limits: setup.limits)
        else { return }
        let reader = OwnedThread(name: "localio-read") { [setup, queue] in
            guard let complaint = connection.run(into: queue) else { return }
            setup.logger.notice(
                "closed a connection", metadata: ["peer": "\(peer)", "reason": "\(complaint)"])
        }
        guard let reader else {
            connection.abort()
            close(descriptor)
            return
        }
        state.withLock { $0.clients.append(Client(connection: connection, reader: reader)) }
    }

    private func joinEnded() {
        let ended = state.withLock { state -> [Client] in
            let ended = state.clients.filter { $0.connection.hasEnded }
            if !ended.isEmpty { state.clients.removeAll { $0.connection.hasEnded } }
            return ended
        }
        for client in ended { client.reader.join() }
    }

    // MARK: - Sockets

    private static func listen(
        address: String, port: Int, backlog: Int
    ) throws(ServerError) -> Int32 {
        var hints = unsafe addrinfo()
        unsafe hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard unsafe getaddrinfo(address, String(port), &hints, &found) == 0,
            let found = unsafe found
        else {
            throw ServerError(
                .badAddress,
                "\(address) is no address to listen at: give one in numbers, such as 127.0.0.1",
                errno: EINVAL)
        }
        defer { unsafe freeaddrinfo(found) }
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let raw = unsafe Glibc.socket(found.pointee.ai_family, kind, 0)
        if raw < 0, errno == EAFNOSUPPORT, address == "::" {
            // A host without IPv6: every address of it is one of IPv4.
            return try listen(address: "0.0.0.0", port: port, backlog: backlog)
        }
        guard raw >= 0 else { throw .system("no socket", errno: errno) }
        var (on, off): (Int32, Int32) = (1, 0)
        unsafe setsockopt(
            raw, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        // "::" takes IPv4 too, whatever the host's default is; refused, and needless, for IPv4.
        unsafe setsockopt(
            raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, socklen_t(MemoryLayout<Int32>.size))
        guard unsafe bind(raw, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0,
            Glibc.listen(raw, Int32(clamping: backlog)) == 0
        else {
            let code = errno
            close(raw)
            throw badAddress(address, port, code)
        }
        return raw
    }

    private static func badAddress(_ address: String, _ port: Int, _ code: Int32) -> ServerError {
        let remedy =
            switch code {
            case EADDRINUSE: "port \(port) is in use; give another, or 0 for any free one"
            case EACCES: "port \(port) is for root; give 1024 or more, or 0 for any free one"
            case EADDRNOTAVAIL: "this host has no address \(address)"
            default: errorText(code)
            }
        return ServerError(
            .badAddress, "cannot listen at \(address): \(remedy)", errno: code)
    }

    private static func localPort(_ socket: Int32) -> Int {
        var address = sockaddr_storage()
        var byteCount = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return unsafe withUnsafeMutableBytes(of: &address) { bytes in
            guard let base = unsafe bytes.bindMemory(to: sockaddr.self).baseAddress,
                unsafe getsockname(socket, base, &byteCount) == 0
            else { return 0 }
            // The port lies at the same place for both families.
            return unsafe Int(UInt16(bigEndian: bytes.load(fromByteOffset: 2, as: UInt16.self)))
        }
    }
}

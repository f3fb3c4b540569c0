// One end of a connection between a client and the agent: messages out and in, descriptors
// with them, and who the other end is.
internal import CLinux
internal import Glibc
package import NFSTypes
internal import Threads

/// An open descriptor that is closed with its owner.
package struct AgentDescriptor: ~Copyable, Sendable {
    package let raw: Int32

    package init(_ raw: Int32) { self.raw = raw }

    deinit { close(raw) }

    /// Gives the descriptor away: the caller closes it.
    package consuming func take() -> Int32 {
        let raw = raw
        discard self
        return raw
    }
}

/// A message with what travelled along.
package struct AgentDelivery: ~Copyable, Sendable {
    package let message: AgentMessage
    /// The first descriptor of `opened`.
    package var direct: AgentDescriptor?
    /// The second.
    package var buffered: AgentDescriptor?
}

/// Why a connection is of no more use.
package enum AgentSocketError: Error, Hashable, Sendable {
    /// No agent there: the errno of connect(2).
    case unreachable(path: String, errno: Int32)
    /// The other end closed.
    case closed
    /// The other end does not read, or does not end a message that it began.
    case timedOut
    case system(errno: Int32)
    /// The other end sent what is no message.
    case nonsense(AgentProtocolError)
}

/// A connected socket. Any thread may send; one thread at a time receives.
package final class AgentSocket: Sendable {
    private struct Incoming {
        var assembler = FrameAssembler()
        var descriptors: [Int32] = []
    }

    package let descriptor: Int32
    private let sending = Lock(())
    private let incoming = Lock(Incoming())

    /// Takes over a connected, non-blocking socket.
    package init(adopting descriptor: Int32) { self.descriptor = descriptor }

    deinit {
        incoming.withLock { for descriptor in $0.descriptors { Glibc.close(descriptor) } }
        Glibc.close(descriptor)
    }

    /// Connects to the agent at `path`.
    package static func connect(
        path: String = AgentProtocol.socketPath
    ) throws(AgentSocketError) -> AgentSocket {
        let answer = unsafe clinux_unix_connect(path)
        guard answer >= 0 else { throw .unreachable(path: path, errno: -answer) }
        return AgentSocket(adopting: answer)
    }

    /// Connects, and agrees on a version.
    package static func connectAndGreet(
        path: String = AgentProtocol.socketPath, timeout: Duration = .seconds(5)
    ) throws(AgentSocketError) -> (socket: AgentSocket, version: UInt16) {
        let socket = try connect(path: path)
        let versions = AgentProtocol.versions
        try socket.send(.hello(lowest: versions.lowerBound, highest: versions.upperBound))
        guard let reply = try socket.receive(timeout: timeout) else { throw .timedOut }
        guard case .helloReply(let version) = reply.message, versions.contains(version)
        else { throw .nonsense(.badValue(UInt64(reply.message.type))) }
        return (socket, version)
    }

    /// Two connected ends.
    package static func pair() throws(AgentSocketError) -> (AgentSocket, AgentSocket) {
        var ends: [Int32] = [-1, -1]
        let answer = unsafe clinux_unix_pair(&ends)
        guard answer == 0 else { throw .system(errno: -answer) }
        return (AgentSocket(adopting: ends[0]), AgentSocket(adopting: ends[1]))
    }

    /// Sends a message whole, with `descriptors` beside it; they stay the caller's.
    ///
    /// Waits up to `timeout` for a peer that reads slowly. After an error the connection is of
    /// no more use: half a message may have gone out.
    package func send(
        _ message: AgentMessage, descriptors: [Int32] = [], timeout: Duration = .seconds(5)
    ) throws(AgentSocketError) {
        try send(bytes: message.encoded(), descriptors, timeout)
    }

    /// Sends messages behind one another, as one piece.
    package func send(
        _ messages: [AgentMessage], timeout: Duration = .seconds(5)
    ) throws(AgentSocketError) {
        try send(bytes: messages.flatMap { $0.encoded() }, [], timeout)
    }

    private func send(
        bytes: [UInt8], _ descriptors: [Int32], _ timeout: Duration
    ) throws(AgentSocketError) {
        let deadline = ContinuousClock.now + timeout
        try sending.withLock { (_) throws(AgentSocketError) in
            var sent = 0
            while sent < bytes.count {
                let answer = sendPiece(bytes, from: sent, descriptors)
                if answer >= 0 {
                    sent += Int(answer)
                } else if answer == -Int64(EAGAIN) {
                    guard waits(for: Int16(POLLOUT), until: deadline) else { throw .timedOut }
                } else {
                    throw Self.error(answer)
                }
            }
        }
    }

    private func sendPiece(_ bytes: [UInt8], from sent: Int, _ descriptors: [Int32]) -> Int64 {
        unsafe bytes.withUnsafeBytes { raw in
            let rest = unsafe UnsafeRawBufferPointer(rebasing: raw[sent...])
            // Descriptors travel with the first byte and only with it.
            let count = sent == 0 ? Int32(descriptors.count) : 0
            return unsafe clinux_send_with_descriptors(
                descriptor, rest.baseAddress, rest.count, descriptors, count)
        }
    }

    /// The next message, or nil if none came within `timeout`.
    package func receive(timeout: Duration) throws(AgentSocketError) -> AgentDelivery? {
        let deadline = ContinuousClock.now + timeout
        return try incoming.withLock {
            (incoming: inout Incoming) throws(AgentSocketError) -> AgentDelivery? in
            while true {
                if let delivery = try Self.next(&incoming) { return delivery }
                guard waits(for: Int16(POLLIN), until: deadline) else { return nil }
                try fill(&incoming)
            }
        }
    }

    private static func next(
        _ incoming: inout Incoming
    ) throws(AgentSocketError) -> AgentDelivery? {
        let message: AgentMessage
        do throws(AgentProtocolError) {
            guard let frame = try incoming.assembler.next() else { return nil }
            message = try AgentMessage.decode(frame)
        } catch .unknownType(let type) {
            message = .unknown(type: type)
        } catch {
            throw .nonsense(error)
        }
        guard case .opened(let reply) = message else {
            return AgentDelivery(message: message, direct: nil, buffered: nil)
        }
        guard incoming.descriptors.count >= reply.descriptorCount else {
            throw .nonsense(.badValue(UInt64(incoming.descriptors.count)))
        }
        let direct = AgentDescriptor(incoming.descriptors.removeFirst())
        guard reply.hasBuffered else {
            return AgentDelivery(message: message, direct: direct, buffered: nil)
        }
        let buffered = AgentDescriptor(incoming.descriptors.removeFirst())
        return AgentDelivery(message: message, direct: direct, buffered: buffered)
    }

    /// Takes what has arrived.
    private func fill(_ incoming: inout Incoming) throws(AgentSocketError) {
        var descriptors = [Int32](repeating: -1, count: CLINUX_DESCRIPTOR_LIMIT)
        var count: Int32 = 0
        var room = [UInt8](repeating: 0, count: 16 << 10)
        let answer = unsafe room.withUnsafeMutableBytes { raw in
            unsafe clinux_receive_with_descriptors(
                descriptor, raw.baseAddress, raw.count, &descriptors, &count)
        }
        incoming.descriptors.append(contentsOf: descriptors.prefix(Int(count)))
        if answer == -Int64(EAGAIN) { return }
        if answer < 0 { throw Self.error(answer) }
        if answer == 0 { throw .closed }
        // Nobody sends more descriptors than messages take.
        guard incoming.descriptors.count <= 64 else { throw .nonsense(.badValue(64)) }
        incoming.assembler.append(room.prefix(Int(answer)))
    }

    private func waits(for events: Int16, until deadline: ContinuousClock.Instant) -> Bool {
        while true {
            let (seconds, attoseconds) = (deadline - ContinuousClock.now).components
            let milliseconds = seconds * 1000 + attoseconds / 1_000_000_000_000_000
            var waiting = pollfd(fd: descriptor, events: events, revents: 0)
            let answer = unsafe poll(
                &waiting, 1, Int32(clamping: max(0, milliseconds + (attoseconds > 0 ? 1 : 0))))
            if answer > 0 { return true }
            if answer == 0 { return false }
            guard errno == EINTR else { return true }
        }
    }

    /// Ends the connection for both sides: a thread in `receive` gets `.closed`.
    package func shutdown() { Glibc.shutdown(descriptor, Int32(SHUT_RDWR)) }

    /// The other end's process and rights, as of when it connected.
    package func peer() throws(AgentSocketError) -> AgentPeer {
        try AgentPeer(socket: descriptor)
    }

    private static func error(_ answer: Int64) -> AgentSocketError {
        let errno = Int32(-answer)
        return errno == EPIPE || errno == ECONNRESET ? .closed : .system(errno: errno)
    }
}

/// Who is at the other end of a Unix socket (SO_PEERCRED, SO_PEERGROUPS).
package struct AgentPeer: Hashable, Sendable {
    package let processIdentifier: Int32
    /// With all supplementary groups, also those that AUTH_SYS has no room for.
    package let credentials: Credentials

    package init(socket: Int32) throws(AgentSocketError) {
        var (pid, uid, gid): (pid_t, UInt32, UInt32) = (0, 0, 0)
        let answer = unsafe clinux_peer_credentials(socket, &pid, &uid, &gid)
        guard answer == 0 else { throw .system(errno: -answer) }
        var groups = [UInt32](repeating: 0, count: 64)
        var count = unsafe clinux_peer_groups(socket, &groups, Int32(groups.count))
        if count > groups.count {
            groups = [UInt32](repeating: 0, count: Int(count))
            count = unsafe clinux_peer_groups(socket, &groups, count)
        }
        guard count >= 0, count <= groups.count else { throw .system(errno: -min(count, 0)) }
        processIdentifier = pid
        credentials = Credentials(uid: uid, gid: gid, groups: Array(groups.prefix(Int(count))))
    }
}

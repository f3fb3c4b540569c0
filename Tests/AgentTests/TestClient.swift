// A client of the agent, made of the protocol's pieces, and one call of the LOCALIO program.
import AgentProtocol
import CLinux
import Foundation
import NFSTypes
import Threads

/// What came of an OPEN. Closes its descriptors.
enum OpenAnswer: Sendable {
    case opened(AgentOpenReply, direct: Int32, buffered: Int32?)
    case refused(AgentRefusal, String)

    var refusal: AgentRefusal? { if case .refused(let reason, _) = self { reason } else { nil } }
    var isOpened: Bool { if case .opened = self { true } else { false } }

    func close() {
        guard case .opened(_, let direct, let buffered) = self else { return }
        Foundation.close(direct)
        if let buffered { Foundation.close(buffered) }
    }
}

final class TestClient: Sendable {
    let socket: AgentSocket

    init(path: String, as user: Credentials? = nil) throws {
        guard let user else {
            socket = try AgentSocket.connect(path: path)
            return
        }
        let answer = Box<Int32>(-1)
        // The thread's ids are gone for good: it ends here.
        let thread = OwnedThread(name: "other-user") {
            answer.set(
                clinux_unix_connect_as(
                    path, user.uid, user.gid, user.groups, Int32(user.groups.count)))
        }
        thread?.join()
        guard answer.get() >= 0 else { throw FixtureError("connect as \(user): \(answer.get())") }
        socket = AgentSocket(adopting: answer.get())
    }

    func greet() throws {
        try socket.send(.hello(lowest: 1, highest: 9))
        guard case .helloReply(version: 1) = try receive() else {
            throw FixtureError("no hello")
        }
    }

    func receive(timeout: Duration = .seconds(10)) throws -> AgentMessage {
        guard let delivery = try socket.receive(timeout: timeout) else {
            throw FixtureError("no answer")
        }
        return delivery.message
    }

    @discardableResult
    func register(_ nonce: Nonce, address: String = "127.0.0.1") throws -> AgentMessage {
        try socket.send(.register(nonce: nonce, peerAddress: address))
        return try receive()
    }

    func confirm(_ nonce: Nonce) throws -> Bool {
        try socket.send(.confirm(nonce: nonce))
        guard case .confirmed(nonce, let isClaimed) = try receive() else {
            throw FixtureError("no confirmation")
        }
        return isClaimed
    }

    func prove(port: Int) throws {
        let nonce = Nonce.random()
        try register(nonce)
        try LocalIOCall.uuidIsLocal(nonce, port: port)
        guard try confirm(nonce) else { throw FixtureError("not claimed") }
    }

    func open(_ request: AgentOpenRequest) throws -> OpenAnswer {
        try socket.send(.open(request))
        while var delivery = try socket.receive(timeout: .seconds(10)) {
            switch delivery.message {
            case .opened(let reply) where reply.requestID == request.requestID:
                let direct = delivery.direct.take()?.take() ?? -1
                return .opened(reply, direct: direct, buffered: delivery.buffered.take()?.take())
            case .refused(request.requestID, let reason, let text):
                return .refused(reason, text)
            default: continue
            }
        }
        throw FixtureError("no answer to OPEN")
    }

    /// The answer's refusal; what was opened is closed and released.
    func outcome(_ request: AgentOpenRequest) throws -> AgentRefusal? {
        let answer = try open(request)
        answer.close()
        if case .opened(let reply, _, _) = answer {
            try socket.send(.release(openID: reply.openID))
        }
        return answer.refusal
    }

    /// The other end has closed the connection.
    func isClosed() -> Bool {
        for _ in 0..<1000 {
            do {
                _ = try socket.receive(timeout: .milliseconds(10))
            } catch .closed {
                return true
            } catch {
                return true
            }
        }
        return false
    }
}

/// One value that threads share.
final class Box<Value: Sendable>: Sendable {
    private let value: Lock<Value>
    init(_ initial: Value) { value = Lock(initial) }
    func set(_ new: Value) { value.withLock { $0 = new } }
    func get() -> Value { value.withLock { $0 } }
}

/// The LOCALIO program as bytes on a TCP connection (RFC 5531).
enum LocalIOCall {
    static func words(_ words: [UInt32]) -> [UInt8] {
        words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } }
    }

    /// A call's record: version 2, AUTH_NONE.
    static func record(
        procedure: UInt32, program: UInt32 = 400_122, _ arguments: [UInt8]
    ) -> [UInt8] {
        let body = words([7, 0, 2, program, 1, procedure, 0, 0, 0, 0]) + arguments
        return words([0x8000_0000 | UInt32(body.count)]) + body
    }

    /// Sends UUID_IS_LOCAL from an address of this host and waits for the void answer.
    static func uuidIsLocal(_ nonce: Nonce, port: Int, from: String = "127.0.0.1") throws {
        let reply = try exchange(record(procedure: 1, nonce.bytes), port: port, from: from)
        // Record mark, xid, REPLY, accepted, verifier (2), SUCCESS; and nothing else.
        guard reply == words([0x8000_0018, 7, 1, 0, 0, 0, 0]) else {
            throw FixtureError("UUID_IS_LOCAL answered \(reply)")
        }
    }

    static func exchange(_ bytes: [UInt8], port: Int, from: String) throws -> [UInt8] {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        func address(_ host: String, _ port: Int) -> sockaddr_in {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(port).bigEndian
            inet_pton(AF_INET, host, &address.sin_addr)
            return address
        }
        var (own, other) = (address(from, 0), address("127.0.0.1", port))
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        var timeout = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        let connected = withUnsafePointer(to: &own) { own in
            own.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        } == 0
            && withUnsafePointer(to: &other) { other in
                other.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, length)
                }
            } == 0
        guard connected, send(descriptor, bytes, bytes.count, 0) == bytes.count else {
            throw FixtureError("no connection to port \(port): errno \(errno)")
        }
        var reply = [UInt8](repeating: 0, count: 1024)
        let count = recv(descriptor, &reply, reply.count, 0)
        return Array(reply.prefix(max(0, count)))
    }
}

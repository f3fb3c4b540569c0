// The client's end of the agent's socket: asks for files, hears of revocations.
internal import AgentProtocol
internal import Logging
internal import NFSTypes
internal import SystemPackage
internal import Threads

/// What an agent says unasked.
enum AgentEvent: Sendable {
    /// Let go of these.
    case revoked(AgentRevocation)
    /// The connection is over, and with it the lease.
    case ended(String)
}

/// A greeted connection to the agent.
///
/// First `register` and `confirm`, by one thread; then `startReading` once, and from then on
/// `open` by any thread: a thread of the connection's own gives each answer to its asker.
final class AgentConnection: Sendable {
    private struct State {
        var askers: [UInt64: Asker] = [:]
        var nextRequest: UInt64 = 1
        /// Opens that are over, which the agent does not know yet.
        var releases: [UInt64] = []
        var isOver = false
    }

    private static let releaseLimit = 64

    let socket: AgentSocket
    fileprivate let timeout: Duration
    private let state = Lock(State())
    private let reader = Lock<OwnedThread?>(nil)
    /// Runs work that may wait for the socket, on some other thread; false if it cannot.
    private let later: @Sendable (@escaping @Sendable () -> Void) -> Bool

    init(
        path: String, timeout: Duration,
        later: @escaping @Sendable (@escaping @Sendable () -> Void) -> Bool
    ) throws(AgentSocketError) {
        socket = try AgentSocket.connectAndGreet(path: path, timeout: timeout).socket
        self.timeout = timeout
        self.later = later
    }

    // MARK: - Before the proof

    /// Registers a nonce; nil if the agent keeps it, else its reason.
    func register(_ nonce: Nonce, from address: String) throws(AgentSocketError) -> AgentRefusal? {
        try socket.send(.register(nonce: nonce, peerAddress: address), timeout: timeout)
        switch try answer() {
        case .registered(nonce): return nil
        case .registerRefused(nonce, let reason): return reason
        case let other: throw .nonsense(.badValue(UInt64(other.type)))
        }
    }

    /// Whether the nonce reached the agent by the other road.
    func confirm(_ nonce: Nonce) throws(AgentSocketError) -> Bool {
        try socket.send(.confirm(nonce: nonce), timeout: timeout)
        switch try answer() {
        case .confirmed(nonce, let isClaimed): return isClaimed
        case let other: throw .nonsense(.badValue(UInt64(other.type)))
        }
    }

    private func answer() throws(AgentSocketError) -> AgentMessage {
        guard let delivery = try socket.receive(timeout: timeout) else { throw .timedOut }
        return delivery.message
    }

    // MARK: - After it

    /// Starts to listen; `handler` runs on the connection's thread and must not wait for it.
    /// - Returns: false if there is no thread to be had.
    func startReading(_ handler: @escaping @Sendable (AgentEvent) -> Void) -> Bool {
        let thread = OwnedThread(name: "lio-agent") { self.read(handler) }
        reader.withLock { $0 = thread }
        return thread != nil
    }

    private func read(_ handler: (AgentEvent) -> Void) {
        let why: String
        do throws(AgentSocketError) {
            while true {
                guard let delivery = try socket.receive(timeout: .seconds(3600)) else { continue }
                dispatch(delivery, handler)
            }
        } catch {
            why = error.explanation
        }
        let askers = state.withLock { state in
            state.isOver = true
            defer { state.askers = [:] }
            return state.askers
        }
        // First the event: whoever is told that its request failed must find the lease gone.
        handler(.ended(why))
        for asker in askers.values { asker.end() }
    }

    private func dispatch(_ delivery: consuming AgentDelivery, _ handler: (AgentEvent) -> Void) {
        switch delivery.message {
        case .opened(let reply):
            let asker = state.withLock { $0.askers.removeValue(forKey: reply.requestID) }
            let openID = reply.openID
            // Too late for who asked: the descriptors close here.
            if asker?.give(delivery) != true { release(openID) }
        case .refused(let requestID, _, _):
            _ = state.withLock { $0.askers.removeValue(forKey: requestID) }?.give(delivery)
        case .revoke(let revocation):
            handler(.revoked(revocation))
        default:
            // Answers that nobody waits for any more, or messages of a later version.
            break
        }
    }

    /// Asks for a file without waiting for the answer; nil once the connection is over.
    func begin(_ request: AgentOpenRequest) -> AgentQuestion? {
        var request = request
        let asker = Asker()
        let (number, releases): (UInt64?, [UInt64]) = state.withLock { state in
            guard !state.isOver else { return (nil, []) }
            defer {
                state.nextRequest += 1
                state.releases = []
            }
            state.askers[state.nextRequest] = asker
            return (state.nextRequest, state.releases)
        }
        guard let number else { return nil }
        request.requestID = number
        do throws(AgentSocketError) {
            try socket.send(
                releases.map { .release(openID: $0) } + [.open(request)], timeout: timeout)
        } catch {
            // Half a message may have gone out.
            close()
        }
        return AgentQuestion(connection: self, number: number, asker: asker)
    }

    /// Nobody waits for this answer any more. Never waits.
    fileprivate func forget(_ number: UInt64, _ asker: Asker) {
        state.withLock { $0.askers[number] = nil }
        if let openID = asker.abandon() { release(openID) }
    }

    /// Notes that an open is over: the agent hears of it with the next question, at the lease's
    /// next turn, or when many are. Never waits. It holds no descriptor for it.
    func release(_ openID: UInt64) {
        let isMany = state.withLock { state in
            guard !state.isOver else { return false }
            state.releases.append(openID)
            return state.releases.count == Self.releaseLimit
        }
        if isMany { _ = later { self.sendReleases() } }
    }

    /// Has the agent told of the opens that are over, if there are any. Never waits.
    func sendReleasesLater() {
        guard state.withLock({ !$0.releases.isEmpty }) else { return }
        _ = later { self.sendReleases() }
    }

    private func sendReleases() {
        let releases = state.withLock { state in
            defer { state.releases = [] }
            return state.isOver ? [] : state.releases
        }
        if releases.isEmpty { return }
        do throws(AgentSocketError) {
            try socket.send(releases.map { .release(openID: $0) }, timeout: timeout)
        } catch {
            close()
        }
    }

    /// Ends the connection; its thread then ends by itself.
    func close() {
        state.withLock { $0.isOver = true }
        socket.shutdown()
    }

    /// Waits for the connection's thread, after `close`. Never from that thread.
    func join() {
        let thread = reader.withLock { thread in
            defer { thread = nil }
            return thread
        }
        thread?.join()
    }
}

/// A file that the agent was asked for. Dropped unanswered, or with its answer still in it, the
/// agent is told that the open is over.
final class AgentQuestion: Sendable {
    let connection: AgentConnection
    private let number: UInt64
    private let asker: Asker

    fileprivate init(connection: AgentConnection, number: UInt64, asker: Asker) {
        self.connection = connection
        self.number = number
        self.asker = asker
    }

    deinit { connection.forget(number, asker) }

    /// Waits for the answer and takes it, once; nil if there is none in time.
    func answer() -> AgentDelivery? { asker.wait(connection.timeout) }
}

/// One request that waits for its answer.
private final class Asker: Sendable {
    private struct Slot: ~Copyable {
        var delivery: AgentDelivery?
        var isAbandoned = false
    }

    private let slot = Lock(Slot())
    private let arrived = Semaphore()

    /// - Returns: false if nobody waits any more.
    func give(_ delivery: consuming AgentDelivery) -> Bool {
        var delivery: AgentDelivery? = consume delivery
        let isWanted = slot.withLock { slot in
            if !slot.isAbandoned { slot.delivery = delivery.take() }
            return !slot.isAbandoned
        }
        arrived.signal()
        return isWanted
    }

    func end() { arrived.signal() }

    func wait(_ timeout: Duration) -> AgentDelivery? {
        _ = arrived.wait(timeout: timeout)
        return slot.withLock { $0.delivery.take() }
    }

    /// - Returns: the open that nobody took.
    func abandon() -> UInt64? {
        let left: AgentDelivery? = slot.withLock { slot in
            slot.isAbandoned = true
            return slot.delivery.take()
        }
        guard let delivery = left, case .opened(let reply) = delivery.message else { return nil }
        return reply.openID
    }
}

/// The agent's side of an open file: it is told when the file's last I/O has ended.
final class AgentTicket: Sendable {
    private let connection: AgentConnection
    private let openID: UInt64
    /// Names the export in a revocation.
    let exportID: UInt32

    init(connection: AgentConnection, reply: AgentOpenReply) {
        self.connection = connection
        openID = reply.openID
        exportID = reply.exportID
    }

    deinit { connection.release(openID) }
}

extension AgentSocketError {
    /// One line for people.
    var explanation: String {
        switch self {
        case .unreachable(let path, let code): "\(path): \(Errno(rawValue: code).description)"
        case .closed: "the agent closed the connection"
        case .timedOut: "the agent did not answer in time"
        case .system(let code): "\(Errno(rawValue: code).description)"
        case .nonsense(let error): "the agent answered what is no message: \(error)"
        }
    }
}

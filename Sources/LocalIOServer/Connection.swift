// One client's TCP connection: a reader thread takes records, workers answer in any order.
internal import CLocalIORPC
internal import Glibc
internal import Threads

/// One call's record; its memory is used again by later calls of the connection.
@safe
final class Request: @unchecked Sendable {
    fileprivate var buffer: UnsafeMutablePointer<UInt8>?
    fileprivate var capacity = 0
    fileprivate var byteCount = 0

    deinit { unsafe free(buffer) }

    var bytes: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: buffer, count: byteCount)
    }
}

/// A call and the connection that waits for its reply.
struct Work: Sendable {
    let connection: Connection
    let request: Request

    /// Ends the connection in place of a reply.
    func drop() {
        connection.abort()
        connection.dismiss(request)
    }
}

/// What one connection may make the server hold.
struct ConnectionLimits: Sendable {
    /// Calls that are read and not yet answered.
    var inFlight: Int
    /// Bytes of one call.
    var requestByteCount = ServerLimits.requestByteCount
    /// After which the connection is ended; nil for none.
    var lifetime: Duration?
}

/// A connection. The socket never blocks: a worker that cannot send all of a reply leaves the
/// rest to the reader thread, which takes no further call until it is sent. So a client that
/// reads nothing holds its own thread and its own memory, and never a worker.
final class Connection: Sendable {
    private struct State {
        var inFlight = 0
        /// Bytes of replies that the socket did not take yet.
        var unsent: [UInt8] = []
        var unsentStart = 0
        /// No more is sent: the peer or the server is gone.
        var isDead = false
        /// The descriptor is closed and may name something else by now.
        var isClosed = false
        var spare: [Request] = []
        var hasUnsent: Bool { unsentStart < unsent.count }
    }

    /// Requests whose memory is kept.
    private static let spareLimit = 8

    let peer: String
    private let socket: Int32
    private let limits: ConnectionLimits
    private let deadline: ContinuousClock.Instant?
    private let doorbell: Doorbell
    private let state = Lock(State())
    private let ended = Lock(false)

    /// Takes over a non-blocking socket; nil, and the socket closed, without descriptors left.
    init?(socket: Int32, peer: String, limits: ConnectionLimits) {
        guard let doorbell = Doorbell() else {
            close(socket)
            return nil
        }
        self.doorbell = doorbell
        self.socket = socket
        self.peer = peer
        self.limits = limits
        deadline = limits.lifetime.map { ContinuousClock.now + $0 }
    }

    /// True once the reader has returned and the socket is closed.
    var hasEnded: Bool { ended.withLock { $0 } }

    /// Ends the connection: nothing more is read or sent. Any thread.
    func abort() {
        state.withLock { state in
            state.isDead = true
            if !state.isClosed { shutdown(socket, Int32(SHUT_RDWR)) }
        }
        doorbell.ring()
    }

    /// The reader thread's body: until the peer ends, sends nonsense, or `abort`.
    /// - Returns: why it ended, if that was the peer's fault.
    func run(into queue: RequestQueue) -> String? {
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        var complaint: String?
        if let records = unsafe clocaliorpc_records_create(context, receiveForRecords) {
            while waitUntilReady(), let request = unsafe next(records, &complaint) {
                queue.put(Work(connection: self, request: request))
            }
            unsafe clocaliorpc_records_destroy(records)
        }
        if complaint != nil { abort() }
        waitUntilAnswered()
        state.withLock { state in
            state.isClosed = true
            state.isDead = true
            close(socket)
        }
        ended.withLock { $0 = true }
        return complaint
    }

    private func next(_ records: OpaquePointer, _ complaint: inout String?) -> Request? {
        let request = state.withLock { $0.spare.popLast() } ?? Request()
        let limit = limits.requestByteCount
        let answer = unsafe clocaliorpc_records_next(
            records, &request.buffer, &request.capacity, limit)
        if answer == Int64(CLOCALIORPC_TOO_LONG) {
            complaint = "a call longer than \(limit) bytes"
        } else if answer >= 0, answer < 24 {
            complaint = "a record too short for a call"
        }
        guard answer >= 24 else { return nil }
        request.byteCount = Int(answer)
        state.withLock { $0.inFlight += 1 }
        return request
    }

    /// Sends a whole reply, now or when the socket takes it, and ends its request. Any thread.
    func reply(_ record: UnsafeRawBufferPointer, to request: Request) {
        finish(request) { state in
            guard !state.isDead else { return }
            let sent = state.hasUnsent ? 0 : unsafe self.send(record, &state)
            if !state.isDead, sent < record.count {
                let rest = unsafe UnsafeRawBufferPointer(rebasing: record[sent...])
                unsafe state.unsent.append(contentsOf: rest)
            }
        }
    }

    /// Ends a request without a reply.
    func dismiss(_ request: Request) { finish(request) { _ in } }

    private func finish(_ request: Request, _ body: (inout State) -> Void) {
        let wakesReader = state.withLock { state in
            body(&state)
            if state.spare.count < Self.spareLimit { state.spare.append(request) }
            let wasFull = state.inFlight >= limits.inFlight
            state.inFlight -= 1
            return wasFull || state.hasUnsent || state.isDead || state.inFlight == 0
        }
        if wakesReader { doorbell.ring() }
    }

    /// Sends what the socket takes without waiting.
    private func send(_ bytes: UnsafeRawBufferPointer, _ state: inout State) -> Int {
        var sent = 0
        while sent < bytes.count {
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[sent...])
            let flags = Int32(truncatingIfNeeded: Int(MSG_DONTWAIT) | Int(MSG_NOSIGNAL))
            let count = unsafe Glibc.send(socket, rest.baseAddress, rest.count, flags)
            if count > 0 {
                sent += count
            } else if errno == EAGAIN {
                break
            } else if errno != EINTR {
                state.isDead = true
                break
            }
        }
        return sent
    }

    private func sendUnsent() {
        state.withLock { state in
            guard state.hasUnsent, !state.isDead else { return }
            let unsent = state.unsent
            let start = state.unsentStart
            let sent = unsafe unsent.withUnsafeBytes { bytes in
                unsafe send(UnsafeRawBufferPointer(rebasing: bytes[start...]), &state)
            }
            state.unsentStart += sent
            if !state.hasUnsent {
                state.unsent = []
                state.unsentStart = 0
            }
        }
    }

    /// Waits until another call may be read; false when the connection is over.
    private func waitUntilReady() -> Bool {
        while true {
            let (isDead, mustWait) = state.withLock { state in
                (state.isDead, state.inFlight >= limits.inFlight || state.hasUnsent)
            }
            if isDead { return false }
            if !mustWait { return true }
            wait(forInput: false)
        }
    }

    /// Waits until every call that was read is answered: a client may shut down its sending
    /// side and still wait for replies. Workers hold no dead connection's calls for long.
    private func waitUntilAnswered() {
        while true {
            let isDone = state.withLock { state in
                state.inFlight == 0 && (!state.hasUnsent || state.isDead)
            }
            if isDone { return }
            wait(forInput: false)
        }
    }

    /// Sleeps until the socket or a worker has something for the reader.
    private func wait(forInput: Bool) {
        let (isDead, hasUnsent) = state.withLock { ($0.isDead, $0.hasUnsent) }
        var events: Int16 = 0
        if forInput { events |= Int16(POLLIN) }
        if hasUnsent { events |= Int16(POLLOUT) }
        var polled = (
            // A dead socket is left out: it is always ready.
            pollfd(fd: isDead ? -1 : socket, events: events, revents: 0),
            pollfd(fd: doorbell.descriptor, events: Int16(POLLIN), revents: 0)
        )
        let patience = milliseconds
        let count = unsafe withUnsafeMutableBytes(of: &polled) { bytes in
            unsafe poll(bytes.bindMemory(to: pollfd.self).baseAddress, 2, patience)
        }
        if count == 0 { state.withLock { $0.isDead = true } }
        guard count > 0 else { return }
        if polled.1.revents != 0 { doorbell.drain() }
        if polled.0.revents & Int16(POLLOUT) != 0 { sendUnsent() }
        if polled.0.revents & Int16(POLLERR | POLLHUP) != 0, !forInput {
            state.withLock { $0.isDead = true }
        }
    }

    /// What is left of the connection's life, for poll(2); -1 if it has no end. Dead ones wait
    /// for their calls' ends, however long those take.
    private var milliseconds: Int32 {
        guard let deadline, !state.withLock({ $0.isDead }) else { return -1 }
        let (seconds, attoseconds) = (deadline - ContinuousClock.now).components
        return Int32(clamping: max(0, seconds * 1000 + attoseconds / 1_000_000_000_000_000 + 1))
    }

    /// xdrrec's source of bytes.
    fileprivate func receive(_ buffer: UnsafeMutableRawPointer, _ byteCount: Int) -> Int {
        while true {
            let flags = Int32(truncatingIfNeeded: Int(MSG_DONTWAIT))
            let count = unsafe recv(socket, buffer, byteCount, flags)
            if count >= 0 { return count }
            if errno == EINTR { continue }
            if errno != EAGAIN || state.withLock({ $0.isDead }) { return -1 }
            wait(forInput: true)
        }
    }
}

private func receiveForRecords(
    _ context: UnsafeMutableRawPointer?, _ buffer: UnsafeMutableRawPointer?, _ byteCount: Int32
) -> Int32 {
    guard let context = unsafe context, let buffer = unsafe buffer else { return -1 }
    let connection = unsafe Unmanaged<Connection>.fromOpaque(context).takeUnretainedValue()
    return unsafe Int32(connection.receive(buffer, Int(byteCount)))
}

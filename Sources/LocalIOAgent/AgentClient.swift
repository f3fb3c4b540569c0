// One client's connection as the agent sees it: what it sent, what it has not read yet.
internal import AgentProtocol
internal import CLinux
internal import Glibc
internal import NFSTypes
internal import Threads

/// A connected client. The reactor's thread reads; any thread sends.
final class AgentClient: Sendable {
    /// Touched by the reactor's thread only, but for `inFlight`.
    private struct Input {
        var assembler = FrameAssembler()
        var hasGreeted = false
        var hasProved = false
        var inFlight = 0
    }

    private struct Frame {
        let bytes: [UInt8]
        var sent = 0
        /// Owned: closed when sent or dropped.
        var descriptors: [Int32]
    }

    private struct Output {
        var frames: [Frame] = []
        var isDead = false
    }

    let id: UInt64
    let peer: AgentPeer
    let arrived = ContinuousClock.now
    let socket: Int32
    private let unreadLimit: Int
    private let input = Lock(Input())
    private let output = Lock(Output())

    init(id: UInt64, socket: Int32, peer: AgentPeer, unreadLimit: Int) {
        self.id = id
        self.socket = socket
        self.peer = peer
        self.unreadLimit = unreadLimit
    }

    deinit {
        close()
        Glibc.close(socket)
    }

    var hasGreeted: Bool { input.withLock { $0.hasGreeted } }
    var hasProved: Bool { input.withLock { $0.hasProved } }
    var inFlight: Int { input.withLock { $0.inFlight } }
    func greet() { input.withLock { $0.hasGreeted = true } }
    func prove() { input.withLock { $0.hasProved = true } }

    /// Counts an OPEN in, unless there are too many.
    func begin(limit: Int) -> Bool {
        input.withLock { input in
            guard input.inFlight < limit else { return false }
            input.inFlight += 1
            return true
        }
    }

    func end() { input.withLock { $0.inFlight -= 1 } }

    // MARK: - In

    /// What one look at the socket brought.
    enum Arrival {
        case frames([[UInt8]])
        case ended
        case nonsense(AgentProtocolError)
    }

    /// Reads once, without waiting. Descriptors that a client sends are closed by the kernel.
    func read(into room: UnsafeMutableRawBufferPointer) -> Arrival {
        var count: Int32 = 0
        let answer = unsafe clinux_receive_with_descriptors(
            socket, room.baseAddress, room.count, nil, &count)
        if answer == -Int64(EAGAIN) { return .frames([]) }
        guard answer > 0 else { return .ended }
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: room[..<Int(answer)])
        return input.withLock { input in
            unsafe input.assembler.append(bytes)
            var frames: [[UInt8]] = []
            do throws(AgentProtocolError) {
                while let frame = try input.assembler.next() { frames.append(frame) }
            } catch {
                return .nonsense(error)
            }
            return .frames(frames)
        }
    }

    // MARK: - Out

    var hasUnsent: Bool { output.withLock { !$0.frames.isEmpty } }
    var isDead: Bool { output.withLock { $0.isDead } }

    /// Sends now what the socket takes and keeps the rest; takes over `descriptors`.
    /// - Returns: false if the client is gone or reads nothing: then drop it.
    @discardableResult
    func send(_ message: AgentMessage, descriptors: [Int32] = []) -> Bool {
        output.withLock { output in
            output.frames.append(Frame(bytes: message.encoded(), descriptors: descriptors))
            if output.isDead || output.frames.count > unreadLimit {
                Self.drop(&output)
                return false
            }
            flush(&output)
            return !output.isDead
        }
    }

    /// Goes on sending.
    func flush() { output.withLock { flush(&$0) } }

    private func flush(_ output: inout Output) {
        while let frame = output.frames.first {
            let isFirst = frame.sent == 0
            let answer = unsafe frame.bytes.withUnsafeBytes { raw in
                let rest = unsafe UnsafeRawBufferPointer(rebasing: raw[frame.sent...])
                return unsafe clinux_send_with_descriptors(
                    socket, rest.baseAddress, rest.count, frame.descriptors,
                    isFirst ? Int32(frame.descriptors.count) : 0)
            }
            // ETOOMANYREFS: this user has too many descriptors under way; they must be read.
            if answer == -Int64(EAGAIN) || answer == -Int64(ETOOMANYREFS) { return }
            guard answer > 0 else { return Self.drop(&output) }
            for descriptor in frame.descriptors { Glibc.close(descriptor) }
            output.frames[0].descriptors = []
            output.frames[0].sent += Int(answer)
            if output.frames[0].sent == frame.bytes.count { output.frames.removeFirst() }
        }
    }

    private static func drop(_ output: inout Output) {
        output.isDead = true
        for frame in output.frames {
            for descriptor in frame.descriptors { Glibc.close(descriptor) }
        }
        output.frames = []
    }

    /// Ends the connection; the descriptor itself stays until the last user has gone.
    func close() {
        output.withLock { Self.drop(&$0) }
        shutdown(socket, Int32(SHUT_RDWR))
    }
}

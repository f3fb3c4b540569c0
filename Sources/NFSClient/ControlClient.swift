// A short-lived connection for portmap, MOUNT and the first FSINFO, driven by the calling thread.
internal import CLinux
internal import CNFS
internal import Glibc
internal import NFSTypes

/// One connection that makes one call at a time and blocks for the answer.
@safe
struct ControlClient: ~Copyable {
    private let context: OpaquePointer
    private let descriptor: Int32
    private let server: String
    private let timeout: Duration

    private init(context: OpaquePointer, descriptor: Int32, server: String, timeout: Duration) {
        unsafe self.context = unsafe context
        self.descriptor = descriptor
        self.server = server
        self.timeout = timeout
    }

    /// Connects to a numeric address.
    /// - Throws: `.unreachable` with the reason.
    static func connect(
        address: String, port: UInt16, server: String, timeout: Duration
    ) throws(RPCError) -> ControlClient {
        guard let context = unsafe rpc_init_context() else {
            throw RPCError(.unreachable("no memory for a connection"), server: server)
        }
        let status = ConnectLock.shared.withLock {
            unsafe rpc_connect_async(context, address, Int32(port), controlConnected, nil)
        }
        let client = unsafe ControlClient(
            context: context, descriptor: rpc_get_fd(context), server: server, timeout: timeout)
        try client.finishConnecting(isStarted: status == 0)
        return client
    }

    private borrowing func finishConnecting(isStarted: Bool) throws(RPCError) {
        let deadline = clinux_monotonic_nanoseconds() + timeout.nanoseconds
        var isConnected = false
        var reason: String? = isStarted ? nil : unsafe Self.error(of: context)
        while !isConnected, reason == nil {
            switch unsafe Self.step(context, descriptor, deadline) {
            case .served: isConnected = unsafe rpc_which_events(context) & Int32(POLLIN) != 0
            case .broken(let text): reason = text
            case .tooLate: reason = "no answer within \(timeout)"
            }
        }
        if let reason {
            throw RPCError(.unreachable("cannot connect (\(reason))"), server: server)
        }
    }

    deinit {
        // See Connection.destroyContext: the socket is closed here, whatever libnfs did to it.
        unsafe rpc_set_fd(context, -1)
        unsafe rpc_destroy_context(context)
        if descriptor >= 0 { Glibc.close(descriptor) }
    }

    /// Makes a call and answers what `read` makes of libnfs's result.
    borrowing func call<Reply>(
        _ procedure: String,
        send: (OpaquePointer, UnsafeMutableRawPointer) -> Int32,
        read: @escaping (UnsafeMutableRawPointer?) -> Reply
    ) throws(RPCError) -> Reply {
        let answer = unsafe ControlAnswer<Reply>(read: read)
        let token = unsafe Unmanaged<ControlAnswerBase>.passUnretained(answer).toOpaque()
        defer { withExtendedLifetime(answer) {} }
        guard unsafe send(context, token) == 0 else {
            throw RPCError(
                .protocolError(unsafe "libnfs cannot encode: \(Self.error(of: context))"),
                server: server, procedure: procedure)
        }
        let deadline = clinux_monotonic_nanoseconds() + timeout.nanoseconds
        while answer.state == .waiting {
            switch unsafe Self.step(context, descriptor, deadline) {
            case .served: continue
            case .broken(let text):
                // The context still knows the answer's address; it must forget it first.
                _ = unsafe rpc_disconnect(context, "broken")
                throw RPCError(.unreachable(text), server: server, procedure: procedure)
            case .tooLate:
                _ = unsafe rpc_disconnect(context, "too late")
                throw RPCError(.timedOut, server: server, procedure: procedure)
            }
        }
        if case .refused(let text) = answer.state {
            throw RPCError(.protocolError(text), server: server, procedure: procedure)
        }
        guard let reply = answer.reply else {
            throw RPCError(
                .protocolError("answered without a result"), server: server,
                procedure: procedure)
        }
        return reply
    }

    private enum Step {
        case served
        case broken(String)
        case tooLate
    }

    private static func step(
        _ context: OpaquePointer, _ descriptor: Int32, _ deadline: UInt64
    ) -> Step {
        let now = clinux_monotonic_nanoseconds()
        guard now < deadline else { return .tooLate }
        var entry = unsafe pollfd(
            fd: descriptor, events: Int16(rpc_which_events(context)), revents: 0)
        let milliseconds = Int32(clamping: (deadline - now + 999_999) / 1_000_000)
        guard unsafe poll(&entry, 1, milliseconds) > 0 else { return .served }
        guard unsafe rpc_service(context, eventsForService(Int32(entry.revents))) == 0 else {
            return unsafe .broken(error(of: context))
        }
        return .served
    }

    private static func error(of context: OpaquePointer) -> String {
        let text = unsafe text(rpc_get_error(context))
        return text.isEmpty ? "the server closed the connection" : text
    }
}

/// What one control call is answered; used by one thread only.
private class ControlAnswerBase {
    enum State: Equatable {
        case waiting
        case answered
        case refused(String)
    }
    var state = State.waiting
    func take(_ result: UnsafeMutableRawPointer?) {}
}

@safe
private final class ControlAnswer<Reply>: ControlAnswerBase {
    let read: (UnsafeMutableRawPointer?) -> Reply
    var reply: Reply?
    init(read: @escaping (UnsafeMutableRawPointer?) -> Reply) { unsafe self.read = unsafe read }
    override func take(_ result: UnsafeMutableRawPointer?) { reply = unsafe read(result) }
}

private func controlConnected(
    _ context: OpaquePointer?, _ status: Int32, _ data: UnsafeMutableRawPointer?,
    _ token: UnsafeMutableRawPointer?
) {}

/// libnfs's callback for every control call.
func controlReplyArrived(
    _ context: OpaquePointer?, _ status: Int32, _ result: UnsafeMutableRawPointer?,
    _ token: UnsafeMutableRawPointer?
) {
    guard let token = unsafe token else { return }
    let answer = unsafe Unmanaged<ControlAnswerBase>.fromOpaque(token).takeUnretainedValue()
    guard status == RPC_STATUS_SUCCESS else {
        let reason = unsafe text(result?.assumingMemoryBound(to: CChar.self))
        answer.state = .refused(
            status == RPC_STATUS_ERROR && !reason.isEmpty ? reason : "the call was dropped")
        return
    }
    unsafe answer.take(result)
    answer.state = .answered
}

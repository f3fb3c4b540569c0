// libtirpc's client of one program over one connection: the LOCALIO program, and calls of NFS that
// libnfs cannot make.
internal import CLocalIORPC
internal import NFSTypes
internal import Threads

/// libtirpc's client handle. Its functions run one at a time in the whole process: they keep
/// tables by descriptor and one error text.
@safe
final class ProgramClient: @unchecked Sendable {
    private static let library = Lock(())
    private let handle: OpaquePointer

    /// Takes over the socket.
    init(socket: Int32, _ program: UInt32, _ version: UInt32) throws(SocketFailure) {
        var reason = ""
        let created = unsafe Self.library.withLock { _ in
            unsafe withReason(&reason) { text in
                unsafe clocaliorpc_client_create(
                    socket, program, version, text.baseAddress, text.count)
            }
        }
        guard let created = unsafe created else { throw SocketFailure(text: reason) }
        unsafe handle = unsafe created
    }

    deinit { Self.library.withLock { _ in unsafe clocaliorpc_client_destroy(handle) } }

    /// nil, or why there was no answer.
    func call(_ procedure: UInt32, _ bytes: [UInt8], _ timeout: Duration) -> RPCError.Cause? {
        var reason = ""
        let nanoseconds = Int64(clamping: timeout.nanoseconds)
        let status = unsafe bytes.withUnsafeBytes { bytes in
            unsafe withReason(&reason) { text in
                unsafe clocaliorpc_client_call(
                    handle, procedure, bytes.baseAddress, bytes.count, nanoseconds,
                    text.baseAddress, text.count)
            }
        }
        return Self.cause(status, reason)
    }

    /// Calls as `credentials` with encoded arguments.
    /// - Returns: the first word of the results, or why there was no answer.
    func call(
        _ procedure: UInt32, _ arguments: [UInt8], as credentials: Credentials,
        _ timeout: Duration
    ) -> (cause: RPCError.Cause?, word: UInt32) {
        var reason = ""
        var word: UInt32 = 0
        let groups = credentials.groups.prefix(Credentials.groupLimit)
        let nanoseconds = Int64(clamping: timeout.nanoseconds)
        let status = unsafe arguments.withUnsafeBytes { bytes in
            unsafe groups.withUnsafeBufferPointer { groups in
                var caller = unsafe clocaliorpc_caller(
                    uid: credentials.uid, gid: credentials.gid, groups: groups.baseAddress,
                    group_count: Int32(groups.count))
                return unsafe withReason(&reason) { text in
                    unsafe clocaliorpc_client_call_as(
                        handle, &caller, procedure, bytes.baseAddress, bytes.count, nanoseconds,
                        &word, text.baseAddress, text.count)
                }
            }
        }
        let isBroken = status == CLOCALIORPC_CALL_BROKEN
        let lost = RPCError.Cause.connectionLost(mayHaveExecuted: true)
        return (isBroken ? lost : Self.cause(status, reason), word)
    }

    private static func cause(
        _ status: clocaliorpc_call_status, _ reason: String
    ) -> RPCError.Cause? {
        switch status {
        case CLOCALIORPC_CALL_ANSWERED: nil
        case CLOCALIORPC_CALL_TIMED_OUT: .timedOut
        case CLOCALIORPC_CALL_UNAVAILABLE: .unreachable("the program is not served (\(reason))")
        default: .protocolError(reason)
        }
    }
}

/// Runs `body` with room for a line of text from C.
private func withReason<Result>(
    _ reason: inout String, _ body: (UnsafeMutableBufferPointer<CChar>) -> Result
) -> Result {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
        unsafe text.initialize(repeating: 0)
        let result = unsafe body(text)
        if let start = text.baseAddress { reason = unsafe String(cString: start) }
        return result
    }
}

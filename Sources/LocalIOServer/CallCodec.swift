// Reads the header of a call and writes that of its reply: what every program's worker shares.
internal import CLocalIORPC

/// Decoder and encoder of one worker. One thread.
@safe
final class CallCodec {
    /// A call's name.
    struct Call {
        let xid: UInt32
        let program: UInt32
        let version: UInt32
        let procedure: UInt32
    }

    enum Beginning {
        /// Serve it; the input stands at the arguments.
        case call(Call)
        /// The reply, which says no, is written.
        case denied
        /// No call at all; its connection is to be ended.
        case nonsense
    }

    let input: XDRReader
    let output: XDRWriter
    private let header: UnsafeMutablePointer<clocaliorpc_call>

    /// - Returns: nil without memory.
    init?() {
        guard let input = XDRReader(), let output = XDRWriter() else { return nil }
        self.input = input
        self.output = output
        unsafe header = .allocate(capacity: 1)
        unsafe header.initialize(to: clocaliorpc_call())
    }

    deinit { unsafe header.deallocate() }

    /// Decodes a record's header; the record must outlive the reading of its arguments.
    func begin(_ record: UnsafeRawBufferPointer) -> Beginning {
        unsafe input.attach(record)
        output.reset()
        let result = unsafe clocaliorpc_get_call(input.cursor, header)
        if result == CLOCALIORPC_CALL_NONSENSE { return .nonsense }
        guard result == CLOCALIORPC_CALL_OK else {
            _ = unsafe clocaliorpc_put_denied(output.cursor, header.pointee.xid, result)
            return .denied
        }
        return unsafe .call(
            Call(
                xid: header.pointee.xid, program: header.pointee.program,
                version: header.pointee.version, procedure: header.pointee.procedure))
    }

    /// Whom the call's AUTH_SYS credentials name.
    var caller: Caller {
        guard unsafe header.pointee.flavor == UInt32(CLOCALIORPC_FLAVOR_SYS) else {
            return .nobody
        }
        let count = unsafe Int(header.pointee.group_count)
        let groups = unsafe withUnsafeBytes(of: header.pointee.groups) { groups in
            unsafe Array(groups.bindMemory(to: UInt32.self).prefix(count))
        }
        return unsafe Caller(uid: header.pointee.uid, gid: header.pointee.gid, groups: groups)
    }

    /// The name that the caller gave its machine.
    var machineName: String {
        unsafe withUnsafeBytes(of: header.pointee.machine_name) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    // MARK: - Replies

    func refuseProgram(_ call: Call) { accept(call, CLOCALIORPC_PROGRAM_UNAVAILABLE) }

    /// Writes the reply of a call of a program that exists in one version.
    /// - Parameter serve: writes the results; false for a procedure that is not there.
    func answer(
        _ call: Call, version: UInt32, _ serve: () throws(GarbageArguments) -> Bool
    ) {
        guard call.version == version else {
            return accept(call, CLOCALIORPC_PROGRAM_MISMATCH, versions: version)
        }
        accept(call, CLOCALIORPC_SUCCESS)
        do throws(GarbageArguments) {
            if try serve() { return }
            output.reset()
            accept(call, CLOCALIORPC_PROCEDURE_UNAVAILABLE)
        } catch {
            output.reset()
            accept(call, CLOCALIORPC_GARBAGE_ARGUMENTS)
        }
    }

    private func accept(_ call: Call, _ status: clocaliorpc_accept_status, versions: UInt32 = 0) {
        _ = unsafe clocaliorpc_put_accepted(output.cursor, call.xid, status, versions, versions)
    }
}

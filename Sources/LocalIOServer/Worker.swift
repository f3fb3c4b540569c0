// A worker thread: takes a call, finds its procedure, sends the reply.
internal import CLocalIORPC
internal import CLinux
internal import Logging
internal import NFSTypes

/// Programs that share the server's port.
enum ProgramNumber {
    static let nfs: UInt32 = 100003
    static let mount: UInt32 = 100005
    static let localio: UInt32 = 400122
}

/// One worker. Everything in it belongs to its thread.
///
/// libtirpc's own service loop (`svc_run`) reads a call, runs it and sends its reply before it
/// looks at the next, in one thread for all connections: one fsync would stop every client. So
/// the loop is ours, and libtirpc gives the record marking of calls (xdrrec), the messages
/// (xdr_callmsg, xdr_replymsg, xdr_authunix_parms) and the XDR of arguments and results.
@safe
final class Worker {
    let service: Service
    let input: XDRReader
    let output: XDRWriter
    let identity: ThreadIdentity
    private let header: UnsafeMutablePointer<clocaliorpc_call>
    var caller = Caller.nobody
    /// The connection of the present call.
    private(set) var peer = ""

    /// - Returns: nil without memory.
    init?(service: Service) {
        guard let input = XDRReader(), let output = XDRWriter() else { return nil }
        self.service = service
        self.input = input
        self.output = output
        identity = ThreadIdentity(honoursCredentials: service.export.honoursCredentials)
        unsafe header = .allocate(capacity: 1)
        unsafe header.initialize(to: clocaliorpc_call())
    }

    deinit { unsafe header.deallocate() }

    /// The thread's body, until the queue closes.
    func run() {
        clinux_clear_thread_umask()
        while let work = service.queue.next() { serve(work) }
    }

    private func serve(_ work: Work) {
        unsafe input.attach(work.request.bytes)
        output.reset()
        peer = work.connection.peer
        let result = unsafe clocaliorpc_get_call(input.cursor, header)
        if result == CLOCALIORPC_CALL_NONSENSE {
            service.logger.debug(
                "dropped a connection that sent no call", metadata: ["peer": "\(peer)"])
            work.connection.abort()
            work.connection.dismiss(work.request)
            return
        }
        if result == CLOCALIORPC_CALL_OK {
            takeCaller()
            unsafe dispatch(header.pointee)
        } else {
            _ = unsafe clocaliorpc_put_denied(output.cursor, header.pointee.xid, result)
        }
        service.faults.delayReply()
        if service.faults.dropsConnection() {
            work.connection.abort()
            work.connection.dismiss(work.request)
        } else {
            unsafe work.connection.reply(output.finish(), to: work.request)
        }
    }

    private func takeCaller() {
        guard unsafe header.pointee.flavor == UInt32(CLOCALIORPC_FLAVOR_SYS) else {
            caller = .nobody
            return
        }
        let count = unsafe Int(header.pointee.group_count)
        caller.uid = unsafe header.pointee.uid
        caller.gid = unsafe header.pointee.gid
        caller.groups = unsafe withUnsafeBytes(of: header.pointee.groups) { groups in
            unsafe Array(groups.bindMemory(to: UInt32.self).prefix(count))
        }
    }

    /// The name that the caller gave its machine.
    var machineName: String {
        unsafe withUnsafeBytes(of: header.pointee.machine_name) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    // MARK: - Programs

    private func dispatch(_ call: borrowing clocaliorpc_call) {
        let version: UInt32
        switch call.program {
        case ProgramNumber.nfs, ProgramNumber.mount: version = 3
        case ProgramNumber.localio: version = 1
        default: return accept(call.xid, CLOCALIORPC_PROGRAM_UNAVAILABLE)
        }
        guard call.version == version else {
            return accept(call.xid, CLOCALIORPC_PROGRAM_MISMATCH, versions: version)
        }
        accept(call.xid, CLOCALIORPC_SUCCESS)
        do throws(GarbageArguments) {
            let isKnown =
                switch call.program {
                case ProgramNumber.nfs: try serveNFS(call.procedure)
                case ProgramNumber.mount: try serveMount(call.procedure)
                default: try serveLocalIO(call.procedure)
                }
            if !isKnown {
                output.reset()
                accept(call.xid, CLOCALIORPC_PROCEDURE_UNAVAILABLE)
            }
        } catch {
            output.reset()
            accept(call.xid, CLOCALIORPC_GARBAGE_ARGUMENTS)
        }
    }

    private func accept(
        _ xid: UInt32, _ status: clocaliorpc_accept_status, versions: UInt32 = 0
    ) {
        _ = unsafe clocaliorpc_put_accepted(output.cursor, xid, status, versions, versions)
    }

    /// The LOCALIO program: this server has no agent behind it, so nobody registered the nonce;
    /// the answer, like the kernel's, is void either way.
    private func serveLocalIO(_ procedure: UInt32) throws(GarbageArguments) -> Bool {
        switch procedure {
        case 0: return true
        case 1:
            _ = unsafe try input.fixed(16)
            return true
        default: return false
        }
    }

    private func serveNFS(_ procedure: UInt32) throws(GarbageArguments) -> Bool {
        if procedure != 0, procedure <= 21, service.faults.answersJukebox() {
            answerJukebox(procedure)
            return true
        }
        switch procedure {
        case 0: break
        case 1: try getAttributes()
        case 2: try setAttributes()
        case 3: try lookUp()
        case 4: try access()
        case 5: try readLink()
        case 6: try read()
        case 7: try write()
        case 8: try create()
        case 9: try makeDirectory()
        case 10: try makeSymbolicLink()
        case 11: try makeNode()
        case 12: try remove(directory: false)
        case 13: try remove(directory: true)
        case 14: try rename()
        case 15: try link()
        case 16: try readDirectory(withAttributes: false)
        case 17: try readDirectory(withAttributes: true)
        case 18: try fileSystemStatus()
        case 19: try fileSystemInformation()
        case 20: try pathConfiguration()
        case 21: try commit()
        default: return false
        }
        return true
    }

    /// A failure with no attributes at all, in the shape of the procedure's `resfail`.
    private func answerJukebox(_ procedure: UInt32) {
        output.put(NFSStatus.jukebox)
        let absent =
            switch procedure {
            case 1: 0  // GETATTR has nothing after its status
            case 14: 4  // RENAME: two wcc_data
            case 15: 3  // LINK: attributes and wcc_data
            case 2, 7, 8, 9, 10, 11, 12, 13, 21: 2  // one wcc_data
            default: 1  // attributes
            }
        for _ in 0..<absent { output.put(false) }
    }
}

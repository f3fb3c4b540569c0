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
    let identity: ThreadIdentity
    private let codec: CallCodec
    var caller = Caller.nobody
    /// The connection of the present call.
    private(set) var peer = ""

    /// - Returns: nil without memory.
    init?(service: Service) {
        guard let codec = CallCodec() else { return nil }
        self.service = service
        self.codec = codec
        identity = ThreadIdentity(honoursCredentials: service.export.honoursCredentials)
    }

    var input: XDRReader { codec.input }
    var output: XDRWriter { codec.output }
    /// The name that the caller gave its machine.
    var machineName: String { codec.machineName }

    /// The thread's body, until the queue closes.
    func run() {
        clinux_clear_thread_umask()
        while let work = service.queue.next() { serve(work) }
    }

    private func serve(_ work: Work) {
        peer = work.connection.peer
        switch unsafe codec.begin(work.request.bytes) {
        case .nonsense:
            work.drop()
            service.logger.debug(
                "dropped a connection that sent no call", metadata: ["peer": "\(peer)"])
            return
        case .denied: break
        case .call(let call):
            caller = codec.caller
            dispatch(call)
        }
        service.faults.delayReply()
        if service.faults.dropsConnection() {
            work.drop()
        } else {
            unsafe work.connection.reply(output.finish(), to: work.request)
        }
    }

    // MARK: - Programs

    private func dispatch(_ call: CallCodec.Call) {
        let version: UInt32
        switch call.program {
        case ProgramNumber.nfs, ProgramNumber.mount: version = 3
        case ProgramNumber.localio: version = 1
        default: return codec.refuseProgram(call)
        }
        codec.answer(call, version: version) { () throws(GarbageArguments) in
            switch call.program {
            case ProgramNumber.nfs: try serveNFS(call.procedure)
            case ProgramNumber.mount: try serveMount(call.procedure)
            default: try LocalIOProgram.serve(call.procedure, input, peer, service.nonces)
            }
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

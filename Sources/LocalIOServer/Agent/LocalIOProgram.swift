// The LOCALIO program (Documentation/filesystems/nfs/localio.rst) and a server of it alone, for
// an agent beside another NFS server.
internal import AgentProtocol
internal import CLocalIORPC
package import Logging
internal import Threads

/// RPC program 400122, version 1: NULL and UUID_IS_LOCAL.
enum LocalIOProgram {
    /// Serves one procedure. UUID_IS_LOCAL answers void whether the nonce is known or not, as
    /// the kernel does: the answer shows at the agent's socket.
    /// - Returns: false for a procedure that is not there.
    static func serve(
        _ procedure: UInt32, _ input: XDRReader, _ peer: String, _ nonces: NonceTable?
    ) throws(GarbageArguments) -> Bool {
        switch procedure {
        case 0: return true
        case 1:
            let bytes = unsafe Array(try input.fixed(Nonce.byteCount))
            if let nonces, let nonce = Nonce(bytes) { nonces.claim(nonce, from: peer) }
            return true
        default: return false
        }
    }
}

/// Answers the LOCALIO program on a TCP port of its own, and tells the portmapper.
package final class LocalIOProgramServer: Sendable {
    private let listener: Listener
    private let queue = RequestQueue()
    private let worker = Lock(OwnedThread?.none)
    private let isRegistered = Lock(false)
    private let logger: Logger

    /// Listens; answers from `start` on.
    /// - Parameter port: 0 takes any free one.
    package init(
        nonces: NonceTable, address: String, port: Int, connections: Int = 64,
        logger: Logger
    ) throws(ServerError) {
        self.logger = logger
        listener = try Listener(
            Listener.Setup(
                address: address, port: port, connections: connections, inFlight: 4,
                logger: logger),
            queue: queue)
        let (queue, logger) = (queue, logger)
        let thread = OwnedThread(name: "localio-program") {
            guard let codec = CallCodec() else { return }
            while let work = queue.next() { Self.serve(work, codec, nonces, logger) }
        }
        guard thread != nil, listener.start() else {
            queue.close(workerCount: 1)
            thread?.join()
            throw ServerError(.system, "the system gives no more threads")
        }
        worker.withLock { $0 = thread }
    }

    deinit { stop() }

    package var port: Int { listener.port }

    /// Registers the port with the portmapper of this host.
    /// - Returns: false if there is none, or it refuses.
    package func register() -> Bool {
        let (program, version) = (AgentProtocol.program, AgentProtocol.programVersion)
        let done = clocaliorpc_register(program, version, UInt16(clamping: port))
        isRegistered.withLock { $0 = done }
        return done
    }

    /// Unregisters, closes all connections and joins all threads. Later calls do nothing.
    package func stop() {
        let wasRegistered = isRegistered.withLock { isRegistered in
            defer { isRegistered = false }
            return isRegistered
        }
        if wasRegistered {
            clocaliorpc_unregister(AgentProtocol.program, AgentProtocol.programVersion)
        }
        let thread = worker.withLock { worker in
            defer { worker = nil }
            return worker
        }
        guard let thread else { return }
        listener.stop()
        queue.close(workerCount: 1)
        thread.join()
    }

    private static func serve(
        _ work: Work, _ codec: CallCodec, _ nonces: NonceTable, _ logger: Logger
    ) {
        let peer = work.connection.peer
        switch codec.begin(work) {
        case .nonsense:
            logger.debug("dropped a connection that sent no call", metadata: ["peer": "\(peer)"])
            return
        case .denied: break
        case .call(let call) where call.program == AgentProtocol.program:
            codec.answer(call, version: AgentProtocol.programVersion) {
                () throws(GarbageArguments) in
                try LocalIOProgram.serve(call.procedure, codec.input, peer, nonces)
            }
        case .call(let call): codec.refuseProgram(call)
        }
        unsafe work.connection.reply(codec.output.finish(), to: work.request)
    }
}

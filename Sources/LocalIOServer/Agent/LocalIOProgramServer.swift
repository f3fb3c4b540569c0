// A server of the LOCALIO program alone, for an agent beside another NFS server.
internal import AgentProtocol
internal import CLocalIORPC
package import Logging
internal import Threads

/// Answers the LOCALIO program on a TCP port of its own, and tells the portmapper.
package final class LocalIOProgramServer: Sendable {
    private let listener: Listener
    private let queue = RequestQueue()
    private let worker = Lock(OwnedThread?.none)
    private let isRegistered = Lock(false)
    private let logger: Logger

    /// Listens; answers from `start` on.
    ///
    /// The port is open to the network, and a client needs it for one call of 56 bytes; with the
    /// largest credentials and verifier that RPC has (RFC 5531, section 8.2) it has 856.
    /// - Parameters:
    ///   - port: 0 takes any free one.
    ///   - lifetime: of one connection.
    package init(
        nonces: NonceTable, address: String, port: Int, connections: Int = 64,
        lifetime: Duration = .seconds(10), logger: Logger
    ) throws(ServerError) {
        self.logger = logger
        let limits = ConnectionLimits(inFlight: 4, requestByteCount: 1024, lifetime: lifetime)
        listener = try Listener(
            Listener.Setup(
                address: address, port: port, connections: connections, limits: limits,
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
        switch unsafe codec.begin(work.request.bytes) {
        case .nonsense:
            work.drop()
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

// A call to the simulated server: executed some time after it was sent, answered some time after
// that, and executed again if the server died before the answer.
internal import LocalIO
internal import NFSClient
internal import NFSTypes

/// One RPC on its way. Touched with the baton held.
@safe
final class RemoteCall<Reply>: @unchecked Sendable {
    private let file: SimulatedFile
    private let name: StaticString
    private let execute: () -> Result<Reply, RPCError>
    private let completion: (Result<Reply, RPCError>) -> Void

    /// - Parameter execute: what the server does, in no time.
    init(
        file: SimulatedFile, name: StaticString,
        execute: @escaping () -> Result<Reply, RPCError>,
        completion: @escaping (Result<Reply, RPCError>) -> Void
    ) {
        self.file = file
        self.name = name
        self.execute = execute
        self.completion = completion
    }

    private var host: SimulatedHost { file.host }

    /// - Parameter mayBeLost: the connection may break after the server has carried it out.
    func start(mayBeLost: Bool = true) {
        host.rpcInFlight += 1
        let faults = host.faults
        if host.happens(faults.rpcTimeout) {
            return host.scheduler.after(faults.slowest * 3) {
                self.answer(.failure(self.error(.timedOut)))
            }
        }
        if host.happens(faults.rpcJukebox) {
            return host.scheduler.after(host.delay()) {
                self.answer(.failure(self.error(.status(.jukebox))))
            }
        }
        if host.happens(faults.rpcError) {
            return host.scheduler.after(host.delay()) {
                self.answer(.failure(self.error(.status(.ioError))))
            }
        }
        let isLost = mayBeLost && host.happens(faults.rpcLost)
        host.scheduler.after(host.delay()) { self.arrives(isLost: isLost) }
    }

    private func error(_ cause: RPCError.Cause) -> RPCError {
        host.scheduler.note(name, file.number, -1)
        host.troubles += 1
        return RPCError(cause, server: "simulated")
    }

    private func arrives(isLost: Bool) {
        guard host.isUp else {
            // Sent again when the connection stands again.
            return host.scheduler.after(host.delay() + 100_000) { self.arrives(isLost: isLost) }
        }
        let result = execute()
        let incarnation = host.incarnation
        host.scheduler.after(host.delay()) {
            if isLost {
                self.answer(.failure(self.error(.connectionLost(mayHaveExecuted: true))))
            } else if self.host.incarnation != incarnation || !self.host.isUp {
                self.arrives(isLost: false)
            } else {
                self.answer(result)
            }
        }
    }

    private func answer(_ result: Result<Reply, RPCError>) {
        host.rpcInFlight -= 1
        completion(result)
    }
}

/// Joins the answers to the parts of one WRITE as the session does.
@safe
final class PartsOfWrite: @unchecked Sendable {
    private var pending: Int
    private var byteCount = 0
    private var committed = StableHow.fileSync
    private var verifiers: Set<WriteVerifier> = []
    private var error: RPCError?
    private let completion: @Sendable (Result<WriteReply, RPCError>) -> Void

    init(count: Int, completion: @escaping @Sendable (Result<WriteReply, RPCError>) -> Void) {
        pending = count
        self.completion = completion
    }

    func ended(_ result: Result<WriteReply, RPCError>) {
        switch result {
        case .failure(let failure): error = error ?? failure
        case .success(let reply):
            byteCount += reply.byteCount
            committed = min(committed, reply.committed)
            if let verifier = reply.verifier { verifiers.insert(verifier) }
        }
        pending -= 1
        guard pending == 0 else { return }
        if let error { return completion(.failure(error)) }
        completion(
            .success(
                WriteReply(
                    byteCount: byteCount, committed: committed,
                    verifier: verifiers.count == 1 ? verifiers.first : nil, attributes: nil)))
    }
}

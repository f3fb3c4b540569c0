// Three ways to run a call: with a completion, blocking, and as a task.
public import NFSTypes
internal import Threads

extension NFSSession {
    /// Runs a call and answers through `completion`, exactly once.
    ///
    /// - Parameters:
    ///   - credentials: who calls; nil for the session's.
    ///   - completion: runs on a connection's thread and must not block. For a call that can be
    ///     refused at once (a name that cannot be one, too many pending) it runs on the caller's.
    /// - Returns: a name to cancel it by.
    @discardableResult
    public func start<Reply: Sendable>(
        _ call: NFSCall<Reply>, credentials: Credentials? = nil,
        completion: @escaping @Sendable (Result<Reply, RPCError>) -> Void
    ) -> RequestID {
        let id = makeID(connection: leastLoaded())
        start(call, credentials: credentials, id: id, completion: completion)
        return id
    }

    func start<Reply: Sendable>(
        _ call: NFSCall<Reply>, credentials: Credentials?, id: RequestID,
        completion: @escaping @Sendable (Result<Reply, RPCError>) -> Void
    ) {
        if let status = call.refusal {
            completion(
                .failure(RPCError(.status(status), server: server, procedure: call.procedure)))
            return
        }
        let request = CallRequest(
            number: id.number, call: call, credentials: credentials, completion: completion)
        if let cause = connections[id.connectionIndex].submit(request) {
            request.fail(RPCError(cause, server: server, procedure: call.procedure))
        }
    }

    /// Runs a call and blocks the calling thread until it is answered. Never from a completion.
    public func performBlocking<Reply: Sendable>(
        _ call: NFSCall<Reply>, credentials: Credentials? = nil
    ) throws(RPCError) -> Reply {
        let answer = Answer<Reply, RPCError>()
        start(call, credentials: credentials) { answer.set($0) }
        return try answer.wait()
    }

    /// Runs a call as part of a task; cancelling the task cancels the call.
    public func perform<Reply: Sendable>(
        _ call: NFSCall<Reply>, credentials: Credentials? = nil
    ) async throws(RPCError) -> Reply {
        let id = makeID(connection: leastLoaded())
        let result: Result<Reply, RPCError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                start(call, credentials: credentials, id: id) {
                    continuation.resume(returning: $0)
                }
                // A cancellation that came before the request was handed over found nothing.
                if Task.isCancelled { cancel(id) }
            }
        } onCancel: {
            cancel(id)
        }
        return try result.get()
    }
}

/// An answer that one thread waits for.
package final class Answer<Reply: Sendable, Failure: Error>: Sendable {
    private let result: Lock<Result<Reply, Failure>>
    private let arrived = Semaphore()

    /// - Parameter unanswered: what `wait` would throw without a `set`.
    package init(unanswered: Failure) { result = Lock(.failure(unanswered)) }

    package func set(_ new: Result<Reply, Failure>) {
        result.withLock { $0 = new }
        arrived.signal()
    }

    /// Waits for the answer; once.
    package func wait() throws(Failure) -> Reply {
        arrived.wait()
        return try result.withLock { $0 }.get()
    }
}

extension Answer where Failure == RPCError {
    package convenience init() { self.init(unanswered: RPCError(.cancelled, server: "")) }
}

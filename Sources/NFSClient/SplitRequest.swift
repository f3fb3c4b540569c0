// One answer out of the answers to the parts of a split read or write.
internal import NFSTypes
internal import Threads

/// Collects the parts of one split request and completes once, when the last part has ended.
///
/// All parts run on one connection; the lock is for the memory model, not for contention.
final class PartCollector<Reply: Sendable>: Sendable {
    private struct State: ~Copyable {
        var replies: [Result<Reply, RPCError>?]
        var missing: Int
    }

    private let state: Lock<State>
    private let completion: @Sendable ([Result<Reply, RPCError>]) -> Void

    init(count: Int, completion: @escaping @Sendable ([Result<Reply, RPCError>]) -> Void) {
        state = Lock(State(replies: Array(repeating: nil, count: count), missing: count))
        self.completion = completion
    }

    func finish(part index: Int, _ reply: Result<Reply, RPCError>) {
        let replies: [Result<Reply, RPCError>]? = state.withLock { state in
            state.replies[index] = reply
            state.missing -= 1
            return state.missing == 0 ? state.replies.compactMap { $0 } : nil
        }
        if let replies { completion(replies) }
    }
}

/// The first error in file order, or the parts' replies.
private func successes<Reply>(
    _ parts: [Result<Reply, RPCError>]
) throws(RPCError) -> [Reply] {
    var replies: [Reply] = []
    for part in parts { replies.append(try part.get()) }
    return replies
}

/// The contiguous prefix that the parts of a split read brought.
func joined(reads parts: [Result<ReadReply, RPCError>]) -> Result<ReadReply, RPCError> {
    do throws(RPCError) {
        var whole = ReadReply(byteCount: 0, isEndOfFile: false, attributes: nil)
        for reply in try successes(parts) {
            whole.byteCount += reply.byteCount
            whole.isEndOfFile = reply.isEndOfFile
            whole.attributes = reply.attributes
            // A part ends short only at the end of the file; what follows it does not count.
            if reply.isEndOfFile { break }
        }
        return .success(whole)
    } catch {
        return .failure(error)
    }
}

/// All bytes, the weakest stability, and the verifier if it is one.
func joined(writes parts: [Result<WriteReply, RPCError>]) -> Result<WriteReply, RPCError> {
    do throws(RPCError) {
        let replies = try successes(parts)
        let first = replies.first?.verifier
        return .success(
            WriteReply(
                byteCount: replies.reduce(0) { $0 + $1.byteCount },
                committed: replies.map(\.committed).min() ?? .unstable,
                verifier: replies.allSatisfy { $0.verifier == first } ? first : nil,
                attributes: replies.last?.attributes))
    } catch {
        return .failure(error)
    }
}

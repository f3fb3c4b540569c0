// Requests on their way: what a connection's thread holds until it has called the completion.
// A request is made by its caller, handed over through the connection's inbox, and from then
// on belongs to the connection's thread alone (or, to be sent, to a caller in its stead).
internal import NFSTypes

/// One RPC, possibly sent more than once. The subclasses know what to send and how to answer.
class Request: @unchecked Sendable {
    /// What a reply did to the request.
    enum Outcome {
        /// It is answered: `complete` tells the caller.
        case finished
        /// The server did a part; the rest is to be sent.
        case again
        /// The server asks for the same later (NFS3ERR_JUKEBOX).
        case later
    }

    /// Names the request to `cancel`; the parts of a split one share it.
    let number: UInt64
    let procedure: String
    let isIdempotent: Bool
    /// Nil: those of the session.
    let credentials: Credentials?
    /// Order of submission on its connection, kept when it is sent again.
    var sequence: UInt64 = 0
    /// Transmissions and failed attempts to connect, for the soft mode's bound.
    var attempts = 0
    var transmissions = 0
    /// When a request that was put off may be sent; monotonic nanoseconds.
    var sendTime: UInt64 = 0

    init(number: UInt64, procedure: String, isIdempotent: Bool, credentials: Credentials?) {
        self.number = number
        self.procedure = procedure
        self.isIdempotent = isIdempotent
        self.credentials = credentials
    }

    /// Encodes the call and queues it in libnfs; negative if libnfs refuses.
    func send(_ context: OpaquePointer, _ token: UnsafeMutableRawPointer?) -> Int32 { -1 }

    /// Reads libnfs's result, which is gone when this returns; calls no completion, so that
    /// the statistics are right before the caller hears.
    func receive(_ result: UnsafeMutableRawPointer?, server: String) -> Outcome { .finished }

    /// Calls the completion with what `receive` found; once, after `finished`.
    func complete() {}

    /// Calls the completion with an error, instead of `complete`.
    func fail(_ error: RPCError) {}

    /// A NULL call: a look whether the server is there, on behalf of no operation.
    var isNull: Bool { false }

    /// Bytes of file data that the last reply carried, for the statistics.
    var bytesRead: Int { 0 }
    var bytesWritten: Int { 0 }
}

/// A request for any procedure but READ and WRITE.
final class CallRequest<Reply: Sendable>: Request, @unchecked Sendable {
    private let call: NFSCall<Reply>
    private let completion: @Sendable (Result<Reply, RPCError>) -> Void
    private var answer: Result<Reply, RPCError>?

    init(
        number: UInt64, call: NFSCall<Reply>, credentials: Credentials?,
        completion: @escaping @Sendable (Result<Reply, RPCError>) -> Void
    ) {
        self.call = call
        self.completion = completion
        super.init(
            number: number, procedure: call.procedure, isIdempotent: call.isIdempotent,
            credentials: credentials)
    }

    override var isNull: Bool { procedure == "NULL" }

    override func send(_ context: OpaquePointer, _ token: UnsafeMutableRawPointer?) -> Int32 {
        unsafe call.send(context, token)
    }

    override func receive(_ result: UnsafeMutableRawPointer?, server: String) -> Outcome {
        switch unsafe call.decode(result) {
        case .reply(let reply):
            answer = .success(reply)
        case .status(.jukebox):
            return .later
        case .status(let status):
            answer = .failure(
                RPCError(.status(status), server: server, procedure: procedure))
        case .malformed(let text):
            answer = .failure(
                RPCError(.protocolError(text), server: server, procedure: procedure))
        }
        return .finished
    }

    override func complete() { if let answer { completion(answer) } }
    override func fail(_ error: RPCError) { completion(.failure(error)) }
}

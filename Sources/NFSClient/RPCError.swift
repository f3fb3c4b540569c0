// What can go wrong with a call to an NFS server, said in one line that names the server.
internal import Glibc
public import NFSTypes

/// A call that did not succeed: why, at which server, and in which procedure.
public struct RPCError: Error, Hashable, Sendable {
    /// Why a call failed.
    public enum Cause: Hashable, Sendable {
        /// The server answered with an NFS error.
        case status(NFSStatus)
        /// The connection broke before the answer. If `mayHaveExecuted`, the server may have
        /// carried the call out; sending it again could then answer something else.
        case connectionLost(mayHaveExecuted: Bool)
        /// No answer within the time and the retransmissions that the configuration allows.
        case timedOut
        /// Cancelled by the caller.
        case cancelled
        /// The session was closed.
        case closed
        /// More requests are pending than the configuration allows; try again when some ended.
        case busy
        /// The server's mount daemon refused the export.
        case mountRefused(NFSStatus)
        /// No connection could be made; the text says to where and why.
        case unreachable(String)
        /// The server, or something that poses as one, answered what the protocol forbids.
        case protocolError(String)
    }

    public let cause: Cause
    /// `host:port` of the server, for people.
    public let server: String
    /// The procedure that failed, such as `READ`; nil while connecting.
    public let procedure: String?

    public init(_ cause: Cause, server: String, procedure: String? = nil) {
        self.cause = cause
        self.server = server
        self.procedure = procedure
    }

    /// The status the server answered, if it answered one.
    public var status: NFSStatus? {
        if case .status(let status) = cause { return status }
        return nil
    }

    /// The errno a system call would give for this.
    public var errno: Int32 {
        switch cause {
        case .status(let status), .mountRefused(let status): StatusTable.errno(status)
        case .connectionLost: EIO
        case .timedOut: ETIMEDOUT
        case .cancelled: ECANCELED
        case .closed: ENOTCONN
        case .busy: EAGAIN
        case .unreachable: EHOSTUNREACH
        case .protocolError: EIO
        }
    }
}

extension RPCError: CustomStringConvertible {
    /// One line: what failed, where, and what to check.
    public var description: String {
        let what = procedure.map { "\($0) at " } ?? ""
        return "\(what)\(server): \(explanation)"
    }

    private var explanation: String {
        switch cause {
        case .status(let status):
            "the server answered \(status)"
        case .connectionLost(mayHaveExecuted: true):
            "the connection broke before the answer and the server may have done it; "
                + "look at the result before trying again"
        case .connectionLost(mayHaveExecuted: false):
            "the connection broke before the call was sent; check that the server runs"
        case .timedOut:
            "no answer in time; check that the server runs and is not overloaded"
        case .cancelled:
            "cancelled"
        case .closed:
            "the session is closed"
        case .busy:
            "more requests are pending than the session may hold (pendingLimit)"
        case .mountRefused(let status):
            "the server refused to mount (\(status)); check the export's path and who may mount it"
        case .unreachable(let text):
            "\(text); check that the server runs there and that the port is right"
        case .protocolError(let text):
            "\(text); check that an NFSv3 server answers at that port"
        }
    }
}

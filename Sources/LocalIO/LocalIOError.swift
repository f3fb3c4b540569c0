// The one error type that library users meet: what failed, the errno a file system would have
// given, and one line that says what was wrong and what would be right.
internal import Glibc
public import NFSClient
internal import NFSTypes
public import SystemPackage

/// Why a LocalIO operation failed.
public struct LocalIOError: Error, Sendable {
    /// The kind of failure, for programs that decide by it.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Raw: String, Hashable { case connect, rpc, local, usage, closed, lost }
        private let raw: Raw
        private init(_ raw: Raw) { self.raw = raw }

        /// The server could not be reached or refused the export.
        public static let connect = Code(.connect)
        /// The server, or the road to it, answered with an error.
        public static let rpc = Code(.rpc)
        /// The local file answered with an error that RPC would not mend (ENOSPC, EDQUOT, EIO).
        public static let local = Code(.local)
        /// The call itself was wrong (a path outside the export, a write on a read-only open).
        public static let usage = Code(.usage)
        /// The client or the file has been closed.
        public static let closed = Code(.closed)
        /// Written bytes may not have reached stable storage.
        public static let lost = Code(.lost)

        public var description: String { raw.rawValue }
    }

    public let code: Code
    /// The errno that a file system would have answered.
    public let errno: Errno
    /// One line: what was wrong and what would be right.
    public let message: String
    /// The RPC failure behind it, if there is one.
    public let cause: RPCError?

    package init(_ code: Code, errno: Int32, _ message: String, cause: RPCError? = nil) {
        self.code = code
        self.errno = Errno(rawValue: errno)
        self.message = message
        self.cause = cause
    }

    package init(rpc error: RPCError, doing what: String) {
        self.init(.rpc, errno: error.errno, "\(what): \(error)", cause: error)
    }

    package static func closed(_ what: String) -> LocalIOError {
        LocalIOError(.closed, errno: EBADF, "\(what): already closed")
    }

    /// The error for a data operation that ended with a negative errno.
    package static func result(_ result: Int64, doing what: String) -> LocalIOError {
        let number = Int32(truncatingIfNeeded: -result)
        return LocalIOError(
            .local, errno: number, "\(what): \(Errno(rawValue: number).description)")
    }
}

extension LocalIOError: CustomStringConvertible {
    public var description: String { message }
}

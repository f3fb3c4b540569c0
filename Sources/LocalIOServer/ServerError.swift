// Why an embedded server could not start, in one line a person can act on.
internal import Glibc

/// The reason why `EmbeddedServer.start()` failed.
public struct ServerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of thing went wrong.
    public enum Code: Hashable, Sendable {
        /// The directory is missing, not a directory, or not readable.
        case badDirectory
        /// A port or an address that cannot be used.
        case badAddress
        /// A setting outside its range.
        case badSetting
        /// `start()` was called before.
        case alreadyStarted
        /// The system refused something else.
        case system
    }

    public let code: Code
    /// One line: what was wrong and what would be right.
    public let description: String
    /// The errno behind it, or 0.
    public let errno: Int32

    init(_ code: Code, _ description: String, errno: Int32 = 0) {
        self.code = code
        self.description = description
        self.errno = errno
    }

    static func system(_ what: String, errno: Int32) -> ServerError {
        ServerError(.system, "\(what): \(errorText(errno))", errno: errno)
    }
}

/// The system's words for an errno.
func errorText(_ errno: Int32) -> String {
    unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "errno \(errno)"
}

// What goes wrong while preparing or running a measurement, as one line for a person.

/// A failure with the one line that says what was wrong and what would be right.
public struct BenchError: Error, Sendable, CustomStringConvertible {
    /// Whose fault it was; decides the exit status.
    public enum Kind: Sendable {
        /// The command line makes no sense: exit status 64.
        case usage
        /// The measurement could not be prepared or did not finish: exit status 1.
        case failure
        /// A stop signal arrived: exit status 128 + its number.
        case stopped(signal: Int32)
    }

    public let kind: Kind
    public let message: String

    public init(_ message: String, kind: Kind = .failure) {
        self.message = message
        self.kind = kind
    }

    public var description: String { message }

    /// The process's exit status for this failure.
    public var exitStatus: Int32 {
        switch kind {
        case .usage: 64
        case .failure: 1
        case .stopped(let signal): 128 + signal
        }
    }

    /// A failed system call on something that the line names.
    package static func system(_ what: String, errno code: Int32) -> BenchError {
        BenchError("\(what): \(errorText(code))")
    }
}

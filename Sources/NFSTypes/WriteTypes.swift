/// How durable a WRITE must be before the server answers (RFC 1813, section 3.3.7).
public enum StableHow: UInt32, Sendable, Hashable, Comparable, CaseIterable {
    /// The server may answer from memory; a COMMIT makes it durable.
    case unstable = 0
    /// The data, and what is needed to read it back, is durable.
    case dataSync = 1
    /// The data and all attributes are durable.
    case fileSync = 2

    public static func < (left: StableHow, right: StableHow) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// The server's boot verifier: when it changes, uncommitted writes may be lost and must be
/// sent again (RFC 1813, section 4.8).
public struct WriteVerifier: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The eight bytes in the host's order; only equality means anything.
    public let rawValue: UInt64

    public init(rawValue: UInt64) { self.rawValue = rawValue }

    public var description: String { "0x" + String(rawValue, radix: 16) }
}

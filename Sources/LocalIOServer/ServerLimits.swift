// The bounds that an embedded server keeps, and the sizes of its messages.

/// Bounds on what clients can make an `EmbeddedServer` hold.
public struct ServerLimits: Hashable, Sendable {
    /// Connections at once; one more is closed as soon as it is accepted.
    public var connections: Int
    /// Calls of one connection that are read and not yet answered.
    public var inFlight: Int
    /// Files kept open for READ, WRITE and COMMIT.
    public var openFiles: Int
    /// Names the tree scan of an unprivileged server visits and remembers.
    public var indexedNames: Int

    public init(
        connections: Int = 128, inFlight: Int = 32, openFiles: Int = 256,
        indexedNames: Int = 2_000_000
    ) {
        self.connections = connections
        self.inFlight = inFlight
        self.openFiles = openFiles
        self.indexedNames = indexedNames
    }

    /// Bytes of one READ's or WRITE's data at most (`rtmax`, `wtmax`), and the preferred size.
    public static let transferByteCount = 1 << 20
    /// Bytes of one call at most: the data with room for the header, credentials and arguments.
    static let requestByteCount = transferByteCount + (4 << 10)
    /// Bytes of one reply at most.
    static let replyByteCount = transferByteCount + (4 << 10)
}

// What both ends of the agent's socket agree on: versions, limits, where the socket is.
internal import Glibc

/// The hand-off protocol between a client and the agent (see the page AgentProtocol).
package enum AgentProtocol {
    /// The versions that this code speaks.
    package static let versions: ClosedRange<UInt16> = 1...1

    /// Bytes of one frame at most, without the four of its length.
    package static let frameByteCountLimit = 64 << 10
    /// Bytes of a path hint or an export's path at most, in UTF-8.
    package static let pathByteCountLimit = 4096
    /// Bytes of a peer's address in numbers at most.
    package static let addressByteCountLimit = 64
    /// Bytes of a refusal's text at most; longer ones are cut.
    package static let textByteCountLimit = 512

    /// The LOCALIO program (Documentation/filesystems/nfs/localio.rst).
    package static let program: UInt32 = 400_122
    package static let programVersion: UInt32 = 1
    /// The port the agent answers the LOCALIO program at if nothing else is said and the
    /// portmapper knows nothing.
    package static let defaultPort: UInt16 = 20_122

    /// Where an agent listens if nothing else is said.
    package static let defaultSocketPath = "/run/localio/agent.sock"

    /// The socket's path: what `LOCALIO_SOCKET` says, else the default.
    package static var socketPath: String {
        guard let value = unsafe getenv("LOCALIO_SOCKET") else { return defaultSocketPath }
        let path = unsafe String(cString: value)
        return path.isEmpty ? defaultSocketPath : path
    }
}

/// The 16 bytes that a client shows over two roads.
package struct Nonce: Hashable, Sendable {
    package static let byteCount = 16

    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A nonce of 16 bytes, or nil for any other number of them.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        high = bytes[..<8].reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes[8...].reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// A new one from the system's random numbers.
    package static func random() -> Nonce {
        var generator = SystemRandomNumberGenerator()
        return Nonce(high: generator.next(), low: generator.next())
    }

    package var bytes: [UInt8] {
        [high, low].flatMap { word in
            (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * $0)) }
        }
    }
}

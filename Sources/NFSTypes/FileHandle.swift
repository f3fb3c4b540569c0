/// An NFSv3 file handle: up to 64 opaque bytes that name one file at one server.
///
/// Stored inline, so that passing it around neither allocates nor counts references.
/// RFC 1813, section 2.3.3 (`nfs_fh3`, `NFS3_FHSIZE`).
public struct FileHandle: Hashable, Sendable {
    /// The most bytes a handle may have (`NFS3_FHSIZE`).
    public static let byteCountLimit = 64

    private var words: InlineArray<8, UInt64>
    /// Bytes in use, 0 through 64.
    public let byteCount: Int

    /// A handle with these bytes, or nil if there are more than 64.
    public init?(bytes source: UnsafeRawBufferPointer) {
        guard source.count <= Self.byteCountLimit else { return nil }
        words = InlineArray(repeating: 0)
        byteCount = source.count
        for index in 0..<source.count {
            let byte = unsafe UInt64(source[index])
            words[index >> 3] |= byte << UInt64((index & 7) * 8)
        }
    }

    /// A handle with these bytes, or nil if there are more than 64.
    public init?(_ bytes: [UInt8]) {
        guard let handle = unsafe bytes.withUnsafeBytes({ unsafe FileHandle(bytes: $0) })
        else { return nil }
        self = handle
    }

    /// The byte at `index`, which must be below `byteCount`.
    public subscript(index: Int) -> UInt8 {
        precondition(index >= 0 && index < byteCount, "byte outside the handle")
        return UInt8(truncatingIfNeeded: words[index >> 3] >> UInt64((index & 7) * 8))
    }

    /// The handle's bytes in order.
    public var bytes: [UInt8] { (0..<byteCount).map { self[$0] } }

    /// Copies the bytes into `target`, which must hold `byteCount` bytes.
    public func copyBytes(to target: UnsafeMutableRawBufferPointer) {
        precondition(target.count >= byteCount, "target shorter than the handle")
        for index in 0..<byteCount { unsafe target[index] = self[index] }
    }

    public static func == (left: FileHandle, right: FileHandle) -> Bool {
        guard left.byteCount == right.byteCount else { return false }
        for index in 0..<8 where left.words[index] != right.words[index] { return false }
        return true
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(byteCount)
        for index in 0..<8 { hasher.combine(words[index]) }
    }
}

extension FileHandle: CustomStringConvertible {
    /// The bytes in hexadecimal.
    public var description: String {
        bytes.map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
    }
}

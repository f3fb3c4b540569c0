// Names and link targets as NFS carries them: bytes, which need not be text.

/// A name in a directory, or the target of a symbolic link: bytes.
///
/// NFSv3's `filename3` and `nfspath3` (RFC 1813, section 2.5) are strings of bytes that client
/// and server do not interpret, and file systems of Unix take any byte but 0 and "/" in a name.
/// Two names are equal if their bytes are: a Swift `String` would take two forms of "é" for one
/// name, and cannot hold what is no UTF-8.
public struct NFSName: Hashable, Sendable {
    // With a 0 after the bytes, as C takes them.
    private let characters: [CChar]

    /// The UTF-8 of a text.
    public init(_ text: some StringProtocol) { self.init(bytes: text.utf8) }

    public init(bytes: some Sequence<UInt8>) {
        var characters = bytes.map { CChar(bitPattern: $0) }
        characters.append(0)
        self.characters = characters
    }

    /// The bytes before the first 0 at `pointer`.
    public init(cString pointer: UnsafePointer<CChar>) {
        var count = 0
        while unsafe pointer[count] != 0 { count += 1 }
        characters = unsafe Array(UnsafeBufferPointer(start: pointer, count: count + 1))
    }

    public var byteCount: Int { characters.count - 1 }

    public var bytes: [UInt8] { characters.dropLast().map { UInt8(bitPattern: $0) } }

    /// Whether a 0 is among the bytes, which no name may have.
    package var hasZero: Bool { characters.dropLast().contains(0) }

    /// The name as text; nil if it is no UTF-8.
    public var text: String? { String(validating: bytes, as: UTF8.self) }

    /// Runs `body` with the bytes and a 0 after them; the pointer is valid within.
    public func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        unsafe body(characters)
    }
}

extension NFSName {
    /// The names of a path, without empty ones and ".".
    package var components: [NFSName] {
        bytes.split(separator: UInt8(ascii: "/")).map { NFSName(bytes: $0) }.filter { $0 != "." }
    }

    /// The path of names below one another.
    package init(joining names: [NFSName]) {
        self.init(bytes: names.map(\.bytes).joined(separator: [UInt8(ascii: "/")]))
    }

    package var isAbsolutePath: Bool { characters.first == CChar(bitPattern: UInt8(ascii: "/")) }
}

extension NFSName: ExpressibleByStringLiteral {
    public init(stringLiteral text: String) { self.init(text) }
}

extension NFSName: CustomStringConvertible {
    /// The text; where it is none, U+FFFD for each wrong byte. For people, not for calls.
    public var description: String { String(decoding: bytes, as: UTF8.self) }
}

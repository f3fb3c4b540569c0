// Big-endian values out of and into bytes; every read is checked against what is there.
internal import NFSTypes

/// Why bytes are no message.
package enum AgentProtocolError: Error, Hashable, Sendable {
    /// The frame ends before the field does.
    case truncated
    /// The frame goes on after its last field.
    case trailingBytes(Int)
    /// A length beyond its limit.
    case tooLong(byteCount: Int, limit: Int)
    /// Text that is not UTF-8, or has a zero byte.
    case badText
    /// A number that stands for nothing.
    case badValue(UInt64)
    /// A message type that this version does not have: answer `unknown` and go on.
    case unknownType(UInt16)
}

extension AgentProtocolError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .truncated: "the message ends too early"
        case .trailingBytes(let count): "the message has \(count) bytes too many"
        case .tooLong(let byteCount, let limit): "\(byteCount) bytes where \(limit) are allowed"
        case .badText: "text that is not UTF-8 or contains a zero byte"
        case .badValue(let value): "the value \(value) stands for nothing"
        case .unknownType(let type): "message type \(type) is unknown"
        }
    }
}

/// Reads fields of a frame in order.
struct ByteReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    var remaining: Int { bytes.endIndex - position }

    mutating func take(_ count: Int) throws(AgentProtocolError) -> ArraySlice<UInt8> {
        guard count <= remaining else { throw .truncated }
        defer { position += count }
        return bytes[position..<(position + count)]
    }

    private mutating func integer<Value: FixedWidthInteger>(
        _: Value.Type
    ) throws(AgentProtocolError) -> Value {
        try take(Value.bitWidth / 8).reduce(0) { $0 << 8 | Value($1) }
    }

    mutating func u8() throws(AgentProtocolError) -> UInt8 { try take(1).first ?? 0 }
    mutating func u16() throws(AgentProtocolError) -> UInt16 { try integer(UInt16.self) }
    mutating func u32() throws(AgentProtocolError) -> UInt32 { try integer(UInt32.self) }
    mutating func u64() throws(AgentProtocolError) -> UInt64 { try integer(UInt64.self) }

    mutating func bool() throws(AgentProtocolError) -> Bool {
        switch try u8() {
        case 0: false
        case 1: true
        case let value: throw .badValue(UInt64(value))
        }
    }

    mutating func nonce() throws(AgentProtocolError) -> Nonce {
        try Nonce(high: u64(), low: u64())
    }

    mutating func handle() throws(AgentProtocolError) -> FileHandle {
        let byteCount = try Int(u8())
        guard byteCount <= FileHandle.byteCountLimit else {
            throw .tooLong(byteCount: byteCount, limit: FileHandle.byteCountLimit)
        }
        guard let handle = try FileHandle(Array(take(byteCount))) else { throw .truncated }
        return handle
    }

    /// Text with a 16-bit length before it.
    mutating func text(limit: Int) throws(AgentProtocolError) -> String {
        try text(byteCount: Int(u16()), limit: limit)
    }

    /// Text with a 32-bit length before it.
    mutating func longText(limit: Int) throws(AgentProtocolError) -> String {
        try text(byteCount: Int(u32()), limit: limit)
    }

    private mutating func text(
        byteCount: Int, limit: Int
    ) throws(AgentProtocolError) -> String {
        guard byteCount <= limit else { throw .tooLong(byteCount: byteCount, limit: limit) }
        let bytes = try take(byteCount)
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self)
        else { throw .badText }
        return text
    }

    mutating func time() throws(AgentProtocolError) -> FileTime {
        try FileTime(seconds: u32(), nanoseconds: u32())
    }

    mutating func attributes() throws(AgentProtocolError) -> FileAttributes {
        let typeNumber = try u32()
        guard let type = FileType(rawValue: typeNumber) else {
            throw .badValue(UInt64(typeNumber))
        }
        return try FileAttributes(
            type: type, mode: u32(), linkCount: u32(), uid: u32(), gid: u32(), size: u64(),
            used: u64(), deviceMajor: u32(), deviceMinor: u32(), fileSystemID: u64(),
            fileID: u64(), accessTime: time(), modifyTime: time(), changeTime: time())
    }
}

/// Puts fields into a frame in order.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func put<Value: FixedWidthInteger & UnsignedInteger>(_ value: Value) {
        for shift in stride(from: Value.bitWidth - 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> Value(shift)))
        }
    }

    mutating func put(_ value: Bool) { put(UInt8(value ? 1 : 0)) }

    mutating func put(_ nonce: Nonce) {
        put(nonce.high)
        put(nonce.low)
    }

    mutating func put(_ handle: FileHandle) {
        put(UInt8(handle.byteCount))
        bytes.append(contentsOf: handle.bytes)
    }

    /// Text with a 16-bit length; what is past `limit` bytes is cut at a character's edge.
    mutating func put(_ text: String, limit: Int) {
        let kept = Self.cut(text, limit)
        put(UInt16(kept.count))
        bytes.append(contentsOf: kept)
    }

    mutating func putLong(_ text: String, limit: Int) {
        let kept = Self.cut(text, limit)
        put(UInt32(kept.count))
        bytes.append(contentsOf: kept)
    }

    mutating func put(_ time: FileTime) {
        put(time.seconds)
        put(time.nanoseconds)
    }

    mutating func put(_ attributes: FileAttributes) {
        put(attributes.type.rawValue)
        put(attributes.mode)
        put(attributes.linkCount)
        put(attributes.uid)
        put(attributes.gid)
        put(attributes.size)
        put(attributes.used)
        put(attributes.deviceMajor)
        put(attributes.deviceMinor)
        put(attributes.fileSystemID)
        put(attributes.fileID)
        put(attributes.accessTime)
        put(attributes.modifyTime)
        put(attributes.changeTime)
    }

    private static func cut(_ text: String, _ limit: Int) -> ArraySlice<UInt8> {
        let all = Array(text.utf8.prefix(limit + 1))
        guard all.count > limit else { return all[...] }
        var end = limit
        while end > 0, all[end] & 0xc0 == 0x80 { end -= 1 }
        return all[..<end]
    }
}

// A plain NFSv3 client over one socket: what it sends is written out here, byte by byte, and
// shares no code with the server or with our client.
import Glibc
import NFSTypes

/// Bytes in XDR.
struct Encoder {
    var bytes: [UInt8] = []

    mutating func u32(_ value: UInt32) { withUnsafeBytes(of: value.bigEndian) { bytes += $0 } }
    mutating func u64(_ value: UInt64) { withUnsafeBytes(of: value.bigEndian) { bytes += $0 } }
    mutating func opaque(_ value: [UInt8]) {
        u32(UInt32(value.count))
        bytes += value + [UInt8](repeating: 0, count: -value.count & 3)
    }
    mutating func string(_ text: String) { opaque(Array(text.utf8)) }

    /// `sattr3` with at most a mode, a size and times.
    mutating func attributes(
        mode: UInt32? = nil, uid: UInt32? = nil, size: UInt64? = nil, modified: FileTime? = nil
    ) {
        u32(mode == nil ? 0 : 1)
        if let mode { u32(mode) }
        u32(uid == nil ? 0 : 1)
        if let uid { u32(uid) }
        u32(0)
        u32(size == nil ? 0 : 1)
        if let size { u64(size) }
        u32(0)
        u32(modified == nil ? 0 : 2)
        if let modified {
            u32(modified.seconds)
            u32(modified.nanoseconds)
        }
    }
}

/// Results in XDR; reading past the end gives zeros and sets `isShort`.
struct Decoder {
    let bytes: [UInt8]
    var position = 0
    var isShort = false

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func fixed(_ count: Int) -> [UInt8] {
        let padded = (count + 3) & ~3
        guard count >= 0, position + padded <= bytes.count else {
            isShort = true
            return [UInt8](repeating: 0, count: min(count, 64))
        }
        defer { position += padded }
        return Array(bytes[position..<(position + count)])
    }
    mutating func u32() -> UInt32 { fixed(4).reduce(0) { $0 << 8 | UInt32($1) } }
    mutating func u64() -> UInt64 { UInt64(u32()) << 32 | UInt64(u32()) }
    mutating func opaque() -> [UInt8] { fixed(Int(u32())) }
    mutating func status() -> NFSStatus { NFSStatus(rawValue: u32()) }

    mutating func attributes() -> FileAttributes {
        let type = FileType(rawValue: u32()) ?? .regular
        let (mode, links, uid, gid) = (u32(), u32(), u32(), u32())
        let (size, used, major, minor) = (u64(), u64(), u32(), u32())
        let (system, file) = (u64(), u64())
        let times = (0..<3).map { _ in FileTime(seconds: u32(), nanoseconds: u32()) }
        return FileAttributes(
            type: type, mode: mode, linkCount: links, uid: uid, gid: gid, size: size, used: used,
            deviceMajor: major, deviceMinor: minor, fileSystemID: system, fileID: file,
            accessTime: times[0], modifyTime: times[1], changeTime: times[2])
    }
    mutating func optionalAttributes() -> FileAttributes? { u32() == 1 ? attributes() : nil }

    /// `wcc_data`: the size before, and the attributes after.
    mutating func weakCache() -> (before: UInt64?, after: FileAttributes?) {
        var before: UInt64?
        if u32() == 1 {
            before = u64()
            _ = (u64(), u64())
        }
        return (before, optionalAttributes())
    }
}

/// A reply's verdict where it was not carried out.
enum RPCVerdict: Equatable, Error {
    case closed
    case denied(UInt32)
    case accepted(UInt32)
}

final class RawClient {
    let socket: Int32
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var groups: [UInt32] = []
    private var xid: UInt32 = 1

    init(port: Int) throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw ToolFailure("connect to \(port): errno \(errno)") }
        // A server that never answers is a failure and not a hang.
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(
            socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(
            socket, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(socket) }

    func send(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return }
            sent += count
        }
    }

    func receive(_ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            let got = bytes[done...].withUnsafeMutableBytes {
                recv(socket, $0.baseAddress, $0.count, 0)
            }
            if got <= 0 { return nil }
            done += got
        }
        return bytes
    }

    /// A call's message, without a record mark.
    func message(
        _ program: UInt32, _ version: UInt32, _ procedure: UInt32, _ arguments: [UInt8],
        rpcVersion: UInt32 = 2, flavor: UInt32 = 1
    ) -> [UInt8] {
        xid += 1
        var call = Encoder()
        for value in [xid, 0, rpcVersion, program, version, procedure, flavor] { call.u32(value) }
        var credentials = Encoder()
        if flavor == 1 {
            credentials.u32(0)
            credentials.string("tester")
            credentials.u32(uid)
            credentials.u32(gid)
            credentials.u32(UInt32(groups.count))
            for group in groups { credentials.u32(group) }
        }
        call.opaque(credentials.bytes)
        call.u32(0)
        call.u32(0)
        return call.bytes + arguments
    }

    static func record(_ message: [UInt8], isLast: Bool = true) -> [UInt8] {
        var mark = Encoder()
        mark.u32(UInt32(message.count) | (isLast ? 0x8000_0000 : 0))
        return mark.bytes + message
    }

    /// The next reply's results.
    func reply() throws(RPCVerdict) -> (xid: UInt32, results: Decoder) {
        guard let mark = receive(4) else { throw .closed }
        let length = mark.reduce(0) { $0 << 8 | Int($1) } & 0x7fff_ffff
        guard let bytes = receive(length) else { throw .closed }
        var reply = Decoder(bytes)
        let xid = reply.u32()
        _ = reply.u32()
        if reply.u32() != 0 { throw .denied(reply.u32()) }
        _ = (reply.u32(), reply.opaque())
        let status = reply.u32()
        if status != 0 { throw .accepted(status) }
        return (xid, Decoder(Array(reply.bytes[reply.position...])))
    }

    func call(
        _ program: UInt32, _ version: UInt32, _ procedure: UInt32, _ arguments: [UInt8] = []
    ) throws(RPCVerdict) -> Decoder {
        send(Self.record(message(program, version, procedure, arguments)))
        return try reply().results
    }

    func nfs(_ procedure: UInt32, _ build: (inout Encoder) -> Void) throws(RPCVerdict) -> Decoder {
        var arguments = Encoder()
        build(&arguments)
        return try call(100003, 3, procedure, arguments.bytes)
    }
}

// Encodes a reply through libtirpc's XDR into a worker's own buffer.
internal import CLinux
internal import CLocalIORPC
internal import NFSTypes

/// A cursor over one reply and the memory behind it: the record mark, then the message. One
/// thread. Procedures stay within the buffer: all but READ and the listings are small, and
/// those count what they put; past the end nothing is written.
@safe
final class XDRWriter {
    static let markByteCount = 4

    let cursor: OpaquePointer
    private let memory: UnsafeMutableRawBufferPointer

    /// - Returns: nil without memory.
    init?() {
        guard let cursor = unsafe clocaliorpc_cursor_create() else { return nil }
        unsafe self.cursor = unsafe cursor
        unsafe memory = .allocate(byteCount: ServerLimits.replyByteCount, alignment: 4096)
        reset()
    }

    deinit {
        unsafe clocaliorpc_cursor_destroy(cursor)
        unsafe memory.deallocate()
    }

    func reset() {
        let message = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[Self.markByteCount...])
        unsafe clocaliorpc_cursor_encode(cursor, message.baseAddress, message.count)
    }

    /// Bytes of the message so far.
    var position: Int { unsafe clocaliorpc_cursor_position(cursor) }

    func seek(_ position: Int) { _ = unsafe clocaliorpc_cursor_seek(cursor, position) }

    /// Memory of the message from `position` on, for data that is read straight into the reply.
    func room(at position: Int, byteCount: Int) -> UnsafeMutableRawBufferPointer {
        let start = Self.markByteCount + position
        return unsafe UnsafeMutableRawBufferPointer(rebasing: memory[start..<(start + byteCount)])
    }

    /// The whole record. Its mark is put here and not by xdrrec: with xdrrec every reply would
    /// be copied once more and sent under the stream's lock in pieces; so it is one send.
    func finish() -> UnsafeRawBufferPointer {
        let byteCount = position
        unsafe memory.storeBytes(of: (0x8000_0000 | UInt32(byteCount)).bigEndian, as: UInt32.self)
        let end = Self.markByteCount + byteCount
        return unsafe UnsafeRawBufferPointer(rebasing: memory[..<end])
    }

    func put(_ value: UInt32) { _ = unsafe clocaliorpc_put_u32(cursor, value) }
    func put(_ value: UInt64) { _ = unsafe clocaliorpc_put_u64(cursor, value) }
    func put(_ value: Bool) { put(UInt32(value ? 1 : 0)) }
    func put(_ status: NFSStatus) { put(status.rawValue) }

    func putFixed(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        _ = unsafe clocaliorpc_put_opaque(cursor, base, bytes.count)
    }

    func putOpaque(_ bytes: UnsafeRawBufferPointer) {
        put(UInt32(bytes.count))
        unsafe putFixed(bytes)
    }

    /// Goes past opaque data that was read into `room` at this position, and zeroes its padding.
    func skipOpaque(_ byteCount: Int) {
        let end = position + byteCount
        let padding = unsafe room(at: end, byteCount: -byteCount & 3)
        for index in 0..<padding.count { unsafe padding[index] = 0 }
        seek(end + padding.count)
    }

    func putString(_ text: String) {
        var text = text
        text.withUTF8 { unsafe putOpaque(UnsafeRawBufferPointer($0)) }
    }

    func put(_ handle: FileHandle) {
        put(UInt32(handle.byteCount))
        let byteCount = handle.byteCount
        unsafe withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { scratch in
            unsafe handle.copyBytes(to: scratch)
            unsafe putFixed(UnsafeRawBufferPointer(rebasing: scratch[..<byteCount]))
        }
    }

    /// `fattr3`, 84 bytes.
    func put(_ status: FileStatus) {
        put(status.type.rawValue)
        put(status.mode & 0o7777)
        put(status.link_count)
        put(status.uid)
        put(status.gid)
        put(status.size)
        put(status.blocks &* 512)
        put(status.device_major)
        put(status.device_minor)
        put(status.device)
        put(status.inode)
        put(seconds: status.access_seconds, nanoseconds: status.access_nanoseconds)
        put(seconds: status.modify_seconds, nanoseconds: status.modify_nanoseconds)
        put(seconds: status.change_seconds, nanoseconds: status.change_nanoseconds)
    }

    /// `post_op_attr`.
    func putOptional(_ status: FileStatus?) {
        put(status != nil)
        if let status { put(status) }
    }

    /// `post_op_fh3`.
    func putOptional(_ handle: FileHandle?) {
        put(handle != nil)
        if let handle { put(handle) }
    }

    /// `wcc_data` (RFC 1813, section 2.6).
    func putWeakCache(before: FileStatus?, after: FileStatus?) {
        put(before != nil)
        if let before {
            put(before.size)
            put(seconds: before.modify_seconds, nanoseconds: before.modify_nanoseconds)
            put(seconds: before.change_seconds, nanoseconds: before.change_nanoseconds)
        }
        putOptional(after)
    }

    private func put(seconds: Int64, nanoseconds: UInt32) {
        put(UInt32(truncatingIfNeeded: seconds))
        put(nanoseconds)
    }
}

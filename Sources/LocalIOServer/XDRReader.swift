// Decodes the arguments of a call through libtirpc's XDR.
internal import CLocalIORPC
internal import NFSTypes

/// Arguments that do not decode: the call is answered GARBAGE_ARGS.
struct GarbageArguments: Error {}

/// A cursor over one request. One thread.
@safe
final class XDRReader {
    let cursor: OpaquePointer

    /// - Returns: nil without memory.
    init?() {
        guard let cursor = unsafe clocaliorpc_cursor_create() else { return nil }
        unsafe self.cursor = unsafe cursor
    }

    deinit { unsafe clocaliorpc_cursor_destroy(cursor) }

    func attach(_ bytes: UnsafeRawBufferPointer) {
        unsafe clocaliorpc_cursor_decode(cursor, bytes.baseAddress, bytes.count)
    }

    func u32() throws(GarbageArguments) -> UInt32 {
        var value: UInt32 = 0
        guard unsafe clocaliorpc_get_u32(cursor, &value) else { throw GarbageArguments() }
        return value
    }

    func u64() throws(GarbageArguments) -> UInt64 {
        var value: UInt64 = 0
        guard unsafe clocaliorpc_get_u64(cursor, &value) else { throw GarbageArguments() }
        return value
    }

    func bool() throws(GarbageArguments) -> Bool {
        switch try u32() {
        case 0: false
        case 1: true
        default: throw GarbageArguments()
        }
    }

    /// `byteCount` bytes in place: valid as long as the request.
    func fixed(_ byteCount: Int) throws(GarbageArguments) -> UnsafeRawBufferPointer {
        if byteCount == 0 { return unsafe UnsafeRawBufferPointer(start: nil, count: 0) }
        guard let bytes = unsafe clocaliorpc_get_in_place(cursor, byteCount)
        else { throw GarbageArguments() }
        return unsafe UnsafeRawBufferPointer(start: bytes, count: byteCount)
    }

    /// A counted opaque or string of at most `limit` bytes, in place.
    func opaque(limit: Int) throws(GarbageArguments) -> UnsafeRawBufferPointer {
        let byteCount = try Int(u32())
        guard byteCount <= limit else { throw GarbageArguments() }
        return unsafe try fixed(byteCount)
    }

    func handle() throws(GarbageArguments) -> FileHandle {
        let bytes = unsafe try opaque(limit: FileHandle.byteCountLimit)
        guard let handle = unsafe FileHandle(bytes: bytes) else { throw GarbageArguments() }
        return handle
    }

    /// A name, which may still be one that no file can have.
    func name() throws(GarbageArguments) -> Result<FileName, Refusal> {
        let bytes = unsafe try opaque(limit: 4096)
        do throws(Refusal) {
            return .success(unsafe try FileName(bytes))
        } catch {
            return .failure(error)
        }
    }

    /// `sattr3`.
    func setAttributes() throws(GarbageArguments) -> SetAttributes {
        var attributes = SetAttributes()
        if try bool() { attributes.mode = try u32() & 0o7777 }
        if try bool() { attributes.uid = try u32() }
        if try bool() { attributes.gid = try u32() }
        if try bool() { attributes.size = try u64() }
        attributes.accessTime = try timeSetting()
        attributes.modifyTime = try timeSetting()
        return attributes
    }

    func time() throws(GarbageArguments) -> FileTime {
        FileTime(seconds: try u32(), nanoseconds: try u32())
    }

    private func timeSetting() throws(GarbageArguments) -> SetAttributes.TimeSetting? {
        switch try u32() {
        case 0: nil
        case 1: .serverTime
        case 2: .clientTime(try time())
        default: throw GarbageArguments()
        }
    }
}

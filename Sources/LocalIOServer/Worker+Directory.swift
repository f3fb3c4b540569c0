// READDIR and READDIRPLUS (RFC 1813, sections 3.3.16 and 3.3.17).
internal import CLinux
internal import Glibc
internal import NFSTypes

extension Worker {
    /// Cookies are the file system's own directory offsets (`d_off`): they stay good while the
    /// directory changes and after the server starts again, so one verifier serves for ever.
    private var cookieVerifier: UInt64 { export.hash | 1 }

    /// What a listing may still put.
    private struct Room {
        /// Bytes of the whole result, which ends with "no more entries" and the end flag.
        var byteCount: Int
        /// READDIRPLUS: bytes of names, numbers and cookies.
        var nameByteCount: Int
        var entryCount = 0
    }

    /// READDIR, or READDIRPLUS `withAttributes`.
    func readDirectory(withAttributes: Bool) throws(GarbageArguments) {
        let handle = try input.handle()
        let cookie = try input.u64()
        let verifier = try input.u64()
        let nameByteCount = withAttributes ? Int(try input.u32()) : Int.max
        let byteCount = min(Int(try input.u32()), ServerLimits.transferByteCount)
        let start = output.position
        var status: FileStatus?
        do throws(Refusal) {
            let directory = try directory(handle)
            status = directory.status
            if service.faults.losesName() { throw Refusal(.noEntry) }
            if cookie != 0, verifier != cookieVerifier { throw Refusal(.badCookie) }
            let flags = O_RDONLY | clinux_o_directory
            let stream = try Descriptor(answer: clinux_reopen(directory.raw, flags))
            guard cookie <= UInt64(Int64.max), lseek(stream.raw, off_t(cookie), SEEK_SET) >= 0
            else { throw Refusal(.badCookie) }
            output.put(NFSStatus.ok)
            output.putOptional(status)
            output.put(cookieVerifier)
            let used = output.position - start + 8
            var room = Room(byteCount: byteCount - used, nameByteCount: nameByteCount)
            let isEnd = try list(stream.raw, directory, withAttributes, &room)
            if room.entryCount == 0, !isEnd { throw Refusal(.tooSmall) }
            output.put(false)
            output.put(isEnd)
        } catch {
            fail(error, at: start)
            output.putOptional(status)
        }
    }

    /// Puts entries until the room is used up.
    /// - Returns: true at the directory's end.
    private func list(
        _ stream: Int32, _ directory: borrowing Node, _ withAttributes: Bool, _ room: inout Room
    ) throws(Refusal) -> Bool {
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: 32 << 10, alignment: 8)
        defer { unsafe buffer.deallocate() }
        while true {
            let answer = unsafe clinux_read_directory(stream, buffer.baseAddress, buffer.count)
            if answer < 0 { throw Refusal(answer: Int32(answer)) }
            if answer == 0 { return true }
            var offset = 0
            var entry = unsafe clinux_directory_entry()
            while offset < Int(answer) {
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[offset..<Int(answer)])
                guard unsafe clinux_directory_record(rest.baseAddress, rest.count, &entry)
                else { throw Refusal(.ioError) }
                guard unsafe put(entry, directory, withAttributes, &room) else { return false }
                unsafe offset += entry.record_length
            }
        }
    }

    /// Puts one entry, or answers false if it does not fit.
    private func put(
        _ entry: clinux_directory_entry, _ directory: borrowing Node, _ withAttributes: Bool,
        _ room: inout Room
    ) -> Bool {
        let name = unsafe UnsafeRawBufferPointer(start: entry.name, count: entry.name_length)
        let nameByteCount = 8 + 4 + (name.count + 3) & ~3 + 8
        // The most that attributes and a handle take.
        let byteCount = 4 + nameByteCount + (withAttributes ? 4 + 84 + 4 + 4 + 64 : 0)
        guard byteCount <= room.byteCount, nameByteCount <= room.nameByteCount else {
            return false
        }
        let before = output.position
        output.put(true)
        let isAbove = unsafe name.count == 2 && name[0] == 46 && name[1] == 46
        let hidesAbove = isAbove && export.isRoot(directory.status)
        output.put(unsafe hidesAbove ? directory.status.inode : entry.inode)
        unsafe output.putOpaque(name)
        unsafe output.put(entry.next_offset)
        if withAttributes { unsafe putAttributes(name, directory) }
        room.byteCount -= output.position - before
        room.nameByteCount -= nameByteCount
        room.entryCount += 1
        return true
    }

    /// An entry's attributes and handle; neither where the caller may not look, or another file
    /// system is mounted.
    private func putAttributes(
        _ name: UnsafeRawBufferPointer, _ directory: borrowing Node
    ) {
        do throws(Refusal) {
            let node = try child(directory, unsafe FileName(name))
            let handle = try export.handle(node.raw, node.status)
            output.putOptional(seen(handle, node.status))
            output.putOptional(handle)
        } catch {
            output.put(false)
            output.put(false)
        }
    }
}

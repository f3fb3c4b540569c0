// READ, WRITE and COMMIT (RFC 1813, sections 3.3.6, 3.3.7 and 3.3.21).
internal import CLinux
internal import Glibc
internal import NFSTypes

extension Worker {
    /// READ's results before the data: status, attributes, count, end of file, length.
    private static var readHeaderByteCount: Int { 4 + 4 + 84 + 4 + 4 + 4 }

    func read() throws(GarbageArguments) {
        let handle = try input.handle()
        let offset = try input.u64()
        let count = try input.u32()
        let start = output.position
        do throws(Refusal) {
            let limit = min(Int(count), ServerLimits.transferByteCount)
            let asked = service.faults.readByteCount(limit)
            guard offset <= UInt64(Int64.max) - UInt64(asked) else { throw Refusal(.invalid) }
            let file = try openFile(handle, for: .reading)
            defer { withExtendedLifetime(file) {} }
            // Straight into the reply. Rights are checked on the attributes read after the
            // data, which the reply carries; what is refused never leaves the buffer.
            let room = unsafe output.room(
                at: start + Self.readHeaderByteCount, byteCount: asked)
            var byteCount = unsafe try Self.read(file.descriptor, room, at: offset)
            let status = try status(handle, file.descriptor)
            try requireLinked(status, handle)
            try require(.reading, file.descriptor, status)
            if let held = service.held {
                unsafe byteCount = held.overlay(
                    handle, offset: offset, byteCount: byteCount, target: room)
            }
            // What was read short ended at the end of the file, wherever that has moved since: by
            // the size alone, a reader of nothing would be told that there is more.
            let isEnd = byteCount < asked || offset + UInt64(byteCount) >= status.size
            output.put(NFSStatus.ok)
            output.putOptional(status)
            output.put(UInt32(byteCount))
            output.put(isEnd)
            output.put(UInt32(byteCount))
            output.skipOpaque(byteCount)
        } catch {
            fail(error, at: start)
            output.put(false)
        }
    }

    private static func read(
        _ file: Int32, _ room: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Refusal) -> Int {
        var done = 0
        while done < room.count {
            let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: room[done...])
            let count = unsafe pread(file, rest.baseAddress, rest.count, off_t(offset) + done)
            if count < 0 {
                if errno == EINTR { continue }
                throw Refusal(errno: errno)
            }
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// A file without names is gone for NFS, even if this server still has it open.
    private func requireLinked(_ status: FileStatus, _ handle: FileHandle) throws(Refusal) {
        if status.link_count > 0 { return }
        service.openFiles.close(handle)
        throw Refusal(.stale)
    }

    func write() throws(GarbageArguments) {
        let handle = try input.handle()
        let offset = try input.u64()
        let count = try input.u32()
        guard let stable = StableHow(rawValue: try input.u32()) else { throw GarbageArguments() }
        let bytes = unsafe try input.opaque(limit: ServerLimits.transferByteCount)
        let start = output.position
        var weak = WeakCache()
        do throws(Refusal) {
            try requireWritable()
            guard Int(count) == bytes.count else { throw Refusal(.invalid) }
            guard offset <= UInt64(Int64.max) - UInt64(count) else { throw Refusal(.fileTooBig) }
            let file = try openFile(handle, for: .writing)
            defer { withExtendedLifetime(file) {} }
            let asked = try service.faults.writeByteCount(bytes.count)
            let taken = unsafe UnsafeRawBufferPointer(rebasing: bytes[..<asked])
            let isHeld = service.held != nil && stable == .unstable
            // Before the write: if it changes meanwhile, this write may be among the lost.
            let verifier = service.verifier
            let inode = ServerHandle.inode(of: handle)
            try service.inodeLocks.withLock(inode) { () throws(Refusal) in
                let before = try status(handle, file.descriptor)
                weak.before = before
                try requireLinked(before, handle)
                try require(.writing, file.descriptor, before)
                if let held = service.held, isHeld {
                    unsafe held.hold(handle, offset: offset, bytes: taken)
                } else {
                    try service.held?.release(handle, to: file.descriptor)
                    // With the caller's ids: quotas count, and set-id bits go as they must.
                    try identity.become(caller)
                    unsafe try writeWhole(file.descriptor, taken, at: offset)
                }
                weak.after = try status(handle, file.descriptor)
            }
            if !isHeld { try settle(file.descriptor, stable) }
            output.put(NFSStatus.ok)
            output.putWeakCache(before: weak.before, after: weak.after)
            output.put(UInt32(asked))
            output.put(stable.rawValue)
            output.put(verifier)
        } catch {
            fail(error, at: start, weak)
        }
    }

    private func settle(_ file: Int32, _ stable: StableHow) throws(Refusal) {
        let result =
            switch stable {
            case .unstable: Int32(0)
            case .dataSync: fdatasync(file)
            case .fileSync: fsync(file)
            }
        if result == 0 { return }
        let code = errno
        service.changeVerifier()
        throw Refusal(errno: code)
    }

    /// The whole file is synced, whatever range is asked for.
    func commit() throws(GarbageArguments) {
        let handle = try input.handle()
        _ = try input.u64()
        _ = try input.u32()
        let start = output.position
        var weak = WeakCache()
        do throws(Refusal) {
            try requireWritable()
            let file = try openFile(handle, for: service.held == nil ? .committing : .writing)
            defer { withExtendedLifetime(file) {} }
            try service.inodeLocks.withLock(ServerHandle.inode(of: handle)) {
                () throws(Refusal) in
                let before = try status(handle, file.descriptor)
                weak.before = before
                try requireLinked(before, handle)
                try require(.writing, file.descriptor, before)
                try service.held?.release(handle, to: file.descriptor)
            }
            try settle(file.descriptor, .fileSync)
            weak.after = try status(handle, file.descriptor)
            output.put(NFSStatus.ok)
            output.putWeakCache(before: weak.before, after: weak.after)
            output.put(service.verifier)
        } catch {
            fail(error, at: start, weak)
        }
    }
}

extension ServerHandle {
    /// The inode number in a handle that was checked before.
    static func inode(of handle: FileHandle) -> UInt64 {
        (12..<20).reduce(0) { $0 << 8 | UInt64(handle[$1]) }
    }
}

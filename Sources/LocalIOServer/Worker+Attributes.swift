// GETATTR, SETATTR, ACCESS, FSSTAT, FSINFO and PATHCONF (RFC 1813, section 3.3).
internal import CLinux
internal import Glibc
internal import NFSTypes

extension Worker {
    func getAttributes() throws(GarbageArguments) {
        let handle = try input.handle()
        let start = output.position
        do throws(Refusal) {
            let status = try currentStatus(handle)
            output.put(NFSStatus.ok)
            output.put(status)
        } catch {
            fail(error, at: start)
        }
    }

    /// Through the open file if there is one, which saves finding it.
    private func currentStatus(_ handle: FileHandle) throws(Refusal) -> FileStatus {
        if let file = service.openFiles.find(handle, for: .committing) {
            let status = try status(handle, file.descriptor)
            if status.link_count > 0 { return status }
            service.openFiles.close(handle)
        }
        return seen(handle, try node(handle).status)
    }

    func setAttributes() throws(GarbageArguments) {
        let handle = try input.handle()
        let attributes = try input.setAttributes()
        let guardTime = try input.bool() ? try input.time() : nil
        let start = output.position
        var weak = WeakCache()
        do throws(Refusal) {
            try requireWritable()
            let node = try node(handle)
            try changing(node, &weak) { () throws(Refusal) in
                let now = try FileStatus(of: node.raw)
                let changeTime = FileTime(
                    seconds: UInt32(truncatingIfNeeded: now.change_seconds),
                    nanoseconds: now.change_nanoseconds)
                if let guardTime, guardTime != changeTime { throw Refusal(.notSynchronized) }
                try apply(attributes, to: node, handle)
            }
            weak.after = weak.after.map { seen(handle, $0) }
            output.put(NFSStatus.ok)
            output.putWeakCache(before: weak.before, after: weak.after)
        } catch {
            fail(error, at: start, weak)
        }
    }

    /// Size first, for it sets the times; the owner before the mode, for it clears set-id bits.
    func apply(
        _ attributes: SetAttributes, to node: borrowing Node, _ handle: FileHandle
    ) throws(Refusal) {
        if let size = attributes.size { try truncate(node, handle, to: size) }
        try identity.become(caller)
        if attributes.uid != nil || attributes.gid != nil {
            let keep = UInt32.max
            try check(
                clinux_change_owner(node.raw, attributes.uid ?? keep, attributes.gid ?? keep))
        }
        if let mode = attributes.mode {
            if node.status.isSymbolicLink { throw Refusal(.notSupported) }
            try check(clinux_change_mode(node.raw, mode))
        }
        if attributes.accessTime != nil || attributes.modifyTime != nil {
            let access = try Self.time(attributes.accessTime)
            let modify = try Self.time(attributes.modifyTime)
            try check(clinux_change_times(node.raw, access, modify))
        }
    }

    private func truncate(
        _ node: borrowing Node, _ handle: FileHandle, to size: UInt64
    ) throws(Refusal) {
        guard node.status.isRegular else {
            throw Refusal(node.status.isDirectory ? .isDirectory : .invalid)
        }
        guard size <= UInt64(Int64.max) else { throw Refusal(.fileTooBig) }
        try require(.writing, node.raw, node.status)
        let file = try openFile(handle, for: .writing)
        defer { withExtendedLifetime(file) {} }
        service.held?.truncate(handle, to: size)
        try identity.become(caller)
        while ftruncate(file.descriptor, off_t(size)) != 0 {
            if errno != EINTR { throw Refusal(errno: errno) }
        }
    }

    private static func time(
        _ setting: SetAttributes.TimeSetting?
    ) throws(Refusal) -> clinux_time {
        switch setting {
        case nil: return clinux_time(how: 0, seconds: 0, nanoseconds: 0)
        case .serverTime: return clinux_time(how: 1, seconds: 0, nanoseconds: 0)
        case .clientTime(let time):
            if time.nanoseconds > 999_999_999 { throw Refusal(.invalid) }
            return clinux_time(
                how: 2, seconds: Int64(time.seconds), nanoseconds: time.nanoseconds)
        }
    }

    func check(_ answer: Int32) throws(Refusal) {
        if answer < 0 { throw Refusal(answer: answer) }
    }

    func access() throws(GarbageArguments) {
        let handle = try input.handle()
        let asked = AccessRights(rawValue: try input.u32())
        let start = output.position
        do throws(Refusal) {
            let node = try node(handle)
            let granted = rights(node).intersection(asked)
            output.put(NFSStatus.ok)
            output.putOptional(seen(handle, node.status))
            output.put(granted.rawValue)
        } catch {
            fail(error, at: start)
            output.put(false)
        }
    }

    /// What the kernel grants the ids that this thread now has; with AT_EACCESS it looks at the
    /// file-system ids. So access control lists and capabilities count as they do on opening.
    private func rights(_ node: borrowing Node) -> AccessRights {
        var rights: AccessRights = []
        if clinux_access(node.raw, R_OK) == 0 { rights.insert(.read) }
        if !service.configuration.readOnly, clinux_access(node.raw, W_OK) == 0 {
            rights.formUnion([.modify, .extend])
            if node.status.isDirectory { rights.insert(.delete) }
        }
        if clinux_access(node.raw, X_OK) == 0 {
            rights.insert(node.status.isDirectory ? .lookup : .execute)
        }
        return rights
    }

    func fileSystemStatus() throws(GarbageArguments) {
        let handle = try input.handle()
        let start = output.position
        do throws(Refusal) {
            let node = try node(handle)
            var space = statvfs()
            guard unsafe fstatvfs(node.raw, &space) == 0 else { throw Refusal(errno: errno) }
            let unit = UInt64(space.f_frsize)
            output.put(NFSStatus.ok)
            output.putOptional(node.status)
            output.put(UInt64(space.f_blocks) &* unit)
            output.put(UInt64(space.f_bfree) &* unit)
            output.put(UInt64(space.f_bavail) &* unit)
            output.put(UInt64(space.f_files))
            output.put(UInt64(space.f_ffree))
            output.put(UInt64(space.f_favail))
            output.put(UInt32(0))
        } catch {
            fail(error, at: start)
            output.put(false)
        }
    }

    func fileSystemInformation() throws(GarbageArguments) {
        let handle = try input.handle()
        let start = output.position
        do throws(Refusal) {
            let node = try node(handle)
            let transfer = UInt32(ServerLimits.transferByteCount)
            output.put(NFSStatus.ok)
            output.putOptional(node.status)
            // Limit, preferred size and multiple, of READ and then of WRITE.
            for value in [transfer, transfer, 4096, transfer, transfer, 4096] { output.put(value) }
            output.put(UInt32(64 << 10))
            output.put(UInt64(Int64.max))
            output.put(UInt32(0))
            output.put(UInt32(1))
            // Hard links, symbolic links, one answer to PATHCONF everywhere, times settable.
            output.put(UInt32(0x01 | 0x02 | 0x08 | 0x10))
        } catch {
            fail(error, at: start)
            output.put(false)
        }
    }

    func pathConfiguration() throws(GarbageArguments) {
        let handle = try input.handle()
        let start = output.position
        do throws(Refusal) {
            let node = try node(handle)
            let linkLimit = fpathconf(export.root, Int32(_PC_LINK_MAX))
            output.put(NFSStatus.ok)
            output.putOptional(node.status)
            output.put(UInt32(clamping: max(linkLimit, 1)))
            output.put(UInt32(255))
            output.put(true)  // too long a name is refused
            output.put(true)  // only root gives files away
            output.put(false)  // case counts
            output.put(true)  // and is kept
        } catch {
            fail(error, at: start)
            output.put(false)
        }
    }
}

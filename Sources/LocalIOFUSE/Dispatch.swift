// From the C fence's one callback to the operations.
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
internal import NFSTypes

/// The fence's handler; `context` is the mount's core, which outlives the session.
func handleOperation(
    _ context: UnsafeMutableRawPointer?, _ operation: UnsafePointer<clfuse_operation>?
) -> Bool {
    guard let context = unsafe context, let operation = unsafe operation?.pointee else {
        return false
    }
    // The fence's reference outlives every call: counting here would only bounce a cache line.
    return unsafe Unmanaged<MountCore>.fromOpaque(context)._withUnsafeGuaranteedRef {
        $0.dispatch(operation)
    }
}

func handleKilled(_ context: UnsafeMutableRawPointer?, _ number: UInt64) {
    guard let context = unsafe context else { return }
    unsafe Unmanaged<MountCore>.fromOpaque(context).takeUnretainedValue().killed(number)
}

extension MountCore {
    /// - Returns: whether the operation keeps its buffer.
    func dispatch(_ operation: clfuse_operation) -> Bool {
        switch operation.opcode {
        case CLFUSE_READ, CLFUSE_WRITE:
            if operation.opcode == CLFUSE_READ, operation.node == StatusFile.id {
                let (file, offset) = (operation.file, operation.offset)
                let byteCount = Int(operation.byte_count)
                run(operation) { (core, request) async throws(MountError) in
                    core.readStatus(request, file, offset: Int(offset), byteCount: byteCount)
                }
                return false
            }
            return transfer(operation)
        case CLFUSE_FORGET: nodes.forget(operation.node, count: operation.byte_count)
        case CLFUSE_OPENDIR, CLFUSE_READDIR, CLFUSE_READDIRPLUS, CLFUSE_RELEASEDIR,
            CLFUSE_FSYNCDIR:
            dispatchDirectory(operation)
        case CLFUSE_LOOKUP, CLFUSE_MKNOD, CLFUSE_MKDIR, CLFUSE_UNLINK, CLFUSE_RMDIR,
            CLFUSE_SYMLINK, CLFUSE_RENAME, CLFUSE_LINK, CLFUSE_CREATE:
            dispatchName(operation)
        case CLFUSE_FLUSH, CLFUSE_RELEASE, CLFUSE_FSYNC, CLFUSE_FALLOCATE, CLFUSE_LSEEK:
            dispatchFile(operation)
        default: dispatchNode(operation)
        }
        return false
    }

    private func dispatchNode(_ operation: clfuse_operation) {
        let node = operation.node
        if node == StatusFile.id, dispatchStatus(operation) { return }
        let flags = Int32(bitPattern: operation.flags)
        switch operation.opcode {
        case CLFUSE_GETATTR:
            run(operation) { (core, request) async throws(MountError) in
                try await core.getAttributes(request, node)
            }
        case CLFUSE_SETATTR:
            let change = SetOperation(operation)
            run(operation) { (core, request) async throws(MountError) in
                try await core.setAttributes(request, change)
            }
        case CLFUSE_ACCESS:
            run(operation) { (core, request) async throws(MountError) in
                try await core.access(request, node, flags)
            }
        case CLFUSE_READLINK:
            run(operation) { (core, request) async throws(MountError) in
                try await core.readLink(request, node)
            }
        case CLFUSE_OPEN:
            run(operation) { (core, request) async throws(MountError) in
                try await core.open(request, node, flags: flags)
            }
        case CLFUSE_STATFS:
            run(operation) { (core, request) async throws(MountError) in
                try await core.statistics(request)
            }
        default: refuse(operation, ENOSYS)
        }
    }

    private func refuse(_ operation: clfuse_operation, _ errno: Int32) {
        if let raw = unsafe operation.request { _ = unsafe clfuse_reply_error(raw, errno) }
    }

    private func name(_ text: UnsafePointer<CChar>?) -> NFSName? {
        guard let text = unsafe text else { return nil }
        return unsafe NFSName(cString: text)
    }

    private func dispatchName(_ operation: clfuse_operation) {
        guard let name = unsafe name(operation.name) else { return refuse(operation, EINVAL) }
        let parent = operation.node
        let mode = operation.mode
        let flags = operation.flags
        switch operation.opcode {
        case CLFUSE_LOOKUP:
            if parent == NodeTable.rootID, name.text == StatusFile.name {
                return run(operation) { (core, request) async throws(MountError) in
                    core.lookupStatus(request)
                }
            }
            run(operation) { (core, request) async throws(MountError) in
                try await core.lookup(request, parent, name)
            }
        case CLFUSE_CREATE:
            run(operation) { (core, request) async throws(MountError) in
                try await core.create(
                    request, parent, name, mode: mode, flags: Int32(bitPattern: flags))
            }
        case CLFUSE_MKNOD:
            let device = (operation.device_major, operation.device_minor)
            run(operation) { (core, request) async throws(MountError) in
                try await core.makeNode(request, parent, name, mode: mode, device: device)
            }
        case CLFUSE_MKDIR:
            run(operation) { (core, request) async throws(MountError) in
                try await core.makeDirectory(request, parent, name, mode: mode)
            }
        case CLFUSE_UNLINK:
            run(operation) { (core, request) async throws(MountError) in
                try await core.unlink(request, parent, name)
            }
        case CLFUSE_RMDIR:
            run(operation) { (core, request) async throws(MountError) in
                try await core.removeDirectory(request, parent, name)
            }
        default: dispatchTwoNames(operation, name)
        }
    }

    private func dispatchTwoNames(_ operation: clfuse_operation, _ name: NFSName) {
        let node = operation.node
        let otherNode = operation.other_node
        if operation.opcode == CLFUSE_LINK {
            return run(operation) { (core, request) async throws(MountError) in
                try await core.link(request, node, to: otherNode, name)
            }
        }
        guard let other = unsafe self.name(operation.other_name) else {
            return refuse(operation, EINVAL)
        }
        let flags = operation.flags
        if operation.opcode == CLFUSE_SYMLINK {
            return run(operation) { (core, request) async throws(MountError) in
                try await core.makeSymbolicLink(request, node, name, target: other)
            }
        }
        let names = RenameNames(
            sourceParent: node, source: name, targetParent: otherNode, target: other)
        run(operation) { (core, request) async throws(MountError) in
            try await core.rename(request, names, flags: flags)
        }
    }

    private func dispatchFile(_ operation: clfuse_operation) {
        if operation.node == StatusFile.id {
            if operation.opcode == CLFUSE_RELEASE {
                _ = KernelReference.take(operation.file, StatusText.self)
            }
            return refuse(operation, 0)
        }
        let taken =
            operation.opcode == CLFUSE_RELEASE
            ? KernelReference.take(operation.file, OpenFile.self)
            : KernelReference.borrow(operation.file, OpenFile.self)
        guard let open = taken else { return refuse(operation, EBADF) }
        let offset = operation.offset
        let flags = Int32(bitPattern: operation.flags)
        switch operation.opcode {
        case CLFUSE_FLUSH:
            run(operation) { (core, request) async throws(MountError) in
                try await core.flush(request, open)
            }
        case CLFUSE_RELEASE:
            run(operation) { (core, request) async throws(MountError) in
                await core.release(request, open)
            }
        case CLFUSE_FSYNC:
            run(operation) { (core, request) async throws(MountError) in
                try await core.synchronize(request, open)
            }
        case CLFUSE_FALLOCATE:
            let byteCount = Int64(clamping: operation.byte_count)
            run(operation) { (core, request) async throws(MountError) in
                try await core.allocate(
                    request, open, mode: flags, offset: offset, byteCount: byteCount)
            }
        default:
            run(operation) { (core, request) async throws(MountError) in
                try await core.seek(request, open, offset: offset, whence: flags)
            }
        }
    }

    private func dispatchDirectory(_ operation: clfuse_operation) {
        let node = operation.node
        switch operation.opcode {
        case CLFUSE_OPENDIR:
            run(operation) { (core, request) async throws(MountError) in
                try await core.openDirectory(request, node)
            }
        case CLFUSE_RELEASEDIR:
            _ = KernelReference.take(operation.file, OpenDirectory.self)
            refuse(operation, 0)
        case CLFUSE_FSYNCDIR:
            // Every change of names was durable at the server before it was answered.
            refuse(operation, 0)
        default:
            guard let directory = KernelReference.borrow(operation.file, OpenDirectory.self)
            else { return refuse(operation, EBADF) }
            let cookie = UInt64(bitPattern: operation.offset)
            let byteCount = Int(operation.byte_count)
            let isPlus = operation.opcode == CLFUSE_READDIRPLUS
            run(operation) { (core, request) async throws(MountError) in
                try await core.readDirectory(
                    request, directory, cookie: cookie, byteCount: byteCount, isPlus: isPlus)
            }
        }
    }
}

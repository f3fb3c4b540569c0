// GETATTR, SETATTR, ACCESS, READLINK and STATFS.
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
internal import NFSClient
internal import NFSTypes
internal import SystemPackage

extension MountCore {
    func getAttributes(_ request: Request, _ id: UInt64) async throws(MountError) {
        let node = try node(id)
        let attributes = try await call(.getAttributes(node.handle), as: request.credentials)
        request.attributes(
            visible(node, attributes), seconds: attributeSeconds(node, attributes))
    }

    func setAttributes(
        _ request: Request, _ operation: SetOperation
    ) async throws(MountError) {
        let node = try node(operation.node)
        let opener = operation.isTimeFlush ? operation.file?.file.credentials : nil
        let credentials = opener ?? request.credentials
        if operation.changes.size != nil, operation.file == nil {
            try await demand(.modify, of: node, request.credentials)
        }
        var reply: FileAttributes?
        do throws(MountError) {
            reply = try await change(node, operation.changes, credentials)
        } catch {
            guard error.isRefusal else { throw error }
            reply = try await changeOtherwise(node, operation, credentials, refusal: error)
        }
        let attributes = try await attributes(
            of: node.handle, reply, as: request.credentials)
        node.learn(attributes)
        request.attributes(
            visible(node, attributes), seconds: attributeSeconds(node, attributes))
    }

    private func change(
        _ node: Node, _ changes: SetAttributes, _ credentials: Credentials
    ) async throws(MountError) -> FileAttributes? {
        do throws(LocalIOError) {
            return try await client.setAttributes(
                node.handle, changes, credentials: credentials)
        } catch {
            throw MountError(error)
        }
    }

    /// What the server refused because the kernel asks for more than the caller did: with its
    /// writeback cache on it sends its own clock along, and it takes set-id bits away in the
    /// name of whoever writes.
    private func changeOtherwise(
        _ node: Node, _ operation: SetOperation, _ credentials: Credentials,
        refusal: MountError
    ) async throws(MountError) -> FileAttributes? {
        var changes = operation.changes
        if operation.isTouch {
            changes.accessTime = .serverTime
            changes.modifyTime = .serverTime
            return try await change(node, changes, credentials)
        }
        if let size = changes.size {
            return try await resize(node, operation, to: size, credentials, refusal: refusal)
        }
        // The write-back of times for a writer who does not own the file: the server's own
        // idea of them stands.
        if operation.isTimeFlush { return nil }
        let isKernelsOwn =
            operation.isKernelsOwn && configuration.writebackCache && node.type == .regular
        if configuration.checksPermissions || isKernelsOwn, let mode = changes.mode,
            changes == SetAttributes(mode: mode)
        {
            return try await withoutSetIDs(node, mode, credentials)
        }
        throw refusal
    }

    /// Changes the size without what the kernel adds to it.
    ///
    /// ftruncate(2) asks what the descriptor may: if the server refuses the caller, the opener is
    /// tried (Linux: fs/nfs/nfs3proc.c, nfs3_proc_setattr), and if it has come to refuse that one,
    /// too, the local file.
    private func resize(
        _ node: Node, _ operation: SetOperation, to size: UInt64, _ credentials: Credentials,
        refusal: MountError
    ) async throws(MountError) -> FileAttributes? {
        var changes = operation.changes
        changes.modifyTime = nil
        changes.mode = nil
        var reply: FileAttributes?
        do throws(MountError) {
            guard changes != operation.changes else { throw refusal }
            reply = try await change(node, changes, credentials)
        } catch {
            guard error.isRefusal, let open = operation.file else { throw error }
            reply = try await resizeByDescriptor(open, changes, to: size)
        }
        guard let mode = operation.changes.mode else { return reply }
        // The size is changed: what the mount may not do now does not undo that.
        reply = (try? await withoutSetIDs(node, mode, credentials)) ?? reply
        reply?.size = size
        return reply
    }

    private func resizeByDescriptor(
        _ open: OpenFile, _ changes: SetAttributes, to size: UInt64
    ) async throws(MountError) -> FileAttributes? {
        let opener = open.file.credentials ?? session.configuration.credentials
        do throws(MountError) {
            return try await change(open.node, changes, opener)
        } catch {
            guard error.isRefusal else { throw error }
            open.node.noteWrite()
            let errno = await onControlThread { open.file.truncateLocalBlocking(to: size) }
            guard errno != EOPNOTSUPP else { throw error }
            guard errno == 0 else { throw MountError(errno ?? EIO) }
            return open.file.localAttributes
        }
    }

    /// Takes set-id bits away in the mount's own name, so that `mode` is left.
    /// - Returns: nil if the server has taken them already.
    /// - Throws: EPERM if `mode` is not the file's own without such bits.
    func withoutSetIDs(
        _ node: Node, _ mode: UInt32, _ credentials: Credentials
    ) async throws(MountError) -> FileAttributes? {
        let now = try await call(.getAttributes(node.handle), as: credentials).mode
        guard now & ~0o6000 == mode & ~0o6000, now & mode & 0o6000 == mode & 0o6000 else {
            throw MountError(EPERM)
        }
        if now == mode { return nil }
        return try await change(
            node, SetAttributes(mode: mode), session.configuration.credentials)
    }

    /// Asks the server for a right that the kernel has not looked at, since it leaves
    /// permissions to the server.
    func demand(
        _ right: AccessRights, of node: Node, _ credentials: Credentials
    ) async throws(MountError) {
        guard !configuration.checksPermissions else { return }
        let reply = try await call(.access(node.handle, right), as: credentials)
        guard reply.granted.isSuperset(of: right) else { throw MountError(EACCES) }
    }

    func access(_ request: Request, _ id: UInt64, _ mask: Int32) async throws(MountError) {
        let node = try node(id)
        guard mask != F_OK else {
            _ = try await call(.getAttributes(node.handle), as: request.credentials)
            return request.succeed()
        }
        var wanted: AccessRights = []
        let isDirectory = node.type == .directory
        if mask & R_OK != 0 { wanted.insert(.read) }
        if mask & W_OK != 0 { wanted.formUnion([.modify, .extend]) }
        if mask & X_OK != 0 { wanted.insert(isDirectory ? .lookup : .execute) }
        let reply = try await call(.access(node.handle, wanted), as: request.credentials)
        if reply.granted.isSuperset(of: wanted) {
            request.succeed()
        } else {
            request.fail(EACCES)
        }
    }

    func readLink(_ request: Request, _ id: UInt64) async throws(MountError) {
        let node = try node(id)
        request.link(try await call(.readLink(node.handle), as: request.credentials).target)
    }

    func statistics(_ request: Request) async throws(MountError) {
        let status = try await call(
            .fileSystemStatus(session.root), as: request.credentials)
        let block: UInt64 = 4096
        var reply = clfuse_statistics()
        reply.block_size = UInt32(block)
        reply.fragment_size = UInt32(block)
        reply.blocks = status.totalBytes / block
        reply.free_blocks = status.freeBytes / block
        reply.available_blocks = status.availableBytes / block
        reply.files = status.totalFiles
        reply.free_files = status.freeFiles
        reply.name_limit = 255
        request.statistics(reply)
    }
}

/// A SETATTR, read out of the kernel's request.
struct SetOperation: Sendable {
    let node: UInt64
    var changes = SetAttributes()
    /// The open file, where its opener's rights count: for what the kernel does on its own account
    /// and for ftruncate(2).
    let file: OpenFile?
    /// touch(1) by someone who may write but does not own: the kernel sends its own clock.
    let isTouch: Bool
    /// The kernel's write-back of the times it kept.
    let isTimeFlush: Bool
    /// No caller asked: with its writeback cache on, the kernel sends its idea of a regular file's
    /// change time along with what callers do (fs/fuse/dir.c, iattr_to_fattr), and none when it
    /// takes set-id bits away for a writer.
    let isKernelsOwn: Bool

    init(_ operation: clfuse_operation) {
        node = operation.node
        let set = operation.set
        func has(_ bit: Int) -> Bool { set & UInt32(bit) != 0 }
        let from = operation.attributes
        if has(CLFUSE_SET_MODE) { changes.mode = from.mode & 0o7777 }
        if has(CLFUSE_SET_UID) { changes.uid = from.uid }
        if has(CLFUSE_SET_GID) { changes.gid = from.gid }
        if has(CLFUSE_SET_SIZE) { changes.size = from.size }
        if has(CLFUSE_SET_ACCESS_NOW) {
            changes.accessTime = .serverTime
        } else if has(CLFUSE_SET_ACCESS_TIME) {
            changes.accessTime = .clientTime(from.access.fileTime)
        }
        if has(CLFUSE_SET_MODIFY_NOW) {
            changes.modifyTime = .serverTime
        } else if has(CLFUSE_SET_MODIFY_TIME) {
            changes.modifyTime = .clientTime(from.modify.fileTime)
        }
        isTouch = has(CLFUSE_SET_ACCESS_NOW) && has(CLFUSE_SET_MODIFY_TIME)
        isKernelsOwn = !has(CLFUSE_SET_CHANGE_TIME)
        let others =
            CLFUSE_SET_MODE | CLFUSE_SET_UID | CLFUSE_SET_GID | CLFUSE_SET_SIZE
            | CLFUSE_SET_ACCESS_TIME | CLFUSE_SET_ACCESS_NOW
        isTimeFlush = has(CLFUSE_SET_MODIFY_TIME) && set & UInt32(others) == 0
        file =
            operation.has_file && (isTimeFlush || has(CLFUSE_SET_SIZE))
            ? KernelReference.borrow(operation.file, OpenFile.self) : nil
    }
}

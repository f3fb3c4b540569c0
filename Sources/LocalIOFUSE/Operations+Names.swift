// LOOKUP, MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR and RENAME.
internal import Glibc
internal import LocalIO
internal import Logging
internal import NFSClient
internal import NFSTypes
internal import Threads

extension MountCore {
    func lookup(
        _ request: Request, _ parent: UInt64, _ name: NFSName
    ) async throws(MountError) {
        let parent = try node(parent)
        let reply = try await call(.lookup(parent.handle, name), as: request.credentials)
        let attributes = try await attributes(
            of: reply.handle, reply.attributes, as: request.credentials)
        answer(request, reply.handle, attributes, in: parent, as: name)
    }

    /// Answers with what a creating call made; looks it up if the server did not say.
    private func answerMade(
        _ request: Request, _ reply: CreateReply?, in parent: Node, _ name: NFSName
    ) async throws(MountError) {
        guard let reply, let handle = reply.handle else {
            let found = try await call(.lookup(parent.handle, name), as: request.credentials)
            let attributes = try await attributes(
                of: found.handle, found.attributes, as: request.credentials)
            return answer(request, found.handle, attributes, in: parent, as: name)
        }
        let attributes = try await attributes(
            of: handle, reply.attributes, as: request.credentials)
        answer(request, handle, attributes, in: parent, as: name)
    }

    func makeDirectory(
        _ request: Request, _ parent: UInt64, _ name: NFSName, mode: UInt32
    ) async throws(MountError) {
        let parent = try node(parent)
        let reply = try await change(
            .makeDirectory(parent.handle, name, SetAttributes(mode: mode & 0o7777)),
            as: request.credentials, done: .exists)
        try await answerMade(request, reply, in: parent, name)
    }

    func makeNode(
        _ request: Request, _ parent: UInt64, _ name: NFSName, mode: UInt32,
        device: (major: UInt32, minor: UInt32)
    ) async throws(MountError) {
        let parent = try node(parent)
        let attributes = SetAttributes(mode: mode & 0o7777)
        let call: NFSCall<CreateReply>
        switch mode & UInt32(S_IFMT) {
        case UInt32(S_IFREG), 0: call = .create(parent.handle, name, mode: .guarded(attributes))
        case UInt32(S_IFIFO): call = .makeNode(parent.handle, name, .fifo, attributes)
        case UInt32(S_IFSOCK): call = .makeNode(parent.handle, name, .socket, attributes)
        case UInt32(S_IFCHR):
            call = .makeNode(
                parent.handle, name,
                .characterDevice(major: device.major, minor: device.minor), attributes)
        case UInt32(S_IFBLK):
            call = .makeNode(
                parent.handle, name, .blockDevice(major: device.major, minor: device.minor),
                attributes)
        default: throw MountError(EINVAL)
        }
        let reply = try await change(call, as: request.credentials, done: .exists)
        try await answerMade(request, reply, in: parent, name)
    }

    func makeSymbolicLink(
        _ request: Request, _ parent: UInt64, _ name: NFSName, target: NFSName
    ) async throws(MountError) {
        let parent = try node(parent)
        let attributes = SetAttributes(mode: 0o777)
        if target.byteCount > NFSSession.shortTargetByteCount {
            let credentials = request.credentials
            _ = try await changeNames(done: .exists) { [session] () async throws(RPCError) in
                try await session.makeLongSymbolicLink(
                    parent.handle, name, target: target, attributes, credentials: credentials)
            }
            return try await answerMade(request, nil, in: parent, name)
        }
        let reply = try await change(
            .symbolicLink(parent.handle, name, target: target, attributes),
            as: request.credentials, done: .exists)
        try await answerMade(request, reply, in: parent, name)
    }

    func link(
        _ request: Request, _ id: UInt64, to parent: UInt64, _ name: NFSName
    ) async throws(MountError) {
        let node = try node(id)
        let parent = try self.node(parent)
        let reply = try await change(
            .link(node.handle, to: parent.handle, name), as: request.credentials, done: .exists)
        let attributes = try await attributes(
            of: node.handle, reply?.attributes, as: request.credentials)
        node.learn(attributes)
        answer(request, node.handle, attributes, in: parent, as: name)
    }

    func unlink(
        _ request: Request, _ parent: UInt64, _ name: NFSName
    ) async throws(MountError) {
        let parent = try node(parent)
        if try await hideIfOpen(parent, name, request.credentials) { return request.succeed() }
        _ = try await change(
            .remove(parent.handle, name), as: request.credentials, done: .noEntry)
        nodes.removed(name, in: parent)
        request.succeed()
    }

    func removeDirectory(
        _ request: Request, _ parent: UInt64, _ name: NFSName
    ) async throws(MountError) {
        let parent = try node(parent)
        var pause = 2
        while true {
            do throws(MountError) {
                _ = try await change(
                    .removeDirectory(parent.handle, name), as: request.credentials,
                    done: .noEntry)
                break
            } catch {
                // RFC 1813 lets a server say EXIST for a directory that is not empty.
                guard error.errno == EEXIST || error.errno == ENOTEMPTY else { throw error }
                // The kernel tells of a last close after the program that closed has gone on:
                // the hidden file in this directory may be about to go.
                guard pause < 200, hidden.withLock({ $0 > 0 }) else {
                    throw MountError(ENOTEMPTY)
                }
                try? await Task.sleep(for: .milliseconds(pause))
                pause *= 2
            }
        }
        nodes.removed(name, in: parent)
        request.succeed()
    }

    func rename(
        _ request: Request, _ names: RenameNames, flags: UInt32
    ) async throws(MountError) {
        // NFSv3 has neither RENAME_NOREPLACE nor RENAME_EXCHANGE; a kernel's mount says EINVAL
        // too, and programs then take their own way.
        guard flags == 0 else { throw MountError(EINVAL) }
        let source = try node(names.sourceParent)
        let target = try node(names.targetParent)
        if !(source === target && names.source == names.target) {
            try await hideReplaced(source, target, names, request.credentials)
        }
        _ = try await change(
            .rename(from: source.handle, names.source, to: target.handle, names.target),
            as: request.credentials, done: .noEntry)
        nodes.moved(from: (source, names.source), to: (target, names.target))
        request.succeed()
    }

    // MARK: - Files that are unlinked while open

    /// What a rename is about to replace stays readable for those who have it open. The new
    /// name is only hidden if the rename can succeed: the old one must exist, be no directory
    /// and be another file.
    private func hideReplaced(
        _ source: Node, _ target: Node, _ names: RenameNames, _ credentials: Credentials
    ) async throws(MountError) {
        guard nodes.openCount > 0,
            let replaced = await openNode(target, names.target, credentials)
        else { return }
        let moved = try await call(.lookup(source.handle, names.source), as: credentials)
        guard moved.handle != replaced.handle else { return }
        let attributes = try await attributes(
            of: moved.handle, moved.attributes, as: credentials)
        guard attributes.type != .directory else { return }
        try await hide(replaced, target, names.target, credentials)
    }

    /// The open file under a name, if there is one.
    private func openNode(
        _ parent: Node, _ name: NFSName, _ credentials: Credentials
    ) async -> Node? {
        guard let found = try? await call(.lookup(parent.handle, name), as: credentials),
            let node = nodes.node(of: found.handle),
            node.state.withLock({ !$0.openFiles.isEmpty && $0.silly == nil })
        else { return nil }
        // Another name keeps the file; this one may go.
        if let links = found.attributes?.linkCount, links > 1 { return nil }
        return node
    }

    /// Renames an open file instead of removing it, as every NFS client does (Linux:
    /// fs/nfs/unlink.c, nfs_sillyrename).
    private func hideIfOpen(
        _ parent: Node, _ name: NFSName, _ credentials: Credentials
    ) async throws(MountError) -> Bool {
        guard nodes.openCount > 0, let node = await openNode(parent, name, credentials) else {
            return false
        }
        try await hide(node, parent, name, credentials)
        return true
    }

    private func hide(
        _ node: Node, _ parent: Node, _ name: NFSName, _ credentials: Credentials
    ) async throws(MountError) {
        let hidden = NFSName(
            ".nfs" + String(node.fileID, radix: 16)
                + String(UInt64.random(in: 0...(.max)), radix: 16))
        _ = try await change(
            .rename(from: parent.handle, name, to: parent.handle, hidden), as: credentials,
            done: .noEntry)
        self.hidden.withLock { $0 += 1 }
        nodes.moved(from: (parent, name), to: (parent, hidden))
        let silly = Node.SillyName(directory: parent, name: hidden, credentials: credentials)
        let isClosed = node.state.withLock { state in
            if state.openFiles.isEmpty { return true }
            state.silly = silly
            return false
        }
        if isClosed { await removeHidden(silly) }
    }

    /// Removes what was unlinked while it was open, after its last close.
    func removeHidden(_ silly: Node.SillyName) async {
        do throws(MountError) {
            _ = try await change(
                .remove(silly.directory.handle, silly.name), as: silly.credentials,
                done: .noEntry)
        } catch {
            logger.warning("\(silly.name) is left behind: errno \(error.errno)")
        }
        hidden.withLock { $0 -= 1 }
        nodes.removed(silly.name, in: silly.directory)
    }
}

/// Both ends of a rename.
struct RenameNames: Sendable {
    let sourceParent: UInt64
    let source: NFSName
    let targetParent: UInt64
    let target: NFSName
}

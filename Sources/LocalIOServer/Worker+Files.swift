// How procedures find files, check rights and keep weak cache consistency.
internal import CLinux
internal import Glibc
internal import NFSTypes

/// A file's attributes around a change (`wcc_data`), as far as they are known.
struct WeakCache {
    var before: FileStatus?
    var after: FileStatus?
}

extension Worker {
    var export: Export { service.export }

    /// Finds the file of a handle; afterwards the thread has the caller's ids.
    func node(_ handle: FileHandle) throws(Refusal) -> Node {
        try identity.becomeServer()
        let node = try resolve(handle)
        try identity.become(caller)
        return node
    }

    private func resolve(_ handle: FileHandle) throws(Refusal) -> Node {
        if handle == export.rootHandle {
            let flags = clinux_o_path | clinux_o_directory
            return try Node(Descriptor(answer: clinux_reopen(export.root, flags)))
        }
        guard let decoded = ServerHandle(handle) else { throw Refusal(.badHandle) }
        guard decoded.exportHash == export.hash else { throw Refusal(.stale) }
        guard export.opensByHandle, case .kernelHandle(let type, let bytes) = decoded.generation
        else { return try service.index.open(handle, inode: decoded.inode) }
        let answer = unsafe clinux_open_by_handle(
            export.root, type, bytes, Int32(bytes.count), clinux_o_path)
        // A kernel handle made up by someone is EINVAL or the like: no such file either way.
        guard answer >= 0 else { throw Refusal(answer == -EMFILE ? .jukebox : .stale) }
        let node = try Node(Descriptor(raw: answer))
        guard node.status.inode == decoded.inode, node.status.link_count > 0
        else { throw Refusal(.stale) }
        return node
    }

    func directory(_ handle: FileHandle) throws(Refusal) -> Node {
        let node = try node(handle)
        try node.requireDirectory()
        return node
    }

    /// Opens a name of a directory as itself, with the caller's rights, and notes its place.
    func child(_ directory: borrowing Node, _ name: FileName) throws(Refusal) -> Node {
        if name.isDotDot { return try parent(directory) }
        let flags = clinux_o_path | clinux_o_nofollow
        let node = try Node(openChild(directory.raw, name, flags: flags))
        if !name.isDot {
            service.index.learn(
                inode: node.status.inode, parent: directory.status.inode, name: name)
        }
        return node
    }

    /// The directory above; the export's root is its own. A directory that was moved out of
    /// the export has none that clients may see.
    private func parent(_ directory: borrowing Node) throws(Refusal) -> Node {
        let flags = clinux_o_path | clinux_o_directory
        if export.isRoot(directory.status) {
            return try Node(Descriptor(answer: clinux_reopen(export.root, flags)))
        }
        let parent = try openParent(directory.raw)
        var above = try Node(Descriptor(answer: clinux_reopen(parent.raw, flags)))
        while !export.isRoot(above.status) {
            let next = try openParent(above.raw)
            if next.status.inode == above.status.inode, next.status.device == above.status.device {
                throw Refusal(.accessDenied)
            }
            above = next
        }
        return parent
    }

    private func openParent(_ directory: Int32) throws(Refusal) -> Node {
        let flags = clinux_o_path | clinux_o_directory | clinux_o_cloexec
        let raw = unsafe openat(directory, "..", flags)
        guard raw >= 0 else { throw Refusal(errno: errno) }
        return try Node(Descriptor(raw: raw))
    }

    /// Refuses the call on a read-only export.
    func requireWritable() throws(Refusal) {
        if service.configuration.readOnly { throw Refusal(.readOnlyFileSystem) }
    }

    /// Refuses unless the caller may read or write the file. Its owner always may, whatever the
    /// mode: the client checked when it opened the file (RFC 1813, section 4.4).
    func require(_ use: FileUse, _ descriptor: Int32, _ status: FileStatus) throws(Refusal) {
        let user = identity.effectiveUser(caller)
        if user == 0 || user == status.uid { return }
        try identity.become(caller)
        let mode = use == .reading ? R_OK : W_OK
        let answer = clinux_access(descriptor, mode)
        if answer == 0 { return }
        // A program is read to be executed: the client's kernel reads it with its user's rights.
        if use == .reading, clinux_access(descriptor, X_OK) == 0 { return }
        throw Refusal(answer: answer)
    }

    /// The open file of a handle; rights are checked by each call, not here.
    func openFile(_ handle: FileHandle, for use: FileUse) throws(Refusal) -> OpenFile {
        if let file = service.openFiles.find(handle, for: use) { return file }
        let node = try node(handle)
        guard node.status.isRegular else {
            throw Refusal(node.status.isDirectory ? .isDirectory : .invalid)
        }
        try identity.becomeServer()
        let file = try Self.reopen(node.raw, for: use)
        service.openFiles.insert(file, for: handle)
        return file
    }

    private static func reopen(_ node: Int32, for use: FileUse) throws(Refusal) -> OpenFile {
        if use != .writing {
            let answer = clinux_reopen(node, O_RDONLY)
            if answer >= 0 {
                return OpenFile(Descriptor(raw: answer), canRead: true, canWrite: false)
            }
            if use == .reading { throw Refusal(answer: answer) }
        }
        let both = clinux_reopen(node, O_RDWR)
        if both >= 0 { return OpenFile(Descriptor(raw: both), canRead: true, canWrite: true) }
        let writing = try Descriptor(answer: clinux_reopen(node, O_WRONLY))
        return OpenFile(writing, canRead: false, canWrite: true)
    }

    /// The file's status as clients see it, with writes that are held back.
    func status(_ handle: FileHandle, _ descriptor: Int32) throws(Refusal) -> FileStatus {
        seen(handle, try FileStatus(of: descriptor))
    }

    func seen(_ handle: FileHandle, _ status: FileStatus) -> FileStatus {
        guard let held = service.held, status.isRegular else { return status }
        var status = status
        status.size = held.size(handle, stored: status.size)
        return status
    }

    /// Runs a change of `node` between two looks at its attributes.
    func changing<Result: ~Copyable>(
        _ node: borrowing Node, _ weak: inout WeakCache,
        _ body: () throws(Refusal) -> Result
    ) throws(Refusal) -> Result {
        let raw = node.raw
        return try service.inodeLocks.withLock(node.status.inode) { () throws(Refusal) in
            weak.before = try FileStatus(of: raw)
            defer { weak.after = try? FileStatus(of: raw) }
            return try body()
        }
    }

    /// Starts the results again as a failure; the caller puts the rest of `resfail`.
    func fail(_ refusal: Refusal, at start: Int) {
        output.seek(start)
        output.put(refusal.status)
    }

    func fail(_ refusal: Refusal, at start: Int, _ weak: WeakCache) {
        fail(refusal, at: start)
        output.putWeakCache(before: weak.before, after: weak.after)
    }
}

// OPEN, CREATE, FLUSH, RELEASE, FSYNC, FALLOCATE and LSEEK.
internal import CLinux
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
internal import Logging
internal import NFSClient
internal import NFSTypes
internal import Synchronization
internal import Threads

/// Linux's own flag of an open for execution (include/linux/fs.h, FMODE_EXEC), which reaches
/// the daemon with the others.
private let openForExecution: Int32 = 0x20

extension MountCore {
    // MARK: - Opening

    /// Opens and revalidates: close-to-open consistency begins here.
    ///
    /// ACCESS answers whether the caller may, and with the attributes whether the file was
    /// changed elsewhere; LOOKUP, at the same time, whether the name still means this file.
    /// ESTALE sends the kernel back to look the path up again (fs/namei.c, do_filp_open).
    func open(_ request: Request, _ id: UInt64, flags: Int32) async throws(MountError) {
        let node = try node(id)
        async let nameHolds = stillNamed(node, request.credentials)
        let rights: AccessRights = [.read, .modify, .extend, .execute]
        let canWrite = flags & O_ACCMODE != O_RDONLY
        let ahead = client.askAhead(
            node.handle, path: node.path, canWrite ? .readWrite : .readOnly)
        let reply = try await call(.access(node.handle, rights), as: request.credentials)
        let attributes = try await attributes(
            of: node.handle, reply.attributes, as: request.credentials)
        guard await nameHolds else { throw MountError(ESTALE) }
        if node.isChanged(attributes) {
            nodes.retire(node)
            throw MountError(ESTALE)
        }
        let canRead = flags & O_ACCMODE != O_WRONLY
        let mayRead =
            reply.granted.contains(.read)
            || (flags & openForExecution != 0 && reply.granted.contains(.execute))
        guard !canRead || mayRead, !canWrite || reply.granted.contains(.modify) else {
            throw MountError(EACCES)
        }
        // The kernel's writeback cache reads the rest of a page that is written in part.
        let access: AccessMode =
            !canWrite ? .readOnly : reply.granted.contains(.read) ? .readWrite : .writeOnly
        let file = try openFile(
            node, attributes, reply.granted, access, request.credentials, ahead)
        let treatment = await admit(file)
        let number = KernelReference.retain(file)
        if !request.opened(file: number, open: treatment) { await abandon(number) }
    }

    /// Whether the name that the node was last found by still means it. What was looked up a
    /// moment ago, on the way to this open, is not asked again.
    private func stillNamed(_ node: Node, _ credentials: Credentials) async -> Bool {
        let (parent, name, lookedUpAt, isSettled) = node.state.withLock {
            ($0.parent, $0.name, $0.lookedUpAt, $0.silly != nil)
        }
        let age = clinux_monotonic_nanoseconds() &- lookedUpAt
        guard let parent, !isSettled, age > 1_000_000 else { return true }
        do throws(MountError) {
            let found = try await call(.lookup(parent.handle, name), as: credentials)
            if found.handle == node.handle { return true }
        } catch {
            guard error.errno == ENOENT || error.errno == ESTALE else { return true }
        }
        // Told once: if the kernel comes by a road without a name (/proc/self/fd), it has no
        // path to look up again, and the handle decides.
        return node.state.withLock { state in
            let isDoubted = state.isNameDoubted
            state.isNameDoubted = true
            return isDoubted
        }
    }

    private func openFile(
        _ node: Node, _ attributes: FileAttributes, _ granted: AccessRights,
        _ access: AccessMode, _ credentials: Credentials, _ ahead: OpenAhead? = nil
    ) throws(MountError) -> OpenFile {
        do throws(LocalIOError) {
            let file = try client.open(
                handle: node.handle, attributes: attributes, granted: granted, access: access,
                credentials: credentials, ahead: ahead, whereabouts: { node.path })
            let open = OpenFile(node: node, file: file)
            nodes.opened(open)
            return open
        } catch {
            throw MountError(error)
        }
    }

    /// Undoes an open whose answer the kernel did not take.
    private func abandon(_ number: UInt64) async {
        guard let file = KernelReference.take(number, OpenFile.self) else { return }
        await close(file)
    }

    func create(
        _ request: Request, _ parent: UInt64, _ name: NFSName, mode: UInt32, flags: Int32
    ) async throws(MountError) {
        let parent = try node(parent)
        let (handle, attributes) =
            flags & O_EXCL != 0
            ? try await createExclusively(parent, name, mode, request.credentials)
            : try await createOrFind(parent, name, mode, request.credentials)
        let (node, entry) = found(handle, attributes, in: parent, as: name)
        do throws(MountError) {
            let canWrite = flags & O_ACCMODE != O_RDONLY
            // Who makes a file may use this descriptor of it whatever its mode says.
            let file = try openFile(
                node, attributes, [.read, .modify, .extend], canWrite ? .readWrite : .readOnly,
                request.credentials)
            let treatment = await admit(file)
            let number = KernelReference.retain(file)
            if !request.created(entry, file: number, open: treatment) {
                nodes.forget(node.id, count: 1)
                await abandon(number)
            }
        } catch {
            nodes.forget(node.id, count: 1)
            throw error
        }
    }

    /// EXCLUSIVE with a verifier, so that a call sent twice finds its own file; the mode, which
    /// that form cannot carry, follows.
    private func createExclusively(
        _ parent: Node, _ name: NFSName, _ mode: UInt32, _ credentials: Credentials
    ) async throws(MountError) -> (FileHandle, FileAttributes) {
        let verifier = UInt64.random(in: 0...(.max))
        let made = try await call(
            .create(parent.handle, name, mode: .exclusive(verifier: verifier)), as: credentials)
        let handle: FileHandle
        if let known = made.handle {
            handle = known
        } else {
            handle = try await call(.lookup(parent.handle, name), as: credentials).handle
        }
        let changes = SetAttributes(
            mode: mode & 0o7777, accessTime: .serverTime, modifyTime: .serverTime)
        let reply = try await call(.setAttributes(handle, changes), as: credentials)
        return (handle, try await attributes(of: handle, reply, as: credentials))
    }

    /// GUARDED; a file that turns out to exist is what an open without O_EXCL wants.
    private func createOrFind(
        _ parent: Node, _ name: NFSName, _ mode: UInt32, _ credentials: Credentials
    ) async throws(MountError) -> (FileHandle, FileAttributes) {
        let reply = try await change(
            .create(parent.handle, name, mode: .guarded(SetAttributes(mode: mode & 0o7777))),
            as: credentials, done: .exists, toleratesDone: true)
        if let handle = reply?.handle {
            return (
                handle, try await attributes(of: handle, reply?.attributes, as: credentials)
            )
        }
        let found = try await call(.lookup(parent.handle, name), as: credentials)
        return (
            found.handle,
            try await attributes(of: found.handle, found.attributes, as: credentials)
        )
    }

    // MARK: - Durability and closing

    /// Makes what was written through any descriptor of the file durable and visible to other
    /// clients, and notes the attributes it then has.
    private func settle(_ open: OpenFile) async throws(MountError) {
        let node = open.node
        let look = noteUnseenWrites(open)
        guard node.hasWritten.exchange(false, ordering: .acquiringAndReleasing) else { return }
        do throws(LocalIOError) {
            try await open.file.commit()
        } catch {
            node.hasWritten.store(true, ordering: .releasing)
            throw MountError(error)
        }
        noteSettled(open, look)
        // Without these the next open only looks more closely than it must.
        let credentials = open.file.credentials ?? session.configuration.credentials
        if let attributes = try? await call(.getAttributes(node.handle), as: credentials) {
            node.learn(attributes)
        }
    }

    func flush(_ request: Request, _ open: OpenFile) async throws(MountError) {
        if open.file.access.canWrite { try await settle(open) }
        request.succeed()
    }

    func synchronize(_ request: Request, _ open: OpenFile) async throws(MountError) {
        _ = noteUnseenWrites(open)
        do throws(LocalIOError) {
            try await open.file.commit()
        } catch {
            throw MountError(error)
        }
        request.succeed()
    }

    /// The last close of a descriptor; the kernel waits for it no more than for the rest.
    func release(_ request: Request, _ open: OpenFile) async {
        await close(open)
        request.succeed()
    }

    func close(_ open: OpenFile) async {
        defer { dismiss(open) }
        do throws(MountError) {
            if open.file.access.canWrite { try await settle(open) }
        } catch {
            logger.error("\(open.file.path): written bytes may be lost: errno \(error.errno)")
        }
        let silly = nodes.closed(open)
        do throws(LocalIOError) {
            if open.file.access.canWrite {
                try await open.file.close()
            } else {
                try open.file.closeBlocking()
            }
        } catch {
            logger.error("\(error)")
        }
        if let silly { await removeHidden(silly) }
    }

    // MARK: - What only the local file can do

    func allocate(
        _ request: Request, _ open: OpenFile, mode: Int32, offset: Int64, byteCount: Int64
    ) async throws(MountError) {
        open.node.noteWrite()
        let errno = await onControlThread {
            open.file.allocateBlocking(mode: mode, offset: offset, byteCount: byteCount)
        }
        // 0 is an answer like any other.
        request.fail(errno ?? EIO)
    }

    /// Runs what may wait for the local file to be opened; nil if the client is closed.
    func onControlThread<Value: Sendable>(
        _ body: @escaping @Sendable () -> Value
    ) async -> Value? {
        await withCheckedContinuation { waiter in
            let isAccepted = client.submitControl { waiter.resume(returning: body()) }
            if !isAccepted { waiter.resume(returning: nil) }
        }
    }

    func seek(
        _ request: Request, _ open: OpenFile, offset: Int64, whence: Int32
    ) async throws(MountError) {
        // The kernel asks without writing its dirty pages back first: with them in its cache
        // the file's own holes are not the truth, and ENOSYS has it take the file as all data.
        // Without writeback cache there are still the pages of shared mappings.
        guard configuration.directIO || isPassedThrough(open) else { throw MountError(ENOSYS) }
        let found = await onControlThread {
            open.file.seekLocal(offset: offset, whence: whence)
        }
        guard let found else { throw MountError(EIO) }
        guard found >= 0 else {
            throw MountError(found == -Int64(EOPNOTSUPP) ? ENOSYS : Int32(-found))
        }
        request.offset(found)
    }
}

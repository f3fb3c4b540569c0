// LOOKUP, READLINK, REMOVE, RMDIR, RENAME and LINK (RFC 1813, section 3.3).
internal import CLinux
internal import Glibc
internal import NFSTypes

extension Worker {
    func lookUp() throws(GarbageArguments) {
        let handle = try input.handle()
        let name = try input.name()
        let start = output.position
        var status: FileStatus?
        do throws(Refusal) {
            let directory = try directory(handle)
            status = directory.status
            let node = try child(directory, name.get())
            let found = try export.handle(node.raw, node.status)
            output.put(NFSStatus.ok)
            output.put(found)
            output.putOptional(seen(found, node.status))
            output.putOptional(status)
        } catch {
            fail(error, at: start)
            output.putOptional(status)
        }
    }

    func readLink() throws(GarbageArguments) {
        let handle = try input.handle()
        let start = output.position
        do throws(Refusal) {
            let node = try node(handle)
            guard node.status.isSymbolicLink else { throw Refusal(.invalid) }
            let room = UnsafeMutablePointer<CChar>.allocate(capacity: Int(PATH_MAX))
            defer { unsafe room.deallocate() }
            let byteCount = unsafe readlinkat(node.raw, "", room, Int(PATH_MAX))
            guard byteCount >= 0 else { throw Refusal(errno: errno) }
            output.put(NFSStatus.ok)
            output.putOptional(node.status)
            unsafe output.putOpaque(UnsafeRawBufferPointer(start: room, count: byteCount))
        } catch {
            fail(error, at: start)
            output.put(false)
        }
    }

    /// REMOVE, or RMDIR of a `directory`.
    func remove(directory isDirectory: Bool) throws(GarbageArguments) {
        let handle = try input.handle()
        let name = try input.name()
        let start = output.position
        var weak = WeakCache()
        do throws(Refusal) {
            try requireWritable()
            let parent = try directory(handle)
            let name = try name.get()
            if name.isDot { throw Refusal(.invalid) }
            if name.isDotDot { throw Refusal(isDirectory ? .exists : .invalid) }
            let victim = victim(parent, name)
            try changing(parent, &weak) { () throws(Refusal) in
                let flags = isDirectory ? Int32(AT_REMOVEDIR) : 0
                if unsafe unlinkat(parent.raw, name.bytes, flags) != 0 {
                    throw Refusal(errno: errno)
                }
            }
            forget(victim)
            output.put(NFSStatus.ok)
            output.putWeakCache(before: weak.before, after: weak.after)
        } catch {
            fail(error, at: start, weak)
        }
    }

    /// The handle of what a call is about to remove or replace, if there is such a thing.
    private func victim(_ parent: borrowing Node, _ name: FileName) -> FileHandle? {
        do throws(Refusal) {
            let node = try child(parent, name)
            guard node.status.isRegular, node.status.link_count == 1 else { return nil }
            return try export.handle(node.raw, node.status)
        } catch {
            return nil
        }
    }

    /// Closes what is gone, so that its space comes back now.
    private func forget(_ victim: FileHandle?) {
        guard let victim else { return }
        service.openFiles.close(victim)
        service.held?.truncate(victim, to: 0)
    }

    func rename() throws(GarbageArguments) {
        let sourceHandle = try input.handle()
        let sourceName = try input.name()
        let targetHandle = try input.handle()
        let targetName = try input.name()
        let start = output.position
        var sourceWeak = WeakCache()
        var targetWeak = WeakCache()
        do throws(Refusal) {
            try requireWritable()
            let source = try directory(sourceHandle)
            let target = try directory(targetHandle)
            let (from, to) = (try sourceName.get(), try targetName.get())
            if from.isDots || to.isDots { throw Refusal(.invalid) }
            let moved = try child(source, from).status.inode
            let victim = victim(target, to)
            let locks = (source.status.inode, target.status.inode)
            try service.inodeLocks.withLocks(locks.0, locks.1) { () throws(Refusal) in
                sourceWeak.before = try FileStatus(of: source.raw)
                targetWeak.before = try FileStatus(of: target.raw)
                let result = unsafe renameat(source.raw, from.bytes, target.raw, to.bytes)
                let code = errno
                sourceWeak.after = try FileStatus(of: source.raw)
                targetWeak.after = try FileStatus(of: target.raw)
                if result != 0 { throw Refusal(errno: code) }
            }
            service.index.learn(inode: moved, parent: locks.1, name: to)
            // Two names of one file: rename(2) does nothing, and nothing is gone.
            if let victim, ServerHandle.inode(of: victim) != moved { forget(victim) }
            output.put(NFSStatus.ok)
        } catch {
            fail(error, at: start)
        }
        output.putWeakCache(before: sourceWeak.before, after: sourceWeak.after)
        output.putWeakCache(before: targetWeak.before, after: targetWeak.after)
    }

    func link() throws(GarbageArguments) {
        let handle = try input.handle()
        let directoryHandle = try input.handle()
        let name = try input.name()
        let start = output.position
        var status: FileStatus?
        var weak = WeakCache()
        do throws(Refusal) {
            try requireWritable()
            let node = try node(handle)
            status = node.status
            if node.status.isDirectory { throw Refusal(.isDirectory) }
            let parent = try directory(directoryHandle)
            let name = try name.get()
            if name.isDots { throw Refusal(.exists) }
            try changing(parent, &weak) { () throws(Refusal) in
                try check(unsafe clinux_link(node.raw, parent.raw, name.bytes))
            }
            status = try FileStatus(of: node.raw)
            service.index.learn(
                inode: node.status.inode, parent: parent.status.inode, name: name)
            output.put(NFSStatus.ok)
        } catch {
            fail(error, at: start)
        }
        output.putOptional(status)
        output.putWeakCache(before: weak.before, after: weak.after)
    }
}

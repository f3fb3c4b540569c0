// CREATE, MKDIR, SYMLINK and MKNOD (RFC 1813, sections 3.3.8 through 3.3.11).
//
// The new name is in the directory when the reply goes out and survives the server's death; it
// reaches the disk when the file system's journal does, or with the next fsync of the file.
internal import CLinux
internal import Glibc
internal import NFSTypes

extension Worker {
    /// `createhow3`.
    private enum CreateHow {
        case unchecked(SetAttributes)
        case guarded(SetAttributes)
        case exclusive(FileTime, FileTime)
    }

    func create() throws(GarbageArguments) {
        let handle = try input.handle()
        let name = try input.name()
        let how: CreateHow
        switch try input.u32() {
        case 0: how = .unchecked(try input.setAttributes())
        case 1: how = .guarded(try input.setAttributes())
        case 2:
            // The verifier is kept in the times until the client sets them (section 3.3.8).
            // The top bits are left out: not every file system has times past 2038.
            let mask: UInt32 = 0x7fff_ffff
            let access = FileTime(seconds: try input.u32() & mask, nanoseconds: 0)
            let modify = FileTime(seconds: try input.u32() & mask, nanoseconds: 0)
            how = .exclusive(access, modify)
        default: throw GarbageArguments()
        }
        make(in: handle, name) { (parent, name) throws(Refusal) in
            switch how {
            case .unchecked(let attributes):
                return try self.createFile(parent, name, attributes, replaces: true)
            case .guarded(let attributes):
                return try self.createFile(parent, name, attributes, replaces: false)
            case .exclusive(let access, let modify):
                return try self.createExclusively(parent, name, access, modify)
            }
        }
    }

    private func createFile(
        _ parent: borrowing Node, _ name: FileName, _ attributes: SetAttributes, replaces: Bool
    ) throws(Refusal) -> Node {
        let mode = attributes.mode ?? 0o600
        let flags = O_CREAT | O_EXCL | O_RDWR | clinux_o_nofollow
        do throws(Refusal) {
            let file = try openChild(parent.raw, name, flags: flags, mode: mode)
            return try finish(file, parent, name, attributes, mode: mode)
        } catch {
            guard error.status == .exists, replaces else { throw error }
        }
        // UNCHECKED: what is there stays, only its size is set.
        let node = try child(parent, name)
        guard node.status.isRegular else { throw Refusal(.exists) }
        if let size = attributes.size {
            let handle = try export.handle(node.raw, node.status)
            try apply(SetAttributes(size: size), to: node, handle)
        }
        return node
    }

    /// Sets what open(2) did not and keeps the descriptor: the creator may write to its file
    /// whatever mode it has.
    private func finish(
        _ file: consuming Descriptor, _ parent: borrowing Node, _ name: FileName,
        _ attributes: SetAttributes, mode: UInt32
    ) throws(Refusal) -> Node {
        let status = try FileStatus(of: file.raw)
        let handle = try export.handle(file.raw, status)
        service.index.learn(inode: status.inode, parent: parent.status.inode, name: name)
        let node = try Node(Descriptor(answer: clinux_reopen(file.raw, clinux_o_path)))
        let isIrreplaceable = !identity.honoursCredentials && mode & 0o600 != 0o600
        let open = OpenFile(
            file, canRead: true, canWrite: true, isIrreplaceable: isIrreplaceable)
        service.openFiles.insert(open, for: handle)
        var rest = attributes
        if attributes.uid == nil, attributes.gid == nil { rest.mode = nil }
        if rest.size == 0 { rest.size = nil }
        try apply(rest, to: node, handle)
        return node
    }

    private func createExclusively(
        _ parent: borrowing Node, _ name: FileName, _ access: FileTime, _ modify: FileTime
    ) throws(Refusal) -> Node {
        let times = SetAttributes(
            accessTime: .clientTime(access), modifyTime: .clientTime(modify))
        do throws(Refusal) {
            let flags = O_CREAT | O_EXCL | O_RDWR | clinux_o_nofollow
            let file = try openChild(parent.raw, name, flags: flags, mode: 0o600)
            return try finish(file, parent, name, times, mode: 0o600)
        } catch {
            guard error.status == .exists else { throw error }
        }
        // The same call sent again finds its own verifier and succeeds again.
        let node = try child(parent, name)
        guard node.status.isRegular, node.status.size == 0,
            node.status.access_seconds == Int64(access.seconds),
            node.status.modify_seconds == Int64(modify.seconds)
        else { throw Refusal(.exists) }
        return node
    }

    func makeDirectory() throws(GarbageArguments) {
        let handle = try input.handle()
        let name = try input.name()
        let attributes = try input.setAttributes()
        make(in: handle, name) { (parent, name) throws(Refusal) in
            if unsafe mkdirat(parent.raw, name.bytes, attributes.mode ?? 0o700) != 0 {
                throw Refusal(errno: errno)
            }
            return try self.finish(parent, name, attributes)
        }
    }

    func makeSymbolicLink() throws(GarbageArguments) {
        let handle = try input.handle()
        let name = try input.name()
        let attributes = try input.setAttributes()
        let path = unsafe try input.opaque(limit: Int(PATH_MAX))
        let target = unsafe path.map { CChar(bitPattern: $0) } + [0]
        make(in: handle, name) { (parent, name) throws(Refusal) in
            if target.count == 1 || target.dropLast().contains(0) { throw Refusal(.invalid) }
            if target.count > Int(PATH_MAX) { throw Refusal(.nameTooLong) }
            if unsafe symlinkat(target, parent.raw, name.bytes) != 0 {
                throw Refusal(errno: errno)
            }
            return try self.finish(parent, name, attributes)
        }
    }

    func makeNode() throws(GarbageArguments) {
        let handle = try input.handle()
        let name = try input.name()
        let type = FileType(rawValue: try input.u32())
        var attributes = SetAttributes()
        var (major, minor) = (UInt32(0), UInt32(0))
        switch type {
        case .characterDevice, .blockDevice:
            attributes = try input.setAttributes()
            (major, minor) = (try input.u32(), try input.u32())
        case .socket, .fifo: attributes = try input.setAttributes()
        case .regular, .directory, .symbolicLink: break
        case nil: throw GarbageArguments()
        }
        make(in: handle, name) { (parent, name) throws(Refusal) in
            let format: Int
            switch type {
            case .characterDevice: format = Int(S_IFCHR)
            case .blockDevice: format = Int(S_IFBLK)
            case .socket: format = Int(S_IFSOCK)
            case .fifo: format = Int(S_IFIFO)
            default: throw Refusal(.badType)
            }
            let mode = UInt32(format) | (attributes.mode ?? 0o600)
            try self.check(
                unsafe clinux_make_device(parent.raw, name.bytes, mode, major, minor))
            return try self.finish(parent, name, attributes)
        }
    }

    /// The owner and times of something just made; it has its mode already.
    private func finish(
        _ parent: borrowing Node, _ name: FileName, _ attributes: SetAttributes
    ) throws(Refusal) -> Node {
        let node = try child(parent, name)
        let handle = try export.handle(node.raw, node.status)
        let rest = SetAttributes(
            uid: attributes.uid, gid: attributes.gid, accessTime: attributes.accessTime,
            modifyTime: attributes.modifyTime)
        try apply(rest, to: node, handle)
        return node
    }

    /// What the four calls have in common: checks, weak cache consistency and results.
    private func make(
        in handle: FileHandle, _ name: Result<FileName, Refusal>,
        _ body: (borrowing Node, FileName) throws(Refusal) -> Node
    ) {
        let start = output.position
        var weak = WeakCache()
        do throws(Refusal) {
            try requireWritable()
            let parent = try directory(handle)
            let name = try name.get()
            if name.isDots { throw Refusal(.exists) }
            let node = try changing(parent, &weak) { () throws(Refusal) in
                try body(parent, name)
            }
            let status = try FileStatus(of: node.raw)
            let made = try export.handle(node.raw, status)
            output.put(NFSStatus.ok)
            output.putOptional(made)
            output.putOptional(seen(made, status))
            output.putWeakCache(before: weak.before, after: weak.after)
        } catch {
            fail(error, at: start, weak)
        }
    }
}

// Attributes as the server tells them, turned into what the kernel is told, and back.
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
internal import NFSTypes
internal import Threads

extension FileType {
    var modeBits: UInt32 {
        switch self {
        case .regular: UInt32(S_IFREG)
        case .directory: UInt32(S_IFDIR)
        case .blockDevice: UInt32(S_IFBLK)
        case .characterDevice: UInt32(S_IFCHR)
        case .symbolicLink: UInt32(S_IFLNK)
        case .socket: UInt32(S_IFSOCK)
        case .fifo: UInt32(S_IFIFO)
        }
    }
}

extension clfuse_time {
    init(_ time: FileTime) {
        self.init(seconds: Int64(time.seconds), nanoseconds: time.nanoseconds)
    }

    /// NFSv3 carries 32 bits without a sign: earlier and later times become the nearest it has.
    var fileTime: FileTime {
        if seconds < 0 { return FileTime(seconds: 0, nanoseconds: 0) }
        return FileTime(seconds: UInt32(clamping: seconds), nanoseconds: nanoseconds)
    }
}

extension clfuse_attributes {
    init(_ from: FileAttributes) {
        self.init()
        inode = from.fileID
        size = from.size
        blocks = (from.used + 511) / 512
        mode = from.type.modeBits | from.mode & 0o7777
        link_count = from.linkCount
        uid = from.uid
        gid = from.gid
        device_major = from.deviceMajor
        device_minor = from.deviceMinor
        block_size = 128 << 10
        access = clfuse_time(from.accessTime)
        modify = clfuse_time(from.modifyTime)
        change = clfuse_time(from.changeTime)
    }
}

extension MountCore {
    /// What the kernel is told about a node of which the server says `attributes`.
    func visible(_ node: Node, _ attributes: FileAttributes) -> clfuse_attributes {
        var seen = attributes
        let (file, witness, isHidden) = node.state.withLock { state in
            (
                state.openFiles.values.first { $0.file.isLocal }, state.sharing.witness,
                state.silly != nil
            )
        }
        // A server that caches attributes does not know yet what went the local road.
        if let here = witness?.attributes ?? file?.file.localAttributes {
            seen.size = here.size
            seen.used = here.used
            seen.modifyTime = here.modifyTime
            seen.changeTime = here.changeTime
        }
        if isHidden && seen.linkCount > 0 { seen.linkCount -= 1 }
        return clfuse_attributes(seen)
    }

    func attributeSeconds(_ node: Node, _ attributes: FileAttributes) -> Double {
        node.attributeSeconds(
            for: attributes,
            within: node.type == .directory
                ? configuration.directoryAttributeSeconds : configuration.fileAttributeSeconds)
    }

    /// How long a name holds: as with NFS as long as what proves it; an open looks again anyway.
    func entrySeconds(_ type: FileType) -> Double {
        configuration.entrySeconds
            ?? (type == .directory
                ? configuration.directoryAttributeSeconds : configuration.fileAttributeSeconds)
            .lowerBound
    }

    /// Counts a lookup of a file found at the server.
    func found(
        _ handle: FileHandle, _ attributes: FileAttributes, in parent: Node, as name: NFSName
    ) -> (node: Node, entry: EntryReply) {
        let node = nodes.lookedUp(handle, attributes, parent: parent, name: name)
        let entry = EntryReply(
            node: node.id, attributes: visible(node, attributes),
            entrySeconds: entrySeconds(attributes.type),
            attributeSeconds: attributeSeconds(node, attributes))
        return (node, entry)
    }

    /// Answers with an entry; takes the lookup back if the kernel did not take it.
    func answer(
        _ request: Request, _ handle: FileHandle, _ attributes: FileAttributes, in parent: Node,
        as name: NFSName
    ) {
        let (node, entry) = found(handle, attributes, in: parent, as: name)
        if !request.entry(entry) { nodes.forget(node.id, count: 1) }
    }
}

// One file as the kernel knows it: a node number, the server's handle, and what was last seen.
internal import Glibc
internal import NFSTypes
internal import Synchronization
internal import Threads

/// What tells whether a file's data has changed at the server since it was last looked at.
struct ChangeStamp: Equatable {
    var size: UInt64
    var modifyTime: FileTime
    /// Nil after a change of our own whose answer did not carry it: then it is not compared.
    var changeTime: FileTime?

    init(_ attributes: FileAttributes) {
        size = attributes.size
        modifyTime = attributes.modifyTime
        changeTime = attributes.changeTime
    }

    func matches(_ attributes: FileAttributes) -> Bool {
        size == attributes.size && modifyTime == attributes.modifyTime
            && (changeTime.map { $0 == attributes.changeTime } ?? true)
    }
}

/// A node: one incarnation of a file in the kernel's inode cache.
///
/// With its writeback cache on, the kernel trusts its own idea of a regular file's size and
/// times for as long as it knows the inode (fs/fuse/inode.c, fuse_get_cache_mask). A file that
/// was changed elsewhere therefore gets a new node at the next lookup; the old one lives on for
/// those who have it open.
final class Node: Sendable {
    struct State {
        /// Lookups that the kernel has not forgotten.
        var lookups: UInt64 = 0
        var writers = 0
        /// Where it was last found; the path of the local road follows these.
        var parent: Node?
        var name: NFSName = ""
        /// The names that the table has it under: the links that were looked up.
        var names: [NameKey] = []
        /// An open found that the name means another file; it is not held against it twice.
        var isNameDoubted = false
        /// Nil while nothing may be concluded: an open writer's changes are under way.
        var stamp: ChangeStamp?
        /// The attributes last seen, changed or not; they pace the time-outs alone.
        var seen: ChangeStamp?
        /// When the kernel was last answered a lookup, in monotonic nanoseconds.
        var lookedUpAt: UInt64 = 0
        /// How long attributes hold: doubled whenever they were found unchanged.
        var attributeSeconds = 0.0
        /// The hidden name of a file that was unlinked while open, and who unlinked it.
        var silly: SillyName?
        var isRetired = false
        var sharing = Sharing()
        var openFiles: [ObjectIdentifier: OpenFile] = [:]
    }

    struct SillyName {
        let directory: Node
        let name: NFSName
        let credentials: Credentials
    }

    let id: UInt64
    let handle: FileHandle
    let fileID: UInt64
    let type: FileType
    let state: Lock<State>
    /// Data went through the mount since the stamp was taken.
    let hasWritten = Atomic<Bool>(false)

    init(id: UInt64, handle: FileHandle, fileID: UInt64, type: FileType) {
        self.id = id
        self.handle = handle
        self.fileID = fileID
        self.type = type
        state = Lock(State())
    }

    /// The path below the export by which the file was last found; for the local road alone.
    var path: NFSName {
        var names: [NFSName] = []
        var next: Node? = self
        // A bound, because renames elsewhere may make a cycle of what was seen at other times.
        while let node = next, names.count < 512 {
            let (parent, name) = node.state.withLock { ($0.parent, $0.name) }
            guard let parent else { break }
            names.append(name)
            next = parent
        }
        return names.isEmpty ? "." : NFSName(joining: names.reversed())
    }

    /// Whether the server's attributes tell of a change that did not come through this mount.
    func isChanged(_ attributes: FileAttributes) -> Bool {
        guard type == .regular, !hasWritten.load(ordering: .acquiring) else { return false }
        return state.withLock { state in
            guard state.writers == 0, let stamp = state.stamp else { return false }
            return !stamp.matches(attributes)
        }
    }

    /// Takes note of attributes that this mount's own call was answered.
    func learn(_ attributes: FileAttributes) {
        guard !hasWritten.load(ordering: .acquiring) else { return }
        state.withLock { $0.stamp = ChangeStamp(attributes) }
    }

    /// A change of our own whose answer does not carry the change time (RENAME, REMOVE of
    /// another link) is about to move it.
    func expectNewChangeTime() { state.withLock { $0.stamp?.changeTime = nil } }

    /// A name is not this node's any more.
    func lose(_ key: NameKey) { state.withLock { $0.names.removeAll { $0 == key } } }

    func noteWrite() {
        // A load first: the flag is nearly always up, and a store would bounce the cache line.
        if !hasWritten.load(ordering: .relaxed) { hasWritten.store(true, ordering: .releasing) }
    }

    /// How long the attributes may be trusted (Linux: fs/nfs/inode.c, nfs_update_inode): the
    /// minimum after a change, twice as long after each look that found none.
    func attributeSeconds(
        for attributes: FileAttributes, within limits: ClosedRange<Double>
    ) -> Double {
        state.withLock { state in
            let isSame = state.seen?.matches(attributes) ?? false
            let next = isSame ? state.attributeSeconds * 2 : limits.lowerBound
            state.attributeSeconds = min(max(next, limits.lowerBound), limits.upperBound)
            state.seen = ChangeStamp(attributes)
            return state.attributeSeconds
        }
    }
}

// Where a file lies, for a server that may not open by kernel handle: inode to parent and name.
internal import CLinux
internal import Glibc
internal import NFSTypes
internal import Synchronization
internal import Threads

/// Remembers the last known place of each inode; filled as names are looked up, rebuilt by a
/// scan of the tree when a handle is not found there (after a restart, after moves by others).
///
/// A place is a hint: whoever follows it compares the handle of what is there.
final class InodeIndex: Sendable {
    private struct Place {
        var parent: UInt64
        var name: FileName
    }

    private let export: Export
    private let limit: Int
    private let places = Lock([UInt64: Place]())
    /// Held through a whole scan, against this lock's usual rule: whoever wants another scan
    /// has nothing better to do than wait for this one. Taken before `places`.
    private let scan = Lock(())
    /// Scans so far; written with `scan` held.
    private let generation = Atomic<Int>(0)
    private let isComplete = Atomic<Bool>(true)

    init(export: Export, limit: Int) {
        self.export = export
        self.limit = limit
    }

    /// Notes where `inode` lies; nothing for a server that opens by handle.
    func learn(inode: UInt64, parent: UInt64, name: FileName) {
        if export.opensByHandle { return }
        places.withLock { places in
            // A full index starts again: what is still in use is learnt anew.
            if places.count >= limit { places.removeAll(keepingCapacity: true) }
            places[inode] = Place(parent: parent, name: name)
        }
    }

    /// Opens the file of `handle` with O_PATH.
    func open(_ handle: FileHandle, inode: UInt64) throws(Refusal) -> Node {
        let before = generation.load(ordering: .acquiring)
        if let node = try? openKnown(handle, inode: inode) { return node }
        scan.withLock { _ in
            // Another thread may have scanned while this one waited for the lock.
            if generation.load(ordering: .acquiring) != before { return }
            isComplete.store(rebuild(), ordering: .releasing)
            generation.add(1, ordering: .acquiringAndReleasing)
        }
        if let node = try? openKnown(handle, inode: inode) { return node }
        // An unfinished scan proves nothing about the file.
        throw Refusal(isComplete.load(ordering: .acquiring) ? .stale : .serverFault)
    }

    private func openKnown(_ handle: FileHandle, inode: UInt64) throws(Refusal) -> Node {
        let node = try Node(walk(to: inode))
        guard try export.handle(node.raw, node.status) == handle else { throw Refusal(.stale) }
        return node
    }

    /// Opens what lies at the place noted for `inode`, from the root down.
    private func walk(to inode: UInt64) throws(Refusal) -> Descriptor {
        let names = places.withLock { places -> [FileName]? in
            var names: [FileName] = []
            var next = inode
            while next != export.rootStatus.inode {
                // Stale places can form a ring; no path has more names than bytes.
                guard let place = places[next], names.count < 4096 else { return nil }
                names.append(place.name)
                next = place.parent
            }
            return names
        }
        guard let names else { throw Refusal(.stale) }
        let flags = clinux_o_path | clinux_o_nofollow
        var descriptor = try Descriptor(
            answer: clinux_reopen(export.root, clinux_o_path | clinux_o_directory))
        for name in names.reversed() {
            descriptor = try openChild(descriptor.raw, name, flags: flags)
        }
        return descriptor
    }

    /// Walks the whole tree, directory by directory, and notes every name.
    /// - Returns: false if the tree has more names than the limit.
    private func rebuild() -> Bool {
        places.withLock { $0.removeAll(keepingCapacity: true) }
        var directories = [export.rootStatus.inode]
        var seen: Set<UInt64> = [export.rootStatus.inode]
        var count = 0
        while let directory = directories.popLast() {
            let flags = O_RDONLY | clinux_o_directory
            guard let path = try? walk(to: directory),
                let stream = try? Descriptor(answer: clinux_reopen(path.raw, flags))
            else { continue }
            _ = try? unsafe forEachName(stream.raw) { entry, name throws(Refusal) in
                count += 1
                if count >= limit { throw Refusal(.serverFault) }
                unsafe learn(inode: entry.inode, parent: directory, name: name)
                if unsafe entry.may_be_directory && seen.insert(entry.inode).inserted {
                    unsafe directories.append(entry.inode)
                }
            }
            if count >= limit { return false }
        }
        return true
    }
}

/// Calls `body` for every name of an open directory but "." and "..".
func forEachName(
    _ directory: Int32,
    _ body: (clinux_directory_entry, FileName) throws(Refusal) -> Void
) throws(Refusal) {
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 8)
    defer { unsafe room.deallocate() }
    while true {
        let answer = unsafe clinux_read_directory(directory, room.baseAddress, room.count)
        if answer < 0 { throw Refusal(answer: Int32(answer)) }
        if answer == 0 { return }
        var offset = 0
        var entry = unsafe clinux_directory_entry()
        while offset < Int(answer) {
            let rest = unsafe UnsafeRawBufferPointer(rebasing: room[offset..<Int(answer)])
            guard unsafe clinux_directory_record(rest.baseAddress, rest.count, &entry)
            else { throw Refusal(.ioError) }
            unsafe offset += entry.record_length
            let bytes = unsafe UnsafeRawBufferPointer(start: entry.name, count: entry.name_length)
            let name = unsafe try FileName(bytes)
            if !name.isDots { unsafe try body(entry, name) }
        }
    }
}

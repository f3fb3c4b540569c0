// What all opens of one file in one client share: its range lock, the uncommitted bytes, and
// whether the disk and the server still have to be told.
package import DirectIO
package import NFSTypes
internal import Synchronization
internal import Threads

/// One file of a client, however often it is open.
package final class FileState: Sendable {
    let handle: FileHandle
    /// Keeps buffered and RPC writes of a page apart from direct I/O to it.
    package let ranges: RangeLock
    package let uncommitted: UncommittedWrites
    private let localDirty = Atomic<Bool>(false)
    private let serverBehind = Atomic<Bool>(false)
    private let refreshing = Atomic<Int>(0)
    private let commitQueued = Atomic<Bool>(false)
    // Held while a flush waits for the disk and the server, which a Lock must never be.
    private let flushing = Semaphore(1)

    package init(handle: FileHandle, budget: UncommittedBudget) {
        self.handle = handle
        ranges = RangeLock(capacity: 256)
        uncommitted = UncommittedWrites(budget: budget)
    }

    /// A local write has ended: the disk needs an fdatasync and the server a look.
    func localWriteEnded(offset: UInt64, byteCount: Int, isStable: Bool) {
        // Loads first: the flags are nearly always up, and a store would bounce the cache line.
        if !isStable, !localDirty.load(ordering: .relaxed) {
            localDirty.store(true, ordering: .releasing)
        }
        if !serverBehind.load(ordering: .relaxed) { serverBehind.store(true, ordering: .releasing) }
        if !uncommitted.isEmpty { uncommitted.forget(offset: offset, byteCount: byteCount) }
    }

    /// Runs one flush of the file at a time.
    ///
    /// A flush takes the duties below before it has carried them out: a second one that found
    /// them taken would acknowledge bytes whose fdatasync is still on its way, or fails.
    func flushingAlone(_ flush: () throws(LocalIOError) -> Void) throws(LocalIOError) {
        flushing.wait()
        defer { flushing.signal() }
        try flush()
    }

    /// Takes the duty to fdatasync; `true` if there is one. Give it back if it fails.
    func takeLocalDirty() -> Bool {
        localDirty.exchange(false, ordering: .acquiringAndReleasing)
    }
    func putBackLocalDirty() { localDirty.store(true, ordering: .releasing) }
    var isLocalDirty: Bool { localDirty.load(ordering: .acquiring) }

    /// Takes the duty to make the server look again at the file's attributes.
    func takeServerBehind() -> Bool {
        serverBehind.exchange(false, ordering: .acquiringAndReleasing)
    }
    func putBackServerBehind() { serverBehind.store(true, ordering: .releasing) }
    /// Begins to make the server look again; `refreshEnds` is to follow.
    /// - Returns: whether there was a reason to.
    func refreshBegins() -> Bool {
        refreshing.add(1, ordering: .acquiringAndReleasing)
        return takeServerBehind()
    }
    /// - Parameter isBehind: the server may not have looked.
    func refreshEnds(isBehind: Bool) {
        if isBehind { putBackServerBehind() }
        refreshing.subtract(1, ordering: .acquiringAndReleasing)
    }
    /// Whether a read that is sent now may meet the size from before local writes.
    var isServerBehind: Bool {
        refreshing.load(ordering: .acquiring) > 0 || serverBehind.load(ordering: .acquiring)
    }

    /// Whether the caller is the one to start a background commit.
    func takeCommitTurn() -> Bool {
        !commitQueued.exchange(true, ordering: .acquiringAndReleasing)
    }
    func endCommitTurn() { commitQueued.store(false, ordering: .releasing) }
}

/// The files a client has open, by handle, so that every open of one file shares its state.
final class FileTable: Sendable {
    private struct Entry {
        var state: FileState
        var openCount: Int
        var isBuffered: Bool
    }

    private let entries = Lock<[FileHandle: Entry]>([:])
    private let budget: UncommittedBudget

    init(budget: UncommittedBudget) { self.budget = budget }

    /// The file's state, made at its first open. Every call is matched by `closed`.
    /// - Returns: nil if it is open the other way: past the page cache, or through it.
    func opened(_ handle: FileHandle, isBuffered: Bool) -> FileState? {
        entries.withLock { entries in
            if let entry = entries[handle] {
                guard entry.isBuffered == isBuffered else { return nil }
                entries[handle]?.openCount += 1
                return entry.state
            }
            let state = FileState(handle: handle, budget: budget)
            entries[handle] = Entry(state: state, openCount: 1, isBuffered: isBuffered)
            return state
        }
    }

    func closed(_ handle: FileHandle) {
        entries.withLock { entries in
            guard let count = entries[handle]?.openCount else { return }
            if count == 1 { entries[handle] = nil } else { entries[handle]?.openCount = count - 1 }
        }
    }
}

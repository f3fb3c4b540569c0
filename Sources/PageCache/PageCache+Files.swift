// Opening, flushing, truncating and closing cached files, and who is told of which error.
internal import Glibc
internal import Threads

extension PageCache {
    // MARK: - Open and close

    /// Counts this client's writes and truncations; to be asked before a stamp is.
    package var moment: UInt64 { state.withLock { $0.changes } }

    /// Opens a file by its owner's key (not 0) and revalidates what is held of it
    /// (close-to-open): another stamp than the last one drops its clean pages.
    /// - Throws: ENFILE if every place in the table is open or dirty.
    /// - Parameter moment: `moment` before the stamp was asked for.
    package func open(
        _ key: UInt64, stamp: FileStamp, asOf moment: UInt64
    ) throws(CacheError) -> (file: CacheFileID, open: CacheOpenState) {
        let opened: (CacheFileID, CacheOpenState)? = state.withLock { state in
            state.clock = world.now()
            var slot = none
            for index in 0..<Int32(state.files.count) where state.files[index].key == key {
                slot = index
            }
            if slot == none { slot = state.addFile(key: key) ?? none }
            guard slot != none else { return nil }
            state.files.update(slot) { $0.openCount += 1 }
            state.revalidate(slot, stamp, asOf: moment)
            return (
                state.identity(of: slot),
                CacheOpenState(seenErrors: state.files[slot].errorSequence)
            )
        }
        settle()
        guard let opened else { throw CacheError(errno: ENFILE) }
        return opened
    }

    /// Flushes and closes. The file is closed even if this throws; then the error is the last
    /// word on its bytes, and if this was the last opener they are given up.
    package func close(
        _ file: CacheFileID, _ open: inout CacheOpenState
    ) throws(CacheError) {
        defer { closed(file) }
        try fsync(file, &open)
    }

    private func closed(_ file: CacheFileID) {
        state.withLock { state in
            state.clock = world.now()
            guard let slot = state.slot(of: file) else { return }
            state.files.update(slot) { $0.openCount -= 1 }
            guard state.files[slot].openCount == 0 else { return }
            state.files[slot].closedAt = state.clock
            state.dropFailed(slot)
        }
        settle()
    }

    /// Whether the file has been changed by this cache since this was last asked.
    ///
    /// Only then may its new times be taken over by `setStamp`: taken over after somebody else's
    /// write, they would make the pages from before it look fresh at the next open.
    package func takeOwnChanges(_ file: CacheFileID) -> Bool {
        state.withLock { state in
            guard let slot = state.slot(of: file) else { return false }
            defer { state.files[slot].hasOwnChanges = false }
            return state.files[slot].hasOwnChanges
        }
    }

    /// What the server says of the file after this client's own writes.
    package func setStamp(_ file: CacheFileID, _ stamp: FileStamp) {
        state.withLock { state in
            guard let slot = state.slot(of: file) else { return }
            state.files[slot].stamp = StampWords(stamp)
        }
    }

    /// Bytes, what is dirty included; nil if the file is not open.
    package func size(_ file: CacheFileID) -> UInt64? {
        state.withLock { state in state.slot(of: file).map { state.files[$0].size } }
    }

    /// Drops the file's clean pages that nobody holds.
    package func invalidate(_ file: CacheFileID) {
        state.withLock { state in
            if let slot = state.slot(of: file) { state.dropClean(slot) }
        }
        settle()
    }

    // MARK: - Flushing

    /// Starts writing what is dirty, and does not wait.
    package func startFlush(_ file: CacheFileID) {
        state.withLock { state in
            state.clock = world.now()
            guard let slot = state.slot(of: file) else { return }
            state.files.update(slot) { $0.epoch += 1 }
            let head = state.files[slot].dirty.head
            if head != none { state.setUrgent(head, true) }
        }
        pump()
    }

    /// Writes all that was dirty when this began, and waits for it.
    /// - Throws: the error of a write that failed meanwhile.
    package func flush(_ file: CacheFileID) throws(CacheError) {
        let (epoch, errors) = try withFile(file) { state, slot in
            let epoch = state.files[slot].epoch
            state.files.update(slot) { $0.epoch += 1 }
            state.retryFailed(slot)
            let before = state.isHurried(slot)
            state.files.update(slot) { $0.flushers += 1 }
            state.noteFlush(slot)
            state.countHurried(slot, before: before)
            return (epoch, state.files[slot].errorSequence)
        }
        var isDone = false
        while !isDone {
            pump()
            let step: CopyStep = try withFile(file) { state, slot in
                if state.isWritten(slot, through: epoch) { return .end }
                let waiter = state.enlist(onFile: slot)
                return waiter == none ? .crowded : .wait(waiter)
            }
            switch step {
            case .end, .ready: isDone = true
            case .wait(let waiter): _ = wait(waiter)
            case .crowded: pauseForWaiter()
            }
        }
        let failed: Int32 = try withFile(file) { state, slot in
            let before = state.isHurried(slot)
            state.files.update(slot) { $0.flushers -= 1 }
            state.countHurried(slot, before: before)
            return state.files[slot].errorSequence == errors ? 0 : state.files[slot].lastErrno
        }
        if failed != 0 { throw CacheError(errno: failed) }
    }

    /// Writes all that was dirty and makes it durable on both roads.
    ///
    /// Each opener is told of each failure of writeback once: here or at its close. Concurrent
    /// calls for one file share a commit that began after their bytes were written.
    package func fsync(
        _ file: CacheFileID, _ open: inout CacheOpenState
    ) throws(CacheError) {
        var errno: Int32 = 0
        do throws(CacheError) { try flush(file) } catch { errno = error.errno }
        let committed = try commit(file)
        let (sequence, lastErrno) = try withFile(file) { state, slot in
            (state.files[slot].errorSequence, state.files[slot].lastErrno)
        }
        if errno == 0, sequence > open.seenErrors { errno = lastErrno == 0 ? EIO : lastErrno }
        open.seenErrors = sequence
        if errno == 0 { errno = committed }
        if errno != 0 { throw CacheError(errno: errno) }
    }

    /// One commit that begins after this call, shared with whoever wants the same.
    private func commit(_ file: CacheFileID) throws(CacheError) -> Int32 {
        var wanted: UInt64?
        while true {
            let turn: CommitTurn = try withFile(file) { state, slot in
                let record = state.files[slot]
                if wanted == nil {
                    if !record.needsCommit && !record.isCommitting { return .nothing }
                    wanted = record.commitsStarted + 1
                }
                let number = wanted ?? 0
                if record.commitsDone >= number {
                    state.statistics.sharedCommits += 1
                    return .shared(record.commitFailed >= number ? record.commitErrno : 0)
                }
                if record.isCommitting {
                    let waiter = state.enlist(onFile: slot)
                    return waiter == none ? .crowded : .wait(waiter)
                }
                state.files[slot].isCommitting = true
                state.files.update(slot) { $0.commitsStarted += 1 }
                state.files[slot].needsCommit = false
                state.statistics.commits += 1
                return .mine(record.commitsStarted + 1)
            }
            switch turn {
            case .nothing: return 0
            case .shared(let errno): return errno
            case .wait(let waiter): _ = wait(waiter)
            case .crowded: pauseForWaiter()
            case .mine(let number):
                let result = world.commit(file)
                let errno = result < 0 ? Int32(truncatingIfNeeded: -result) : 0
                _ = try withFile(file) { state, slot in
                    state.files[slot].isCommitting = false
                    state.files[slot].commitsDone = number
                    if errno != 0 {
                        state.files[slot].commitFailed = number
                        state.files[slot].commitErrno = errno
                        state.files[slot].needsCommit = true
                    }
                    state.wakeFile(slot)
                }
                settle()
                return errno
            }
        }
    }

    // MARK: - Truncation

    /// Sets the size in bytes. What lies past it is gone, dirty or not; nobody else uses the file
    /// meanwhile.
    package func truncate(_ file: CacheFileID, to size: UInt64) throws(CacheError) {
        try takeExclusive(file)
        let result = world.setSize(file, size)
        _ = try withFile(file) { state, slot in
            if result >= 0 {
                state.cut(slot, to: size) { frame, start in
                    unsafe memset(address(frame, start), 0, pageByteCount - start)
                }
            }
            state.files[slot].isExclusive = false
            state.files[slot].hasOwnChanges = true
            state.wakeFile(slot)
            state.wakesFlusher = true
        }
        settle()
        if result < 0 { throw CacheError(errno: Int32(truncatingIfNeeded: -result)) }
    }

    /// Keeps new calls and writeback off the file, and waits until nobody uses its pages.
    private func takeExclusive(_ file: CacheFileID) throws(CacheError) {
        var isMine = false
        while true {
            let step: CopyStep = try withFile(file) { state, slot in
                var waiter = none
                if !isMine, state.files[slot].isExclusive {
                    waiter = state.enlist(onFile: slot)
                } else {
                    isMine = true
                    state.files[slot].isExclusive = true
                    let busy = state.busyPage(slot)
                    if busy == none { return .end }
                    waiter = state.enlist(onPage: busy)
                }
                return waiter == none ? .crowded : .wait(waiter)
            }
            switch step {
            case .end, .ready: return
            case .wait(let waiter): _ = wait(waiter)
            case .crowded: pauseForWaiter()
            }
        }
    }
}

/// What a commit finds.
private enum CommitTurn {
    case nothing
    case mine(UInt64)
    case shared(Int32)
    case wait(Int32)
    case crowded
}

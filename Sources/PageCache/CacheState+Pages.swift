// The states of a page: clean, dirty, writeback, failed; and the files' ring of dirty work.

extension CacheState {
    // MARK: - Clean and dirty

    /// Puts a page into the queue of the eviction policy that it belongs to.
    mutating func insertClean(_ frame: Int32) { policy.insert(frame, pages) }

    /// A page in no list has become clean.
    mutating func becameClean(_ frame: Int32) {
        setUrgent(frame, false)
        pages[frame].hasFailed = false
        pages[frame].dirtiedAt = 0
        insertClean(frame)
        wakeFrameWaiters()
    }

    /// A page has dirty bytes: it waits to be written, in the order of flush epochs.
    mutating func becameDirty(_ frame: Int32, isNew: Bool) {
        let file = pages[frame].file
        if isNew {
            policy.remove(frame, pages)
            pages[frame].epoch = files[file].epoch
            pages[frame].dirtiedAt = clock
        }
        pages[frame].list = .dirty
        var other = files[file].dirty.tail
        while other != none, pages[other].epoch > pages[frame].epoch {
            other = pages[other].previous
        }
        files.update(file) { $0.dirty.insert(frame, after: other, pages) }
        dirtyPages += 1
        enterRing(file)
    }

    /// Takes a page off the list of those to be written, or of those that failed.
    mutating func leaveDirty(_ frame: Int32) {
        let file = pages[frame].file
        switch pages[frame].list {
        case .dirty:
            files.update(file) { $0.dirty.remove(frame, pages) }
            dirtyPages -= 1
        case .failed:
            files.update(file) { $0.failed.remove(frame, pages) }
            failedPages -= 1
        case .none, .small, .main: return
        }
        pages[frame].list = .none
        if files[file].dirty.isEmpty { leaveRing(file) }
    }

    /// A write has failed with an error that is told: not tried again until somebody asks.
    mutating func becameFailed(_ frame: Int32) {
        let file = pages[frame].file
        pages[frame].list = .failed
        files.update(file) { $0.failed.append(frame, pages) }
        failedPages += 1
        if files[file].failedSince == 0 { files[file].failedSince = max(clock, 1) }
    }

    /// What failed is to be tried again.
    mutating func retryFailed(_ file: Int32) {
        while !files[file].failed.isEmpty {
            let frame = files[file].failed.head
            leaveDirty(frame)
            becameDirty(frame, isNew: false)
            setUrgent(frame, true)
        }
    }

    /// What failed is given up; its bytes are lost, which every opener is told.
    mutating func dropFailed(_ file: Int32) {
        var hasDropped = false
        var next = files[file].failed.head
        while next != none {
            let frame = next
            next = pages[frame].next
            // In the hands of somebody who copies: given up at a later tick.
            if pages[frame].isLocked || pages[frame].readers > 0 { continue }
            hasDropped = true
            statistics.droppedBytes += UInt64(pages[frame].dirty.count)
            leaveDirty(frame)
            setUrgent(frame, false)
            removePage(frame)
        }
        guard hasDropped else { return }
        if files[file].failed.isEmpty { files[file].failedSince = 0 }
        files.update(file) { $0.errorSequence += 1 }
        statistics.writeErrors += 1
        belowLimit()
    }

    /// Puts a page first in its file's turn, because somebody waits for it to be clean.
    mutating func setUrgent(_ frame: Int32, _ isUrgent: Bool) {
        guard pages[frame].isUrgent != isUrgent else { return }
        pages[frame].isUrgent = isUrgent
        let file = pages[frame].file
        let before = isHurried(file)
        files.update(file) { $0.urgentPages += isUrgent ? 1 : -1 }
        countHurried(file, before: before)
        if isUrgent, pages[frame].list == .failed {
            leaveDirty(frame)
            becameDirty(frame, isNew: false)
        }
    }

    func isHurried(_ file: Int32) -> Bool {
        files[file].flushers > 0 || files[file].urgentPages > 0
    }

    mutating func countHurried(_ file: Int32, before: Bool) {
        let now = isHurried(file)
        guard now != before else { return }
        hurriedFiles += now ? 1 : -1
        if now { wakesFlusher = true }
    }

    /// Writers that were stopped may go on.
    mutating func belowLimit() {
        if unwrittenPages < throttle.hardPages { wakeLimitWaiters() }
    }

    // MARK: - The ring

    private mutating func enterRing(_ file: Int32) {
        guard !files[file].isInRing else { return }
        files[file].isInRing = true
        if ringHead == none {
            files[file].ringNext = file
            files[file].ringPrevious = file
            ringHead = file
        } else {
            // Behind everybody else.
            let last = files[ringHead].ringPrevious
            files[file].ringNext = ringHead
            files[file].ringPrevious = last
            files[last].ringNext = file
            files[ringHead].ringPrevious = file
        }
    }

    private mutating func leaveRing(_ file: Int32) {
        guard files[file].isInRing else { return }
        files[file].isInRing = false
        let (next, previous) = (files[file].ringNext, files[file].ringPrevious)
        if next == file {
            ringHead = none
        } else {
            files[previous].ringNext = next
            files[next].ringPrevious = previous
            if ringHead == file { ringHead = next }
        }
        files[file].ringNext = none
        files[file].ringPrevious = none
    }

    // MARK: - Dropping pages

    /// Drops a file's clean pages that nobody holds, from page `first` on.
    mutating func dropClean(_ file: Int32, from first: UInt64 = 0) {
        var frame = files[file].firstPage
        while frame != none {
            let next = pages[frame].fileNext
            if pages[frame].index >= first, isIdleClean(frame) {
                policy.remove(frame, pages)
                removePage(frame)
            }
            frame = next
        }
    }

    func isIdleClean(_ frame: Int32) -> Bool {
        let page = pages[frame]
        return (page.list == .small || page.list == .main) && page.readers == 0
            && !page.isLocked && !page.isFilling && !page.isWriteback
    }

    /// Whether every page that was dirty at or before `epoch` has been tried.
    func isWritten(_ file: Int32, through epoch: UInt64) -> Bool {
        let head = files[file].dirty.head
        if head != none, pages[head].epoch <= epoch { return false }
        guard files[file].requestsInFlight > 0 else { return true }
        for index in Numbers(0, Int32(requests.count)) {
            let request = requests[index]
            if request.isInUse, request.isWrite, request.file == file, request.epoch <= epoch {
                return false
            }
        }
        return true
    }
}

// Reading and writing: which frames a call may copy from or into now, and what it must wait for.

/// Up to 16 neighbouring pages that a call copies without the lock.
struct CopyBatch {
    static let capacity = 16

    var frames = InlineArray<16, Int32>(repeating: -1)
    /// What is copied, per page.
    var ranges = InlineArray<16, ByteRange>(repeating: ByteRange())
    /// What was valid in the page before a write, and what is after it; the bytes that are in
    /// neither the former nor `ranges` are zeros.
    var known = InlineArray<16, ByteRange>(repeating: ByteRange())
    var valid = InlineArray<16, ByteRange>(repeating: ByteRange())
    var count = 0
    /// Bytes copied in all.
    var byteCount = 0
}

/// What a call does next.
enum CopyStep {
    /// The batch holds at least one page.
    case ready
    /// Parks as this waiter, then asks again.
    case wait(Int32)
    /// Too many threads wait already.
    case crowded
    case end
}

extension CacheState {
    private func step(_ waiter: Int32) -> CopyStep { waiter == none ? .crowded : .wait(waiter) }

    private func range(_ index: UInt64, _ offset: UInt64, _ end: UInt64) -> ByteRange {
        let start = index * UInt64(pageByteCount)
        return ByteRange(
            start: UInt16(offset > start ? offset - start : 0),
            end: UInt16(min(end - start, UInt64(pageByteCount))))
    }

    // MARK: - Writing

    /// Locks the next pages of a write for their writer.
    mutating func prepareWrite(
        _ file: Int32, _ offset: UInt64, _ byteCount: Int, _ batch: inout CopyBatch
    ) -> CopyStep {
        if files[file].isExclusive { return step(enlist(onFile: file)) }
        if unwrittenPages >= throttle.hardPages, !isWithinAllowance(file) {
            wakesFlusher = true
            statistics.hardStops += 1
            return step(enlistForLimit())
        }
        let end = offset + UInt64(byteCount)
        var index = offset / UInt64(pageByteCount)
        var previous = index == 0 ? none : lookUp(file, index - 1)
        while index * UInt64(pageByteCount) < end, batch.count < CopyBatch.capacity {
            var frame = lookUp(file, index)
            if frame == none {
                frame = addPage(file, index, near: previous == none ? none : previous + 1)
                if frame == none {
                    wakesFlusher = true
                    return batch.count > 0 ? .ready : step(enlistForFrame())
                }
            } else if !mayWrite(frame, range(index, offset, end)) {
                return batch.count > 0 ? .ready : step(enlist(onPage: frame))
            }
            lockForWriting(frame, range(index, offset, end), &batch)
            previous = frame
            index += 1
        }
        return .ready
    }

    /// A file with hardly anything dirty is not stopped for what others have dirtied.
    private func isWithinAllowance(_ file: Int32) -> Bool {
        files[file].dirty.count + files[file].failed.count + files[file].writebackPages < 16
            && unwrittenPages < configuration.frameCount * 19 / 20
    }

    /// Whether bytes may be written into the page now; if not, somebody will wake its waiters.
    private mutating func mayWrite(_ frame: Int32, _ range: ByteRange) -> Bool {
        let page = pages[frame]
        if page.isLocked || page.isFilling || page.readers > 0 { return false }
        if page.isWriteback, configuration.stablePages { return false }
        if page.valid.touches(range) { return true }
        // A gap between what is known of the page and the new bytes: what is dirty goes first.
        if page.list == .dirty || page.list == .failed || page.isWriteback {
            setUrgent(frame, true)
            wakesFlusher = true
            return false
        }
        pages[frame].valid = ByteRange()
        return true
    }

    private mutating func lockForWriting(
        _ frame: Int32, _ range: ByteRange, _ batch: inout CopyBatch
    ) {
        let page = pages[frame]
        let start = page.index * UInt64(pageByteCount)
        var valid = page.valid.hull(range)
        let size = files[page.file].size
        if start >= size {
            valid = .page
        } else if start + UInt64(range.end) >= size {
            // Behind the last byte of the file there are only zeros.
            valid.end = UInt16(pageByteCount)
        }
        pages[frame].isLocked = true
        batch.frames[batch.count] = frame
        batch.ranges[batch.count] = range
        batch.known[batch.count] = page.valid.hull(range)
        batch.valid[batch.count] = valid
        batch.count += 1
        batch.byteCount += range.count
    }

    /// The bytes have been copied: the pages are dirty and unlocked.
    mutating func finishWrite(_ batch: borrowing CopyBatch) {
        for position in 0..<batch.count {
            let frame = batch.frames[position]
            let range = batch.ranges[position]
            let file = pages[frame].file
            pages[frame].isLocked = false
            pages[frame].valid = batch.valid[position]
            let isDirtyAgain = !pages[frame].dirty.isEmpty
            pages[frame].dirty = pages[frame].dirty.hull(range)
            if pages[frame].frequency < 3 { pages.update(frame) { $0.frequency += 1 } }
            let end = pages[frame].index * UInt64(pageByteCount) + UInt64(range.end)
            if end > files[file].size { files[file].size = end }
            changes += 1
            files[file].changedAt = changes
            // In writeback it becomes dirty again when that ends, as of the oldest bytes.
            if pages[frame].isWriteback {
                if !isDirtyAgain { pages[frame].epoch = files[file].epoch }
            } else if pages[frame].list != .dirty, pages[frame].list != .failed {
                becameDirty(frame, isNew: true)
            }
            wakePage(frame)
            if isHurried(file) { wakesFlusher = true }
        }
        if dirtyPages > throttle.backgroundPages || isShortOfFrames { wakesFlusher = true }
    }

    // MARK: - Reading

    /// Holds the next pages of a read for their reader, or starts reading them in.
    mutating func prepareRead(
        _ file: Int32, _ offset: UInt64, _ wanted: Int, _ batch: inout CopyBatch
    ) -> CopyStep {
        if files[file].isExclusive { return step(enlist(onFile: file)) }
        let size = files[file].size
        guard offset < size, wanted > 0 else { return .end }
        let end = offset + min(UInt64(wanted), size - offset)
        var index = offset / UInt64(pageByteCount)
        while index * UInt64(pageByteCount) < end, batch.count < CopyBatch.capacity {
            let frame = lookUp(file, index)
            let range = range(index, offset, end)
            if frame != none, isReadable(frame, range) {
                pages.update(frame) { $0.readers += 1 }
                if pages[frame].frequency < 3 { pages.update(frame) { $0.frequency += 1 } }
                batch.frames[batch.count] = frame
                batch.ranges[batch.count] = range
                batch.count += 1
                batch.byteCount += range.count
                statistics.hits += 1
                index += 1
                continue
            }
            if batch.count > 0 { return .ready }
            statistics.misses += 1
            if frame == none {
                let last = (end - 1) / UInt64(pageByteCount)
                _ = fill(file, index..<last + 1)
                let filling = lookUp(file, index)
                if filling != none { return step(enlist(onPage: filling)) }
                return mayStartRead ? step(enlistForFrame()) : step(enlistForRequest())
            }
            return makeReadable(frame)
        }
        return .ready
    }

    private func isReadable(_ frame: Int32, _ range: ByteRange) -> Bool {
        !pages[frame].isLocked && !pages[frame].isFilling && pages[frame].valid.contains(range)
    }

    /// A page that is there but not as the reader wants it.
    private mutating func makeReadable(_ frame: Int32) -> CopyStep {
        let page = pages[frame]
        if page.isLocked || page.isFilling { return step(enlist(onPage: frame)) }
        if page.list == .dirty || page.list == .failed || page.isWriteback {
            // Only a part is known, and it is dirty: written first, then read as a whole.
            setUrgent(frame, true)
            wakesFlusher = true
            return step(enlist(onPage: frame))
        }
        if page.readers > 0 { return step(enlist(onPage: frame)) }
        guard mayStartRead else { return step(enlistForRequest()) }
        policy.remove(frame, pages)
        startFill(page.file, first: frame, count: 1)
        return step(enlist(onPage: frame))
    }

    mutating func finishRead(_ batch: borrowing CopyBatch) {
        for position in 0..<batch.count {
            let frame = batch.frames[position]
            pages.update(frame) { $0.readers -= 1 }
            if pages[frame].readers == 0 {
                wakePage(frame)
                wakeFrameWaiters()
            }
        }
    }

    // MARK: - Filling

    /// Starts reading pages that are not there, as far as frames and requests reach without
    /// waiting; stops at the first page that is there.
    /// - Returns: pages started.
    mutating func fill(_ file: Int32, _ wanted: Range<UInt64>) -> Int {
        let pagesInFile =
            (files[file].size + UInt64(pageByteCount) - 1) / UInt64(pageByteCount)
        let limit = min(wanted.upperBound, pagesInFile)
        var index = wanted.lowerBound
        var started = 0
        while index < limit, mayStartRead {
            var first = none
            var count: Int32 = 0
            while index < limit, Int(count) < configuration.maximumRequestPages,
                lookUp(file, index) == none
            {
                let near = first == none ? neighbour(file, index) : first + count
                let isFree = first == none || map.isFree(near)
                if !isFree { break }
                let frame = addPage(file, index, near: near)
                if frame == none { break }
                if first == none { first = frame }
                count += 1
                index += 1
            }
            guard count > 0 else { break }
            startFill(file, first: first, count: count)
            started += Int(count)
        }
        return started
    }

    private func neighbour(_ file: Int32, _ index: UInt64) -> Int32 {
        let frame = index == 0 ? none : lookUp(file, index - 1)
        return frame == none ? none : frame + 1
    }

    private mutating func startFill(_ file: Int32, first: Int32, count: Int32) {
        for frame in Numbers(first, count) { pages[frame].isFilling = true }
        readsInFlight += 1
        files.update(file) { $0.requestsInFlight += 1 }
        _ = takeRequest(
            RequestRecord(
                file: file, frame: first, count: count, isWrite: false, isSync: false,
                isInUse: true, offset: pages[first].index * UInt64(pageByteCount),
                byteCount: Int(count) * pageByteCount))
    }

    /// A read has ended; its frames are zeroed behind what it brought.
    mutating func endedRead(_ request: Int32, _ result: Int64) {
        let record = requests[request]
        readsInFlight -= 1
        files.update(record.file) { $0.requestsInFlight -= 1 }
        for frame in Numbers(record.frame, record.count) {
            pages[frame].isFilling = false
            if result >= 0 {
                pages[frame].valid = .page
                wakePage(frame)
                policy.insert(frame, pages)
            } else {
                wakePage(frame, errno: Int32(truncatingIfNeeded: -result))
                removePage(frame)
            }
        }
        wakeFrameWaiters()
        wakeFile(record.file)
        giveBack(request: request)
    }
}

// Writeback: which pages go next, and what becomes of them when their write has ended.
internal import Glibc

extension CacheState {
    // MARK: - Choosing

    /// Makes requests of dirty pages for as long as there is reason and room.
    mutating func chooseWriteback() {
        while hasFreeRequest, let file = nextFile() {
            guard startRun(file) else { return }
            // The next file in turn, so that a big writer does not starve a small fsync.
            if files[file].isInRing { ringHead = files[file].ringNext }
        }
    }

    /// Bytes of writeback that may be in flight when a request of this file is added: few while
    /// other files are flushed, whose fsyncs wait behind them (blk-wbt's idea).
    func bytesInFlightLimit(_ file: Int32) -> Int {
        let isWatched = isWatched(file)
        let time = isWatched ? configuration.latencyTarget : configuration.quietLatencyTarget
        let most = requests.count * configuration.maximumRequestPages * pageByteCount
        let wanted = Int(throttle.rate * Double(time) / 1e9)
        return min(max(wanted, isWatched ? 128 * 1024 : 256 * 1024), most)
    }

    /// Whether another file was flushed lately and so will be again soon.
    private func isWatched(_ file: Int32) -> Bool {
        let quiet: UInt64 = 1_000_000_000
        let last = latestFlushes.0.file == file ? latestFlushes.1 : latestFlushes.0
        return last.file != none && clock &- last.time < quiet
    }

    /// A flush of the file begins.
    mutating func noteFlush(_ file: Int32) {
        if latestFlushes.0.file != file { latestFlushes.1 = latestFlushes.0 }
        latestFlushes.0 = (file, clock)
    }

    /// A file that may write now: first those somebody waits for, then in turn.
    private func nextFile() -> Int32? {
        guard ringHead != none else { return nil }
        if hurriedFiles > 0, let file = firstInRing({ file in
            isHurried(file)
                && (writeBytesInFlight < bytesInFlightLimit(file) * 2
                    || files[file].requestsInFlight == 0)
        }) { return file }
        let isPressing = dirtyPages + writebackPages > throttle.backgroundPages || isShortOfFrames
        return firstInRing { file in
            guard writeBytesInFlight < bytesInFlightLimit(file) else { return false }
            if isPressing { return true }
            let head = files[file].dirty.head
            return head != none && clock &- pages[head].dirtiedAt >= configuration.dirtyAge
        }
    }

    private func firstInRing(_ isWanted: (Int32) -> Bool) -> Int32? {
        var file = ringHead
        repeat {
            if !files[file].isExclusive, files[file].retryAt <= clock, isWanted(file),
                firstWritable(file) != none
            {
                return file
            }
            file = files[file].ringNext
        } while file != ringHead
        return nil
    }

    /// The oldest page that may be written now: an urgent one first. Locked ones are passed over.
    private func firstWritable(_ file: Int32) -> Int32 {
        var frame = files[file].dirty.head
        if files[file].urgentPages > 0 {
            var urgent = frame
            while urgent != none, !pages[urgent].isUrgent || !isWritable(urgent) {
                urgent = pages[urgent].next
            }
            if urgent != none { return urgent }
        }
        var looked = 0
        while frame != none, !isWritable(frame) {
            looked += 1
            if looked > 64 { return none }
            frame = pages[frame].next
        }
        return frame
    }

    private func isWritable(_ frame: Int32) -> Bool {
        pages[frame].list == .dirty && !pages[frame].isLocked && !pages[frame].isWriteback
    }

    /// The bytes to send of a dirty page: the whole page if all of it is known and inside the
    /// file, so that it can go direct; else what is dirty.
    private func sendable(_ frame: Int32) -> ByteRange {
        let page = pages[frame]
        let end = (page.index + 1) * UInt64(pageByteCount)
        return page.valid == .page && end <= files[page.file].size ? .page : page.dirty
    }

    /// Makes one request of the file's oldest page and its neighbours in file and memory.
    private mutating func startRun(_ file: Int32) -> Bool {
        let seed = firstWritable(file)
        guard seed != none else { return false }
        var first = seed
        var last = seed
        if sendable(seed) == .page {
            let share = bytesInFlightLimit(file) / 4 / pageByteCount
            let most = min(currentRequestPages, max(share, 16))
            while Int(last - first) + 1 < most, joins(first - 1, seed, first) { first -= 1 }
            while Int(last - first) + 1 < most, joins(last + 1, seed, first) { last += 1 }
        }
        let range = sendable(seed)
        var epoch = UInt64.max
        for frame in Numbers(first, last - first + 1) {
            epoch = min(epoch, pages[frame].epoch)
            pages[frame].sent = sendable(frame)
            if configuration.canary == .skipsWriteback { continue }
            leaveDirty(frame)
            pages[frame].dirty = ByteRange()
            pages[frame].isWriteback = true
            writebackPages += 1
            files.update(file) { $0.writebackPages += 1 }
        }
        let byteCount = first == last ? range.count : Int(last - first + 1) * pageByteCount
        files.update(file) { $0.requestsInFlight += 1 }
        writesInFlight += 1
        writeBytesInFlight += byteCount
        throttle.writebackStarted(now: clock)
        _ = takeRequest(
            RequestRecord(
                file: file, frame: first, count: last - first + 1, isWrite: true,
                isSync: files[file].flushers > 0, isInUse: true,
                offset: pages[first].index * UInt64(pageByteCount)
                    + UInt64(first == last ? range.start : 0),
                byteCount: byteCount, skip: first == last ? range.start : 0, epoch: epoch))
        return true
    }

    /// Whether a frame's page belongs into the run of `seed`, next to it in the file, too.
    private func joins(_ frame: Int32, _ seed: Int32, _ first: Int32) -> Bool {
        guard frame >= 0, frame < pages.count else { return false }
        let distance = Int64(frame) - Int64(seed)
        return pages[frame].file == pages[seed].file
            && Int64(bitPattern: pages[frame].index)
                == Int64(bitPattern: pages[seed].index) + distance
            && isWritable(frame) && sendable(frame) == .page
    }

    // MARK: - Ending

    /// A write has ended.
    mutating func endedWrite(_ request: Int32, _ result: Int64) {
        let record = requests[request]
        let file = record.file
        let written = result < 0 ? 0 : min(Int(result), record.byteCount)
        // A write of nothing without an error would be tried for ever.
        let errno =
            result < 0
            ? Int32(truncatingIfNeeded: -result)
            : written == 0 && record.byteCount > 0 ? EIO : 0
        writesInFlight -= 1
        writeBytesInFlight -= record.byteCount
        files.update(file) { $0.requestsInFlight -= 1 }
        if written > 0 {
            statistics.writtenBytes += UInt64(written)
            statistics.writtenRequests += 1
            files[file].needsCommit = true
            files[file].hasOwnChanges = true
            changes += 1
            files[file].changedAt = changes
        }
        let failure = WriteFailure(errno)
        var isNewFailure = false
        for frame in Numbers(record.frame, record.count) {
            let position = Int(frame - record.frame) * pageByteCount
            let isWritten =
                record.count == 1
                ? written == record.byteCount : position + pageByteCount <= written
            guard ownsPage(frame, record) else { continue }
            if isWritten {
                pageWritten(frame)
            } else {
                // An fsync that began since waits for these bytes, too: it must not succeed.
                let isAwaited = record.isSync || files[file].flushers > 0
                if !pages[frame].hasFailed || isAwaited { isNewFailure = true }
                pageFailed(frame, failure, errno, record)
            }
        }
        if errno != 0 { noteFailure(file, failure, errno, isNew: isNewFailure) }
        if errno == 0, written == record.byteCount {
            // What there was no room for may have room now.
            files[file].backOff = 0
            files[file].retryAt = 0
            currentRequestPages = min(
                currentRequestPages + 1, configuration.maximumRequestPages)
        }
        throttle.writebackEnded(
            byteCount: written, stillBusy: writesInFlight > 0,
            isBacklogged: dirtyPages + writebackPages > throttle.backgroundPages, now: clock)
        belowLimit()
        if files[file].flushers > 0 || files[file].isExclusive { wakeFile(file) }
        giveBack(request: request)
    }

    private mutating func ownsPage(_ frame: Int32, _ record: RequestRecord) -> Bool {
        if pages[frame].isWriteback {
            pages[frame].isWriteback = false
            writebackPages -= 1
            files.update(record.file) { $0.writebackPages -= 1 }
            return true
        }
        // Only with the planted fault are the pages of a request not in writeback.
        guard pages[frame].file == record.file, pages[frame].list == .dirty else { return false }
        leaveDirty(frame)
        pages[frame].dirty = ByteRange()
        return true
    }

    private mutating func pageWritten(_ frame: Int32) {
        pages[frame].sent = ByteRange()
        pages[frame].hasFailed = false
        if pages[frame].dirty.isEmpty {
            becameClean(frame)
        } else {
            // Changed while it was being written.
            pages[frame].dirtiedAt = clock
            becameDirty(frame, isNew: false)
        }
        wakePage(frame)
    }

    private mutating func pageFailed(
        _ frame: Int32, _ failure: WriteFailure, _ errno: Int32, _ record: RequestRecord
    ) {
        // Its oldest bytes were dirty when the request was made.
        pages[frame].epoch = min(pages[frame].epoch, record.epoch)
        if configuration.canary == .dropsRedirty, failure == .momentary {
            pages[frame].sent = ByteRange()
            return pageWritten(frame)
        }
        pages[frame].dirty = pages[frame].dirty.hull(pages[frame].sent)
        pages[frame].sent = ByteRange()
        statistics.redirtied += 1
        switch failure {
        case .none, .momentary:
            becameDirty(frame, isNew: false)
            wakePage(frame)
        case .noRoom, .noServer:
            pages[frame].hasFailed = true
            setUrgent(frame, false)
            becameFailed(frame)
            wakePage(frame, errno: errno)
        }
    }

    private mutating func noteFailure(
        _ file: Int32, _ failure: WriteFailure, _ errno: Int32, isNew: Bool
    ) {
        switch failure {
        case .none: return
        case .momentary:
            files[file].backOff = min(max(files[file].backOff * 2, 1_000_000), 1_000_000_000)
            files[file].retryAt = clock + files[file].backOff
            if errno == ENOMEM || errno == EBUSY || errno == EAGAIN {
                currentRequestPages = max(currentRequestPages / 2, 1)
            }
        case .noRoom, .noServer:
            files[file].mayDrop = failure == .noRoom
            files[file].lastErrno = errno
            if isNew {
                files.update(file) { $0.errorSequence += 1 }
                statistics.writeErrors += 1
            }
        }
        wakesFlusher = true
    }
}

/// What a failed write means for its pages.
enum WriteFailure: BitwiseCopyable {
    case none
    /// The next try may well succeed: nobody is told.
    case momentary
    /// Told; tried again for a time, then given up.
    case noRoom
    /// Told; tried again for as long as the client lives.
    case noServer

    init(_ errno: Int32) {
        switch errno {
        case 0: self = .none
        case EAGAIN, EBUSY, ENOMEM, EINTR, ECANCELED, ENOBUFS: self = .momentary
        case ETIMEDOUT, ECONNREFUSED, ECONNRESET, EPIPE, EHOSTUNREACH, ENETUNREACH, ENOTCONN,
            EHOSTDOWN, ESHUTDOWN:
            self = .noServer
        default: self = .noRoom
        }
    }
}

// The table of files: opened, revalidated, closed, and forgotten when room is needed.

extension CacheState {
    /// The record of an open file, or nil if the number is stale.
    func slot(of file: CacheFileID) -> Int32? {
        guard file.slot >= 0, file.slot < files.count, files[file.slot].key != 0,
            files[file.slot].generation == file.generation
        else { return nil }
        return file.slot
    }

    func identity(of slot: Int32) -> CacheFileID {
        CacheFileID(slot: slot, generation: files[slot].generation)
    }

    /// A record for a file that has none; nil if every file is open or dirty.
    mutating func addFile(key: UInt64) -> Int32? {
        var oldest = none
        for slot in 0..<Int32(files.count) {
            if files[slot].key == 0 {
                oldest = slot
                break
            }
            let file = files[slot]
            guard file.openCount == 0, file.dirty.isEmpty, file.failed.isEmpty,
                file.requestsInFlight == 0
            else { continue }
            if oldest == none || file.closedAt < files[oldest].closedAt { oldest = slot }
        }
        guard oldest != none else { return nil }
        if files[oldest].key != 0 {
            dropClean(oldest)
            guard files[oldest].pageCount == 0 else { return nil }
        }
        let generation = files[oldest].generation &+ 1
        files[oldest] = FileRecord()
        files[oldest].generation = generation
        files[oldest].key = key
        return oldest
    }

    /// Compares what an open learned from the server with what is held of the file.
    /// - Parameter moment: `changes` before the server was asked: what it said then of a file
    ///   that this client has changed since is out of date.
    mutating func revalidate(_ slot: Int32, _ stamp: FileStamp, asOf moment: UInt64) {
        guard files[slot].changedAt <= moment else { return }
        let words = StampWords(stamp)
        let isDirty =
            !files[slot].dirty.isEmpty || !files[slot].failed.isEmpty
            || files[slot].writebackPages > 0
        if files[slot].stamp != words {
            dropClean(slot)
            files[slot].stamp = words
        }
        // Bytes not yet written, or not yet committed, may lie past what the server knows of.
        let isUncommitted = files[slot].needsCommit || files[slot].isCommitting
        let mayLag = isDirty || (files[slot].openCount > 1 && isUncommitted)
        files[slot].size = mayLag ? max(files[slot].size, stamp.size) : stamp.size
    }

    // MARK: - Truncation

    /// Cuts the pages to a new size; nothing of the file is in flight or locked.
    mutating func cut(
        _ file: Int32, to size: UInt64, zero: (_ frame: Int32, _ start: Int) -> Void
    ) {
        let firstGone = (size + UInt64(pageByteCount) - 1) / UInt64(pageByteCount)
        var frame = files[file].firstPage
        while frame != none {
            let next = pages[frame].fileNext
            let index = pages[frame].index
            if index >= firstGone {
                if pages[frame].list == .dirty || pages[frame].list == .failed {
                    leaveDirty(frame)
                } else {
                    policy.remove(frame, pages)
                }
                setUrgent(frame, false)
                removePage(frame)
            } else if size < files[file].size, index == size / UInt64(pageByteCount) {
                cutPage(frame, at: UInt16(size % UInt64(pageByteCount)), zero)
            }
            frame = next
        }
        files[file].size = size
        changes += 1
        files[file].changedAt = changes
        belowLimit()
    }

    /// The page with the new end of file: zeros behind it, and nothing there is dirty.
    private mutating func cutPage(
        _ frame: Int32, at limit: UInt16, _ zero: (_ frame: Int32, _ start: Int) -> Void
    ) {
        pages[frame].dirty = pages[frame].dirty.clipped(to: limit)
        if pages[frame].valid.end >= limit, pages[frame].valid.start <= limit {
            zero(frame, Int(limit))
            pages[frame].valid.end = UInt16(pageByteCount)
        } else if pages[frame].valid.start > limit {
            pages[frame].valid = ByteRange()
        }
        let isQueuedDirty = pages[frame].list == .dirty || pages[frame].list == .failed
        if isQueuedDirty, pages[frame].dirty.isEmpty {
            leaveDirty(frame)
            becameClean(frame)
        }
    }

    /// Whether a truncation must still wait for some page, and for which.
    func busyPage(_ file: Int32) -> Int32 {
        var frame = files[file].firstPage
        while frame != none {
            let page = pages[frame]
            if page.isLocked || page.isFilling || page.readers > 0 || page.isWriteback {
                return frame
            }
            frame = page.fileNext
        }
        return none
    }
}

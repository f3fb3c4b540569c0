// What must hold between any two critical sections; the simulator asks after every step.
internal import Threads

extension PageCache {
    /// The first rule that does not hold, in words; nil if all do.
    package func checkInvariants() -> String? { state.withLock { $0.violation() } }

    /// Whether nothing is in flight, waiting, or in anybody's hands.
    package var isIdle: Bool {
        state.withLock { state in
            state.readsInFlight == 0 && state.writesInFlight == 0 && !state.hasWoken
                && !state.hasStartable && state.frameWaiters == none
                && state.limitWaiters == none && state.requestWaiters == none
        }
    }
}

extension CacheState {
    func violation() -> String? {
        var counts = (dirty: 0, failed: 0, writeback: 0, used: 0, clean: 0)
        for frame in 0..<Int32(pages.count) {
            let page = pages[frame]
            guard page.file != none else {
                if !map.isFree(frame) { return "frame \(frame) is in no file and not free" }
                continue
            }
            counts.used += 1
            if let wrong = violation(frame, page) { return "frame \(frame): \(wrong)" }
            if page.list == .dirty { counts.dirty += 1 }
            if page.list == .failed { counts.failed += 1 }
            if page.list == .small || page.list == .main { counts.clean += 1 }
            if page.isWriteback { counts.writeback += 1 }
        }
        if counts.dirty != dirtyPages { return "\(counts.dirty) dirty pages, not \(dirtyPages)" }
        if counts.failed != failedPages { return "\(counts.failed) failed, not \(failedPages)" }
        if counts.writeback != writebackPages {
            return "\(counts.writeback) pages in writeback, not \(writebackPages)"
        }
        if counts.clean != policy.count { return "\(counts.clean) clean, not \(policy.count)" }
        if counts.used + map.freeCount != pages.count { return "frames are lost" }
        for file in 0..<Int32(files.count) where files[file].key != 0 {
            if let wrong = violation(file: file) { return "file \(file): \(wrong)" }
        }
        return requestViolation()
    }

    private func violation(_ frame: Int32, _ page: PageRecord) -> String? {
        if map.isFree(frame) { return "free, and in a file" }
        if lookUp(page.file, page.index) != frame { return "not found by its file and index" }
        if !page.valid.contains(page.dirty) { return "dirty bytes that are not valid" }
        if !page.valid.contains(page.sent) { return "sent bytes that are not valid" }
        let isClean = page.list == .small || page.list == .main
        if isClean, !page.dirty.isEmpty { return "dirty bytes in a clean page" }
        if isClean, page.isWriteback { return "clean and in writeback" }
        if page.list == .dirty || page.list == .failed {
            if page.dirty.isEmpty { return "listed as dirty without dirty bytes" }
            if page.isWriteback { return "in writeback and queued to be written" }
        }
        if page.isFilling, page.isLocked || page.isWriteback || page.readers > 0 {
            return "filling, and in somebody's hands"
        }
        if page.isLocked, page.readers > 0 { return "locked by a writer while it is read" }
        if page.isWriteback, page.isLocked, configuration.stablePages {
            return "changed while in writeback"
        }
        let known = page.isLocked || page.isFilling || page.isWriteback || page.list != .none
        return known ? nil : "in no state"
    }

    private func violation(file: Int32) -> String? {
        let record = files[file]
        var pageCount = 0
        var urgent = 0
        var frame = record.firstPage
        while frame != none {
            if pages[frame].file != file { return "lists a page of another file" }
            if pages[frame].isUrgent { urgent += 1 }
            pageCount += 1
            if pageCount > pages.count { return "its list of pages is a circle" }
            frame = pages[frame].fileNext
        }
        if pageCount != record.pageCount { return "\(pageCount) pages, not \(record.pageCount)" }
        if urgent != record.urgentPages { return "\(urgent) urgent, not \(record.urgentPages)" }
        if record.isInRing == record.dirty.isEmpty { return "its place in the ring is wrong" }
        var epoch: UInt64 = 0
        frame = record.dirty.head
        while frame != none {
            if pages[frame].epoch < epoch { return "dirty pages are out of order" }
            epoch = pages[frame].epoch
            frame = pages[frame].next
        }
        return nil
    }

    private func requestViolation() -> String? {
        var reads = 0
        var writes = 0
        for index in 0..<Int32(requests.count) where requests[index].isInUse {
            let request = requests[index]
            if request.isWrite { writes += 1 } else { reads += 1 }
            for frame in request.frame..<request.frame + request.count {
                let page = pages[frame]
                if page.file != request.file { return "request \(index): frame of another file" }
                let isRight = request.isWrite ? page.isWriteback : page.isFilling
                if !isRight { return "request \(index): frame \(frame) is not in its state" }
            }
        }
        return reads == readsInFlight && writes == writesInFlight ? nil : "requests are lost"
    }
}

// The page cache as its callers see it: blocking reads and writes of open files.
internal import CLinux
internal import Glibc
internal import Threads

/// Pages of files in locked memory, shared by all openers of a file in one client; dirty pages go
/// straight into the file by whatever the world does with them.
///
/// Any thread. A call may wait for a page, for a free frame, or to be slowed to the rate at which
/// dirty pages drain; nobody who drains them waits for such a call.
@safe
package final class PageCache<World: CacheWorld>: @unchecked Sendable {
    package let configuration: PageCacheConfiguration
    package let world: World
    private let memory: UnsafeMutableRawPointer
    private let memoryByteCount: Int
    let state: Lock<CacheState>

    /// Maps and locks the memory.
    /// - Throws: ENOMEM.
    package init(configuration: PageCacheConfiguration, world: World) throws(CacheError) {
        self.configuration = configuration
        self.world = world
        memoryByteCount = configuration.frameCount * pageByteCount
        guard let mapped = unsafe clinux_map_io_memory(memoryByteCount) else {
            throw CacheError(errno: ENOMEM)
        }
        unsafe memory = unsafe mapped
        var initial = CacheState(configuration)
        let isLocked = unsafe clinux_lock_memory(mapped, memoryByteCount) == 0
        initial.statistics.memoryLocked = initial.statistics.memoryLocked && isLocked
        if !isLocked {
            // Touched now, so that no page of it is missing later.
            unsafe memset(mapped, 0, memoryByteCount)
        }
        state = Lock(initial)
    }

    deinit { unsafe clinux_unmap_memory(memory, memoryByteCount) }

    /// The frames' memory, to be registered with rings.
    package var frames: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: memory, count: memoryByteCount)
    }

    func address(_ frame: Int32, _ offset: Int = 0) -> UnsafeMutableRawPointer {
        unsafe memory + Int(frame) * pageByteCount + offset
    }

    package var statistics: CacheStatistics {
        state.withLock { state in
            var result = state.statistics
            result.cachedBytes = (configuration.frameCount - state.map.freeCount) * pageByteCount
            result.dirtyBytes = (state.dirtyPages + state.failedPages) * pageByteCount
            result.writebackBytes = state.writebackPages * pageByteCount
            result.drainRate = UInt64(state.throttle.rate)
            return result
        }
    }

    // MARK: - Reading

    /// Reads into `target`.
    /// - Returns: bytes read; fewer than asked only at the end of the file.
    /// - Throws: the errno of the read that failed.
    package func read(
        _ file: CacheFileID, _ open: inout CacheOpenState,
        into target: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(CacheError) -> Int {
        var position = 0
        var looksAhead = true
        while position < target.count {
            var batch = CopyBatch()
            let place = offset + UInt64(position)
            let step = try withFile(file) { state, slot in
                let step = state.prepareRead(slot, place, target.count - position, &batch)
                // Once a call: the position says where the caller is.
                if looksAhead { readAhead(&state, slot, &open, place, target.count) }
                return step
            }
            looksAhead = false
            settle()
            switch step {
            case .end: return position
            case .crowded: pauseForWaiter()
            case .wait(let waiter):
                let errno = wait(waiter)
                if errno != 0 {
                    if position > 0 { return position }
                    throw CacheError(errno: errno)
                }
            case .ready:
                world.reschedule()
                for index in 0..<batch.count {
                    let range = batch.ranges[index]
                    unsafe memcpy(
                        target.baseAddress! + position,
                        address(batch.frames[index], Int(range.start)), range.count)
                    position += range.count
                }
                world.reschedule()
                state.withLock { $0.finishRead(batch) }
                settle()
            }
        }
        return position
    }

    private func readAhead(
        _ state: inout CacheState, _ slot: Int32, _ open: inout CacheOpenState,
        _ offset: UInt64, _ byteCount: Int
    ) {
        // A truncation waits for all that is in flight, and cuts: nothing new may start.
        guard !state.files[slot].isExclusive else { return }
        let most = min(
            configuration.readAheadByteCount / pageByteCount, configuration.frameCount / 4)
        let end = (offset + UInt64(byteCount) + UInt64(pageByteCount) - 1) / UInt64(pageByteCount)
        let wanted = open.readAhead.advance(
            first: offset / UInt64(pageByteCount), end: end, limit: most)
        var next = wanted.lowerBound
        // Pages that are there are passed over; the reader does not wait for any of these.
        while next < wanted.upperBound, state.mayStartRead {
            if state.lookUp(slot, next) != none {
                next += 1
                continue
            }
            let started = state.fill(slot, next..<wanted.upperBound)
            guard started > 0 else { return }
            state.statistics.readAhead += UInt64(started)
            next += UInt64(started)
        }
    }

    // MARK: - Writing

    /// Writes all of `source`; the bytes are durable after the next fsync.
    /// - Returns: bytes written; fewer than asked if an error stopped the write, which the next
    ///   write there will name.
    /// - Throws: the errno of an earlier write to the same page that must go first and cannot;
    ///   EFBIG.
    package func write(
        _ file: CacheFileID, _ open: inout CacheOpenState, from source: UnsafeRawBufferPointer,
        at offset: UInt64
    ) throws(CacheError) -> Int {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(source.count))
        guard !overflow, end <= UInt64(Int64.max) - (1 << 20) else {
            throw CacheError(errno: EFBIG)
        }
        var position = 0
        state.withLock { $0.activeWriters += 1 }
        defer { state.withLock { $0.activeWriters -= 1 } }
        while position < source.count {
            var batch = CopyBatch()
            let step = try withFile(file) { state, slot in
                state.prepareWrite(
                    slot, offset + UInt64(position), source.count - position, &batch)
            }
            settle()
            switch step {
            case .end: return position
            case .crowded: pauseForWaiter()
            case .wait(let waiter):
                let errno = wait(waiter)
                if errno != 0, try isFailed(file, at: offset + UInt64(position)) {
                    if position > 0 { return position }
                    throw CacheError(errno: errno)
                }
            case .ready:
                world.reschedule()
                unsafe copyIn(batch, from: source, &position)
                world.reschedule()
                state.withLock { state in
                    state.clock = world.now()
                    state.finishWrite(batch)
                }
                settle()
                balance(&open, dirtiedPages: batch.count)
            }
        }
        return position
    }

    private func copyIn(
        _ batch: borrowing CopyBatch, from source: UnsafeRawBufferPointer, _ position: inout Int
    ) {
        for index in 0..<batch.count {
            let frame = batch.frames[index]
            let range = batch.ranges[index]
            let known = batch.known[index]
            let valid = batch.valid[index]
            if valid.start < known.start {
                unsafe memset(
                    address(frame, Int(valid.start)), 0, Int(known.start - valid.start))
            }
            unsafe memcpy(
                address(frame, Int(range.start)), source.baseAddress! + position, range.count)
            if valid.end > known.end {
                unsafe memset(address(frame, Int(known.end)), 0, Int(valid.end - known.end))
            }
            position += range.count
        }
    }

    private func isFailed(_ file: CacheFileID, at offset: UInt64) throws(CacheError) -> Bool {
        try withFile(file) { state, slot in
            let frame = state.lookUp(slot, offset / UInt64(pageByteCount))
            return frame != none && state.pages[frame].list == .failed
        }
    }

    /// Slows a writer towards the drain rate. Short pauses are saved up: a sleep costs more.
    private func balance(_ open: inout CacheOpenState, dirtiedPages: Int) {
        open.unpaidPages += dirtiedPages
        let unpaid = open.unpaidPages
        let (pause, waiter) = state.withLock { state in
            let pause = state.throttle.pause(
                dirtiedPages: unpaid, totalPages: state.unwrittenPages,
                writers: state.activeWriters)
            guard pause >= DirtyThrottle.shortestPause else { return (pause, none) }
            state.statistics.throttledNanoseconds += pause
            return (pause, state.takeWaiter())
        }
        if pause == 0 || waiter != none { open.unpaidPages = 0 }
        guard waiter != none else { return }
        world.park(waiter, nanoseconds: pause)
        state.withLock { $0.giveBack(waiter: waiter) }
    }
}

// How the cache's calls meet its state and its world: waiting, waking, starting I/O, completions,
// and the flusher.
internal import Glibc
internal import Threads

extension PageCache {
    /// Runs `body` with the lock held and the file's record.
    func withFile<Result>(
        _ file: CacheFileID, _ body: (inout CacheState, Int32) -> Result
    ) throws(CacheError) -> Result {
        let result: Result? = state.withLock { state in
            state.clock = world.now()
            guard let slot = state.slot(of: file) else { return nil }
            return body(&state, slot)
        }
        guard let result else { throw CacheError(errno: EBADF) }
        return result
    }

    /// Does what the last critical section left to do: unparks threads, starts requests.
    func settle() {
        while true {
            let (waiter, request) = state.withLock { state in
                if state.wakesFlusher, state.flusherSleeps {
                    state.wakesFlusher = false
                    state.flusherSleeps = false
                    return (Int32(0), none)
                }
                let waiter = state.takeWoken()
                return (waiter, waiter == none ? state.takeStartable() : none)
            }
            if waiter != none {
                world.unpark(waiter)
            } else if request != none {
                start(request)
            } else {
                return
            }
        }
    }

    private func start(_ request: Int32) {
        let (record, file) = state.withLock { state in
            (state.requests[request], state.identity(of: state.requests[request].file))
        }
        unsafe world.start(
            PageIO(
                request: request, file: file, isWrite: record.isWrite, offset: record.offset,
                address: address(record.frame, Int(record.skip)), byteCount: record.byteCount,
                isSync: record.isSync))
    }

    /// Waits as a waiter that is on a list.
    /// - Returns: the errno of a read that failed, or 0.
    func wait(_ waiter: Int32) -> Int32 {
        while true {
            world.park(waiter, nanoseconds: nil)
            let errno: Int32? = state.withLock { state in
                guard !state.waiters[waiter].isQueued else { return nil }
                let errno = state.waiters[waiter].errno
                state.giveBack(waiter: waiter)
                return errno
            }
            if let errno { return errno }
        }
    }

    /// More threads wait than were planned for: this one looks again in a moment.
    func pauseForWaiter() { usleep(1000) }

    /// A read or write that the world was asked for has ended. Any thread; does not wait.
    ///
    /// - Parameter result: bytes moved or a negative errno.
    package func ended(_ request: Int32, _ result: Int64) {
        let record = state.withLock { $0.requests[request] }
        if !record.isWrite, result >= 0, result < record.byteCount {
            // Past the end of what the file has, it reads as zeros. The frames are still ours.
            unsafe memset(
                address(record.frame, Int(result)), 0, record.byteCount - Int(result))
        }
        state.withLock { state in
            state.clock = world.now()
            if record.isWrite {
                state.endedWrite(request, result)
                state.chooseWriteback()
            } else {
                state.endedRead(request, result)
            }
        }
        settle()
    }

    /// Starts what writeback may start now.
    func pump() {
        state.withLock { state in
            state.clock = world.now()
            state.chooseWriteback()
        }
        settle()
    }

    // MARK: - The flusher

    /// Writes dirty pages when there are enough of them, when they are old, and when writing has
    /// failed before; returns after `stop`. One thread runs this.
    package func runFlusher() {
        while true {
            let (isStopped, sleep) = state.withLock { state in
                state.clock = world.now()
                state.wakesFlusher = false
                let sleep = state.tick()
                state.chooseWriteback()
                state.flusherSleeps = true
                return (state.isStopped, sleep)
            }
            settle()
            if isStopped { return }
            world.park(0, nanoseconds: sleep)
            state.withLock { $0.flusherSleeps = false }
        }
    }

    /// Ends the flusher. Dirty pages are no longer written by themselves.
    package func stop() {
        state.withLock { state in
            state.isStopped = true
            state.wakesFlusher = true
        }
        settle()
        world.unpark(0)
    }
}

extension CacheState {
    /// Looks after what time alone brings: failures to be tried again or given up.
    /// - Returns: nanoseconds until there is something to look after; nil if nothing is.
    mutating func tick() -> UInt64? {
        let second: UInt64 = 1_000_000_000
        var wait: UInt64?
        for file in Numbers(0, Int32(files.count)) where files[file].key != 0 {
            if !files[file].failed.isEmpty {
                let age = clock &- files[file].failedSince
                if files[file].mayDrop, age >= configuration.errorHold {
                    dropFailed(file)
                } else {
                    // Once a second; an fsync tries at once.
                    if files[file].retryFailedAt == 0 {
                        files[file].retryFailedAt = clock + second
                    } else if files[file].retryFailedAt <= clock {
                        files[file].retryFailedAt = 0
                        retryFailed(file)
                    }
                    wait = min(wait ?? second, second)
                }
            } else if files[file].failedSince != 0, files[file].requestsInFlight == 0,
                files[file].urgentPages == 0
            {
                files[file].failedSince = 0
            }
            let head = files[file].dirty.head
            guard head != none else { continue }
            let due = max(
                pages[head].dirtiedAt &+ configuration.dirtyAge, files[file].retryAt)
            let hurried = isHurried(file) ? files[file].retryAt : due
            let rest = hurried > clock ? hurried - clock : 1_000_000
            wait = min(wait ?? rest, rest)
        }
        return wait
    }
}

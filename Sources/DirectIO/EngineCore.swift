// What the engine's callers and workers share: the bounded queue, wake-ups, counts.
internal import CLinux
internal import Glibc
internal import Synchronization
internal import SystemPackage
internal import Threads

/// One request: what remains to be done and whom to tell.
@safe
struct Request {
    var transfer: Transfer
    var completion: IOCompletion
    /// Cancelled: complete it without starting (again).
    var isCancelled = false
    /// In flight in a way that cannot block (front-end requests only).
    var isNowait = false
    /// With the engine, on behalf of a front-end queue.
    var isHandedOver = false
}

/// A wish to cancel, seen by the workers that may have the request in flight.
@safe
struct CancelWish {
    var context: UnsafeMutableRawPointer?
    var token: UInt64
    /// Bit per worker that has yet to look.
    var workers: UInt64
}

/// The queue proper; under `EngineCore.state`'s lock.
@safe
struct QueueState: @unchecked Sendable {
    static let wishCapacity = 32
    /// Requests that a worker takes at a time where the submission does the whole I/O: measured,
    /// with twice as many waiting before another worker is woken (Benchmarks/NOTES.md).
    static let share = 4

    /// A ring of `capacity` places, `count` in use from `head` on.
    let requests: UnsafeMutablePointer<Request>
    let capacity: Int
    let byteCount: Int
    var head = 0
    var count = 0
    let wishes: UnsafeMutablePointer<CancelWish>
    var wishCount = 0
    /// Bit per worker that sleeps and has room; its doorbell must be rung.
    var sleepers: UInt64 = 0
    /// Bit per worker that has no room.
    var full: UInt64 = 0
    var workers = 0
    /// Accepted and not told complete.
    var outstanding = 0
    var peak = 0
    var submitted: UInt64 = 0
    var completed: UInt64 = 0
    var busy: UInt64 = 0
    var isClosed = false
    var drainers: Gate?

    /// - Returns: nil without memory.
    init?(capacity: Int) {
        byteCount = MemoryLayout<Request>.stride * capacity
        guard let memory = unsafe clinux_map_memory(byteCount) else { return nil }
        unsafe requests = unsafe memory.bindMemory(to: Request.self, capacity: capacity)
        unsafe wishes = .allocate(capacity: Self.wishCapacity)
        self.capacity = capacity
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
        _ = unsafe clinux_lock_memory(memory, byteCount)
    }

    func deallocate() {
        unsafe clinux_unmap_memory(requests, byteCount)
        unsafe wishes.deallocate()
    }

    /// Adds a request; there must be room.
    mutating func append(_ request: Request) {
        let index = (head + count) % capacity
        unsafe (requests + index).initialize(to: request)
        count += 1
        submitted += 1
        outstanding += 1
        if outstanding > peak { peak = outstanding }
    }

    mutating func popFirst() -> Request {
        let request = unsafe requests[head]
        head = head + 1 == capacity ? 0 : head + 1
        count -= 1
        return request
    }

    /// What one of several workers may take of what waits.
    var fairShare: Int { min((count + 1) / 2, Self.share) }

    /// A sleeper to wake for what waits in the queue, or -1. Another worker is woken only if
    /// nobody awake has room or much waits: a wake-up costs more than a small request.
    mutating func chooseSleeper(backlog: Int) -> Int {
        guard sleepers != 0 else { return -1 }
        let idle = (sleepers | full).nonzeroBitCount
        guard idle >= workers || count > backlog else { return -1 }
        let chosen = sleepers.trailingZeroBitCount
        sleepers &= ~(1 << UInt64(chosen))
        return chosen
    }
}

@safe
final class EngineCore: @unchecked Sendable {
    struct WorkerReport: Sendable {
        var ringErrno: Int32?
        var flusherStatus: Int32
        var buffersRegistered: Bool
        var memoryLocked: Bool
    }

    let configuration: IOEngine.Configuration
    let wantsRings: Bool
    let pool: BufferPool?
    let state: Lock<QueueState>
    /// One per worker.
    let doorbells: UnsafeMutablePointer<Doorbell>
    let doorbellCount: Int
    private let reports = Lock<[WorkerReport]>([])
    private let started = Semaphore()
    private let refusal: Int32
    let again = Atomic<UInt64>(0)
    private let hints = Lock(NowaitHints())
    /// Requests that may wait for a worker that is awake before another is woken.
    private let backlog: Int

    init(configuration wanted: IOEngine.Configuration, pool: BufferPool?) throws(Errno) {
        var configuration = wanted
        configuration.workers = min(max(wanted.workers, 1), 32)
        configuration.threadWorkers = min(max(wanted.threadWorkers, 1), 32)
        configuration.depth = min(max(wanted.depth, 1), 4096)
        configuration.queueCapacity = min(max(wanted.queueCapacity, 1), 1 << 20)
        self.configuration = configuration
        self.pool = pool
        refusal = wanted.backend == .automatic ? Self.probeRing() : 0
        wantsRings = wanted.backend == .automatic && refusal == 0
        backlog = wantsRings ? 2 * QueueState.share : 0
        doorbellCount = wantsRings ? configuration.workers : configuration.threadWorkers
        guard let queue = QueueState(capacity: configuration.queueCapacity) else {
            throw Errno.noMemory
        }
        state = Lock(queue)
        unsafe doorbells = .allocate(capacity: doorbellCount)
        for index in 0..<doorbellCount {
            guard let doorbell = Doorbell() else {
                unsafe doorbells.deinitialize(count: index)
                unsafe doorbells.deallocate()
                queue.deallocate()
                throw Errno.tooManyOpenFiles
            }
            unsafe (doorbells + index).initialize(to: doorbell)
        }
    }

    deinit {
        unsafe doorbells.deinitialize(count: doorbellCount)
        unsafe doorbells.deallocate()
        state.withLock { $0.deallocate() }
    }

    /// 0 if the kernel gives rings, else the errno it refuses them with.
    private static func probeRing() -> Int32 {
        do throws(Errno) {
            _ = try Ring(depth: 1)
            return 0
        } catch { return error.rawValue }
    }

    // MARK: starting

    func report(_ report: WorkerReport) {
        reports.withLock { $0.append(report) }
        started.signal()
    }

    func waitForStart(of count: Int) {
        for _ in 0..<count { started.wait() }
        state.withLock { $0.workers = count }
    }

    var statistics: EngineStatistics {
        var result = EngineStatistics()
        let reports = self.reports.withLock { $0 }
        let ringErrno = wantsRings ? reports.compactMap(\.ringErrno).first : refusal
        result.kind = reports.contains { $0.ringErrno == nil } ? .ioUring : .threads
        if let ringErrno, ringErrno != 0 {
            result.ioUringRefusal = Errno(rawValue: ringErrno).description
        }
        result.workers = reports.count
        if !configuration.usesFlusherContext {
            result.context = .degraded(reason: "switched off by usesFlusherContext")
        } else if let status = reports.map(\.flusherStatus).first(where: { $0 != 0 }) {
            let name = Errno(rawValue: -status).description
            result.context = .degraded(
                reason: "PR_SET_IO_FLUSHER needs CAP_SYS_RESOURCE (\(name))")
        } else if !reports.isEmpty {
            result.context = .active
        }
        result.buffersRegistered = !reports.isEmpty && reports.allSatisfy(\.buffersRegistered)
        result.memoryLocked =
            !reports.isEmpty && reports.allSatisfy(\.memoryLocked)
            && pool?.statistics.isLocked ?? true
        result.again = again.load(ordering: .relaxed)
        state.withLock { state in
            result.queueDepth = state.outstanding
            result.queueDepthPeak = state.peak
            result.submitted = state.submitted
            result.completed = state.completed
            result.busy = state.busy
        }
        return result
    }

    // MARK: the queue

    func push(_ operation: IOOperation, _ completion: IOCompletion) -> Bool {
        var sleeper = -1
        let accepted = state.withLock { state in
            guard !state.isClosed, state.count < state.capacity else {
                state.busy += 1
                return false
            }
            state.append(Request(transfer: Transfer(operation), completion: completion))
            sleeper = state.chooseSleeper(backlog: backlog)
            return true
        }
        if sleeper >= 0 { ring(sleeper) }
        return accepted
    }

    /// What a worker learns when it asks for work.
    struct Take {
        var count = 0
        /// Nothing will come any more.
        var isClosed = false
        /// Counted as asleep: the doorbell will be rung for new work. Else ask again.
        var isAsleep = false
        /// Cancel wishes copied out for this worker.
        var wishes = 0
    }

    /// Gives a worker up to `room` requests, with `shares` at most half of those that wait and only
    /// a few, and tells how many it has `finished` since it last asked. If there is nothing, or
    /// with `sleeps`, it counts as asleep until its doorbell rings.
    func take(
        worker: Int, room: Int, shares: Bool = false, finished: Int, sleeps: Bool,
        wishes: UnsafeMutablePointer<CancelWish>,
        _ body: (Request) -> Void
    ) -> Take {
        var take = Take()
        var sleeper = -1
        var drainers: Gate?
        let bit = UInt64(1) << UInt64(worker)
        state.withLock { state in
            state.sleepers &= ~bit
            state.full &= ~bit
            state.outstanding -= finished
            state.completed += UInt64(finished)
            if state.outstanding == 0 && finished > 0 {
                drainers = state.drainers
                state.drainers = nil
            }
            let limit = shares ? min(room, state.fairShare) : room
            while take.count < limit && state.count > 0 {
                body(state.popFirst())
                take.count += 1
            }
            if state.wishCount > 0 { unsafe take.wishes = state.takeWishes(bit, wishes) }
            take.isClosed = state.isClosed && state.count == 0
            take.isAsleep = sleeps || take.count == 0
            if take.isAsleep {
                if take.count == room { state.full |= bit } else { state.sleepers |= bit }
            }
            if state.count > 0 { sleeper = state.chooseSleeper(backlog: backlog) }
        }
        if sleeper >= 0 { ring(sleeper) }
        while let gate = drainers {
            drainers = gate.nextWaiter
            gate.open(0)
        }
        return take
    }

    func ring(_ worker: Int) { unsafe doorbells[worker].ring() }

    func ringAll() { for worker in 0..<doorbellCount { ring(worker) } }

    func drain() {
        let gate = Gate.take()
        let mustWait = state.withLock { state in
            guard state.outstanding > 0 else { return false }
            gate.nextWaiter = state.drainers
            state.drainers = gate
            return true
        }
        if mustWait { _ = gate.wait() }
        Gate.giveBack(gate)
    }

    func close() {
        state.withLock { $0.isClosed = true }
        ringAll()
    }

    func cancel(context: UnsafeMutableRawPointer?, token: UInt64) -> Bool {
        let noted = state.withLock { state in
            unsafe state.wish(context: context, token: token, rings: wantsRings)
        }
        if noted { ringAll() }
        return noted
    }

    // MARK: callers who wait

    func shouldTryNowait(_ operation: IOOperation) -> Bool {
        hints.withLock { $0.shouldTry(operation) }
    }

    func countAgain() { again.wrappingAdd(1, ordering: .relaxed) }

    func performBlocking(_ operation: IOOperation) -> Int64 {
        var transfer = Transfer(operation)
        let isSync = operation.kind == .sync || operation.kind == .dataSync
        while true {
            // A caller who waits may as well block in the kernel where the attempt is known to
            // be in vain: that is one system call, the queue two hand-offs.
            let nowait = !isSync && shouldTryNowait(operation)
            let result = transfer.callKernel(extraFlags: nowait ? clinux_rwf_nowait : 0)
            if nowait && (result == Int64(-EAGAIN) || result == Int64(-EOPNOTSUPP)) {
                countAgain()
                hints.withLock { $0.failed(operation) }
                return finishByQueue(transfer)
            }
            if case .finished(let result) = transfer.advance(result) { return result }
        }
    }

    private func finishByQueue(_ transfer: Transfer) -> Int64 {
        var transfer = transfer
        let gate = Gate.take()
        defer { Gate.giveBack(gate) }
        guard push(transfer.operation, gate.completion) else { return transfer.runBlocking() }
        let rest = gate.wait()
        return rest < 0 && transfer.done > 0 ? transfer.done : transfer.done + rest
    }
}

extension QueueState {
    /// Marks a waiting request, or notes the wish for the workers; false if there is no room.
    mutating func wish(
        context: UnsafeMutableRawPointer?, token: UInt64, rings: Bool
    ) -> Bool {
        var found = false
        for place in 0..<count {
            let request = unsafe requests + (head + place) % capacity
            if unsafe request.pointee.completion.token == token
                && request.pointee.completion.context == context
            {
                unsafe request.pointee.isCancelled = true
                found = true
            }
        }
        if found { return true }
        guard rings, wishCount < Self.wishCapacity else { return false }
        unsafe (wishes + wishCount).initialize(
            to: CancelWish(
                context: context, token: token, workers: (UInt64(1) << UInt64(workers)) - 1))
        wishCount += 1
        return true
    }

    /// Copies the wishes that the worker with `bit` has not seen; forgets those all have seen.
    mutating func takeWishes(
        _ bit: UInt64, _ target: UnsafeMutablePointer<CancelWish>
    ) -> Int {
        var taken = 0
        var kept = 0
        for index in 0..<wishCount {
            var wish = unsafe wishes[index]
            if wish.workers & bit != 0 {
                unsafe (target + taken).initialize(to: wish)
                taken += 1
                wish.workers &= ~bit
            }
            if wish.workers != 0 {
                unsafe wishes[kept] = wish
                kept += 1
            }
        }
        wishCount = kept
        return taken
    }
}

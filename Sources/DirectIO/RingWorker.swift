// The loop of a worker with a ring: take, submit, reap, then tell.
internal import Glibc
internal import Threads

/// One thread's ring and its requests in flight.
@safe
struct RingWorker: ~Copyable {
    private struct Finished {
        var slot: Int32
        var result: Int64
    }

    private let core: EngineCore
    private let index: Int
    private var ring: Ring
    private var table: RequestTable
    private let registered: Bool
    private let wishes: UnsafeMutablePointer<CancelWish>
    /// Slots to submit again, and slots whose completion is to be told; depth places each.
    private let again: UnsafeMutablePointer<Int32>
    private let finished: UnsafeMutablePointer<Finished>
    /// `Ring.reapLimit` places.
    private let completions: UnsafeMutablePointer<RingCompletion>
    private var againCount = 0
    private var finishedCount = 0
    private var doorbellArmed = false
    private var completesAtOnce = true
    private var untilNextTry = 0

    init(
        core: EngineCore, index: Int, ring: consuming Ring, table: consuming RequestTable,
        registered: Bool
    ) {
        self.core = core
        self.index = index
        unsafe again = .allocate(capacity: table.capacity)
        unsafe finished = .allocate(capacity: table.capacity)
        unsafe wishes = .allocate(capacity: QueueState.wishCapacity)
        unsafe completions = .allocate(capacity: Ring.reapLimit)
        // Touched now, so that no page fault meets an I/O.
        unsafe again.initialize(repeating: 0, count: table.capacity)
        unsafe finished.initialize(repeating: Finished(slot: 0, result: 0), count: table.capacity)
        unsafe completions.initialize(
            repeating: RingCompletion(userData: 0, result: 0, more: false), count: Ring.reapLimit)
        unsafe wishes.initialize(
            repeating: CancelWish(context: nil, token: 0, workers: 0),
            count: QueueState.wishCapacity)
        self.ring = ring
        self.table = table
        self.registered = registered
    }

    deinit {
        unsafe again.deallocate()
        unsafe finished.deallocate()
        unsafe wishes.deallocate()
        unsafe completions.deallocate()
    }

    /// Until the engine is closed and everything accepted is done.
    mutating func run() {
        var told = 0
        while true {
            let take = takeWork(told: told)
            for place in 0..<againCount { unsafe prepare(Int(again[place])) }
            againCount = 0
            if take.wishes > 0 { cancel(wishes: take.wishes) }
            if take.isClosed && table.inFlight == 0 && finishedCount == 0 {
                return
            }
            if !doorbellArmed {
                let doorbell = unsafe core.doorbells[index].descriptor
                doorbellArmed = ring.preparePoll(
                    fd: doorbell, userData: UserData(.doorbell).rawValue)
            }
            // A request that was cancelled before it started waits only to be told.
            let mayWait = take.isAsleep && finishedCount == 0
            _ = ring.submitAndWait(minimum: mayWait ? 1 : 0)
            reap()
            learn(waited: mayWait)
            told = tell()
        }
    }

    /// Some devices complete within the submission. There the worker looks for more work before
    /// it sleeps, which spares the callers its doorbell, and takes but a few requests at a time:
    /// else the callers would wait for the last of many and then the worker for them, in turns.
    /// Elsewhere submitting and waiting in one call is cheaper. Tried again now and then.
    private mutating func learn(waited: Bool) {
        if !waited {
            completesAtOnce = finishedCount > 0
            untilNextTry = 64
        } else if !completesAtOnce {
            untilNextTry -= 1
            if untilNextTry <= 0 { completesAtOnce = true }
        }
    }

    private mutating func takeWork(told: Int) -> EngineCore.Take {
        let slots = unsafe again
        var count = againCount
        let take = unsafe core.take(
            worker: index, room: table.room, shares: completesAtOnce, finished: told,
            sleeps: !completesAtOnce,
            wishes: wishes
        ) { request in
            unsafe slots[count] = Int32(table.insert(request))
            count += 1
        }
        againCount = count
        return take
    }

    private mutating func prepare(_ slot: Int) {
        if table[slot].isCancelled {
            finish(slot, Int64(-ECANCELED))
            return
        }
        var operation = table[slot].transfer.operation
        operation.bufferIndex = -1
        if registered, let pool = core.pool {
            unsafe operation.bufferIndex = pool.bufferIndex(
                address: operation.address, byteCount: operation.byteCount)
        }
        let userData = table.userData(slot).rawValue
        while !ring.prepare(operation, userData: userData) { _ = ring.submit() }
    }

    private mutating func finish(_ slot: Int, _ result: Int64) {
        unsafe finished[finishedCount] = Finished(slot: Int32(slot), result: result)
        finishedCount += 1
    }

    private mutating func cancel(wishes count: Int) {
        for place in 0..<count {
            let wish = unsafe wishes[place]
            for slot in 0..<table.capacity
            where unsafe table.isInFlight(slot) && table[slot].completion.token == wish.token
                && table[slot].completion.context == wish.context
            {
                table[slot].isCancelled = true
                let target = table.userData(slot).rawValue
                while !ring.prepareCancel(target: target, userData: UserData(.cancel).rawValue) {
                    _ = ring.submit()
                }
            }
        }
    }

    private mutating func reap() {
        var count = 0
        repeat {
            let target = unsafe completions
            var place = 0
            count = ring.reap { completion in
                unsafe target[place] = completion
                place += 1
            }
            for place in 0..<count { handle(unsafe target[place]) }
        } while count == Ring.reapLimit
    }

    private mutating func handle(_ completion: RingCompletion) {
        let userData = UserData(rawValue: completion.userData)
        if userData.kind == UserData.Kind.doorbell.rawValue {
            doorbellArmed = completion.more
            return
        }
        guard userData.kind == UserData.Kind.request.rawValue, table.holds(userData) else { return }
        let slot = userData.slot
        let isCancelled = table[slot].isCancelled
        var result = Int64(completion.result)
        // The kernel interrupts a blocking call that is to be cancelled.
        if isCancelled && result == Int64(-EINTR) { result = Int64(-ECANCELED) }
        switch table[slot].transfer.advance(result) {
        case .finished(let total): finish(slot, total)
        case .again where isCancelled:
            let moved = table[slot].transfer.done
            finish(slot, moved > 0 ? moved : Int64(-ECANCELED))
        case .again:
            unsafe again[againCount] = Int32(slot)
            againCount += 1
        }
    }

    /// Calls the completions of what has finished, after reaping, so that nothing recurses.
    /// A mailbox is rung once for all that it gets, or its owner would wake to a single result.
    private mutating func tell() -> Int {
        let count = finishedCount
        var sleeping: CompletionMailbox?
        for place in 0..<count {
            let (slot, result) = unsafe (Int(finished[place].slot), finished[place].result)
            let completion = table[slot].completion
            table.remove(slot)
            if let mailbox = completion.mailbox {
                if mailbox.put(completion.message(result)) {
                    if let sleeping, sleeping !== mailbox { sleeping.ring() }
                    sleeping = mailbox
                }
            } else {
                completion(result)
            }
        }
        sleeping?.ring()
        finishedCount = 0
        return count
    }
}

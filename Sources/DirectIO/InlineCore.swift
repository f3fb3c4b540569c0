// The inside of an InlineQueue: submit, flush, reap, and the way through the engine on EAGAIN.
internal import CLinux
internal import Glibc
internal import SystemPackage
internal import Threads

@safe
struct InlineCore: ~Copyable {
    private static let batch = 32

    private let engine: IOEngine
    private let mailbox: CompletionMailbox
    private var table: RequestTable
    /// nil: everything goes by the engine.
    private var ring: Ring?
    private var isStarted = false
    private(set) var registered = false
    private var doorbellArmed = false
    private var hints = NowaitHints()
    /// Completions taken at a time: a part of the depth, so that the device has work while they are
    /// handled (Benchmarks/NOTES.md).
    private let share: Int
    /// Slots to submit again (short, interrupted, or refused by a busy engine).
    private let again: UnsafeMutablePointer<Int32>
    private var againCount = 0
    private let completions: UnsafeMutablePointer<RingCompletion>
    private let messages: UnsafeMutablePointer<CompletionMailbox.Message>

    init(engine: IOEngine, mailbox: CompletionMailbox, table: consuming RequestTable) {
        self.engine = engine
        self.mailbox = mailbox
        unsafe again = .allocate(capacity: table.capacity)
        unsafe completions = .allocate(capacity: Ring.reapLimit)
        unsafe messages = .allocate(capacity: Self.batch)
        share = max(8, min(table.capacity / 4, Ring.reapLimit))
        ring = engine.core.wantsRings ? try? Ring(depth: table.capacity + 16) : nil
        self.table = table
    }

    deinit {
        unsafe again.deallocate()
        unsafe completions.deallocate()
        unsafe messages.deallocate()
    }

    var inFlight: Int { table.inFlight }

    var usesRing: Bool {
        switch ring {
        case .some: true
        case .none: false
        }
    }

    /// On the first use, which binds the ring to the thread.
    private mutating func start() {
        isStarted = true
        do throws(Errno) {
            try ring?.start()
        } catch {
            ring = nil
            return
        }
        if let pool = engine.pool {
            do throws(Errno) {
                try ring?.register(pool)
                registered = usesRing
            } catch {}  // Works without: pages are pinned per I/O.
        }
    }

    // MARK: submitting

    mutating func submit(_ operation: IOOperation, token: UInt64) -> InlineQueue.Submission {
        if !isStarted { start() }
        guard table.room > 0 else { return .busy }
        let completion = unsafe IOCompletion(function: untold, context: nil, token: token)
        let slot = table.insert(
            Request(transfer: Transfer(operation), completion: completion))
        if usesRing {
            let isTransfer = operation.kind == .read || operation.kind == .write
            table[slot].isNowait = isTransfer && hints.shouldTry(operation)
            prepare(slot)
            return .queued
        }
        if handOver(slot) { return .queued }
        table.remove(slot)
        return .busy
    }

    private mutating func prepare(_ slot: Int) {
        var operation = table[slot].transfer.operation
        if table[slot].isNowait { operation.flags |= clinux_rwf_nowait }
        operation.bufferIndex = -1
        if registered, let pool = engine.pool {
            unsafe operation.bufferIndex = pool.bufferIndex(
                address: operation.address, byteCount: operation.byteCount)
        }
        let userData = table.userData(slot).rawValue
        while ring?.prepare(operation, userData: userData) == false { flush() }
    }

    /// Gives what remains of a request to the engine; false if it is busy.
    private mutating func handOver(_ slot: Int) -> Bool {
        let userData = table.userData(slot)
        let accepted = engine.enqueue(
            table[slot].transfer.operation, mailbox.slotCompletion(userData))
        table[slot].isHandedOver = accepted
        return accepted
    }

    mutating func flush() {
        while let count = ring?.unsubmitted, count > 0 {
            let status = ring?.submit() ?? 0
            if status < 0 && !Self.isTransient(status) { Self.fail(status) }
            if status < 0 && status != -EINTR { return }  // Reaping makes room first.
        }
    }

    private static func isTransient(_ status: Int32) -> Bool {
        status == -EINTR || status == -EAGAIN || status == -EBUSY || status == -ETIME
    }

    private static func fail(_ status: Int32) {
        preconditionFailure(
            status == -EEXIST
                ? "an InlineQueue is used by a thread that is not the first that used it"
                : "io_uring_enter failed with errno \(-status)")
    }

    mutating func cancel(token: UInt64) {
        for slot in 0..<table.capacity
        where table.isInFlight(slot) && table[slot].completion.token == token {
            table[slot].isCancelled = true
            let userData = table.userData(slot)
            if table[slot].isHandedOver {
                let completion = mailbox.slotCompletion(userData)
                unsafe engine.cancel(context: completion.context, token: completion.token)
            } else {
                let cancelData = UserData(.cancel).rawValue
                while ring?.prepareCancel(target: userData.rawValue, userData: cancelData) == false
                {
                    flush()
                }
            }
        }
    }

    // MARK: reaping

    mutating func reap(
        minimum: Int, deadline: inout Deadline, _ body: (UInt64, Int64) -> Void
    ) -> Int {
        if !isStarted { start() }
        var total = 0
        var hasSlept = false
        while true {
            total += takeMessages(body)
            total += takeCompletions(wanted: minimum - total, body)
            resubmit()
            if total >= minimum {
                flush()
                return total
            }
            if hasSlept { deadline.look() }
            if deadline.isOver {
                flush()
                return total
            }
            if mailbox.prepareToSleep() {
                sleep(deadline.left)
                hasSlept = true
            }
        }
    }

    /// Submits what is prepared and sleeps until the ring or the mailbox has something.
    private mutating func sleep(_ remaining: Int64) {
        guard usesRing else {
            clinux_wait_readable(mailbox.doorbellDescriptor, remaining)
            mailbox.drainDoorbell()
            return
        }
        if !doorbellArmed {
            let userData = UserData(.doorbell).rawValue
            doorbellArmed =
                ring?.preparePoll(fd: mailbox.doorbellDescriptor, userData: userData) ?? false
            if !doorbellArmed {
                flush()
                return
            }
        }
        let status = ring?.submitAndWait(minimum: 1, nanoseconds: remaining) ?? 0
        if status < 0 && !Self.isTransient(status) { Self.fail(status) }
    }

    /// Takes what is there, in parts until `wanted` requests have ended; the rest is for the next
    /// reap.
    private mutating func takeCompletions(
        wanted: Int, _ body: (UInt64, Int64) -> Void
    ) -> Int {
        var told = 0
        var count = 0
        repeat {
            let target = unsafe completions
            var place = 0
            count =
                ring?.reap(limit: share) { completion in
                    unsafe target[place] = completion
                    place += 1
                } ?? 0
            // What the last part's results made the caller submit goes out before this one's are
            // looked at.
            if count > 0 { flush() }
            for place in 0..<count where handle(unsafe target[place], body) { told += 1 }
        } while count == share && told < wanted
        return told
    }

    /// - Returns: the completion ended a request.
    private mutating func handle(
        _ completion: RingCompletion, _ body: (UInt64, Int64) -> Void
    ) -> Bool {
        let userData = UserData(rawValue: completion.userData)
        if userData.kind == UserData.Kind.doorbell.rawValue {
            doorbellArmed = completion.more
            return false
        }
        guard userData.kind == UserData.Kind.request.rawValue, table.holds(userData) else {
            return false
        }
        let slot = userData.slot
        let isCancelled = table[slot].isCancelled
        var result = Int64(completion.result)
        if table[slot].isNowait && (result == Int64(-EAGAIN) || result == Int64(-EOPNOTSUPP))
            && !isCancelled
        {
            engine.core.countAgain()
            hints.failed(table[slot].transfer.operation)
            table[slot].isNowait = false
            if !handOver(slot) { submitAgain(slot) }
            return false
        }
        if isCancelled && (result == Int64(-EINTR) || result == Int64(-EAGAIN)) {
            result = Int64(-ECANCELED)
        }
        switch table[slot].transfer.advance(result) {
        case .finished(let total): tell(slot, total, body)
        case .again where isCancelled:
            let moved = table[slot].transfer.done
            tell(slot, moved > 0 ? moved : Int64(-ECANCELED), body)
        case .again:
            submitAgain(slot)
            return false
        }
        return true
    }

    private mutating func tell(_ slot: Int, _ result: Int64, _ body: (UInt64, Int64) -> Void) {
        let token = table[slot].completion.token
        table.remove(slot)
        body(token, result)
    }

    private mutating func submitAgain(_ slot: Int) {
        unsafe again[againCount] = Int32(slot)
        againCount += 1
    }

    private mutating func resubmit() {
        for place in 0..<againCount { unsafe prepare(Int(again[place])) }
        againCount = 0
    }

    private mutating func takeMessages(_ body: (UInt64, Int64) -> Void) -> Int {
        var told = 0
        while mailbox.hasMessages {
            let count = unsafe mailbox.take(messages, capacity: Self.batch)
            for place in 0..<count {
                let message = unsafe messages[place]
                if !message.isSlot {
                    body(message.token, message.result)
                    told += 1
                    continue
                }
                let userData = UserData(rawValue: message.token)
                guard table.holds(userData) else { continue }
                let before = table[userData.slot].transfer.done
                let rest = message.result
                tell(userData.slot, rest < 0 && before > 0 ? before : before + rest, body)
                told += 1
            }
        }
        return told
    }
}

private func untold(_ context: UnsafeMutableRawPointer?, _ token: UInt64, _ result: Int64) {}

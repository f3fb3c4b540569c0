// The entries of a RangeLock in order of arrival; its owner holds the lock around every call.

/// A fixed table of holders and waiters, linked in order of arrival.
@safe
struct RangeTable: @unchecked Sendable {
    private enum State: UInt8 { case free, held, waiting }

    @safe
    private struct Entry {
        var range: PageRange
        var mode: RangeLockMode
        var state: State
        var generation: UInt32
        var previous: Int32
        var next: Int32
        /// The next of the entries that one release granted.
        var nextGranted: Int32
        var waiter: IOCompletion?
    }

    private let entries: UnsafeMutablePointer<Entry>
    private let capacity: Int
    private var used = 0
    private var firstFree: Int32
    private var head: Int32 = -1
    private var tail: Int32 = -1
    /// Entries that are not `.direct`, holders and waiters: while 0, direct needs no scan.
    private var notDirect = 0
    /// Entries promised to threads that waited for one.
    var reserved = 0
    private var firstTurn: Gate?
    private var lastTurn: Gate?
    private(set) var statistics = RangeLock.Statistics()

    init(capacity: Int) {
        self.capacity = capacity
        unsafe entries = .allocate(capacity: capacity)
        for index in 0..<capacity {
            unsafe (entries + index).initialize(
                to: Entry(
                    range: .wholeFile, mode: .direct, state: .free, generation: 1, previous: -1,
                    next: index + 1 < capacity ? Int32(index + 1) : -1, nextGranted: -1,
                    waiter: nil))
        }
        firstFree = 0
    }

    func deallocate() { unsafe entries.deallocate() }

    var hasRoom: Bool { used + reserved < capacity }

    /// No holder and no waiter conflicts with it.
    func isFree(_ range: PageRange, _ mode: RangeLockMode) -> Bool {
        if used == 0 || (mode == .direct && notDirect == 0) { return true }
        return !hasConflict(range, mode, before: -1)
    }

    /// Some entry that arrived before `limit` (-1: any) conflicts.
    private func hasConflict(_ range: PageRange, _ mode: RangeLockMode, before limit: Int32) -> Bool
    {
        var index = head
        while index >= 0 && index != limit {
            let other = unsafe entries + Int(index)
            if unsafe other.pointee.mode.conflicts(with: mode)
                && other.pointee.range.overlaps(range)
            {
                return true
            }
            index = unsafe other.pointee.next
        }
        return false
    }

    /// Adds a holder, or with a waiter one who waits. There must be room.
    mutating func append(
        _ range: PageRange, _ mode: RangeLockMode, waiter: IOCompletion?
    ) -> RangeLock.Token {
        let slot = firstFree
        let entry = unsafe entries + Int(slot)
        firstFree = unsafe entry.pointee.next
        used += 1
        if mode != .direct { notDirect += 1 }
        if waiter == nil {
            statistics.held += 1
        } else {
            statistics.waiting += 1
            statistics.waits += 1
        }
        let generation = unsafe entry.pointee.generation
        unsafe entry.pointee = Entry(
            range: range, mode: mode, state: waiter == nil ? .held : .waiting,
            generation: generation, previous: tail, next: -1, nextGranted: -1, waiter: waiter)
        if tail >= 0 { unsafe entries[Int(tail)].next = slot } else { head = slot }
        tail = slot
        return RangeLock.Token(slot: slot, generation: generation)
    }

    /// Removes an entry and grants whom it blocked; `granted` is the first of them, or -1.
    ///
    /// An entry that is granted while its waiter was not yet told can be neither released nor
    /// cancelled: its slot is still in the hands of the thread that tells.
    mutating func remove(
        _ token: RangeLock.Token, waiting: Bool, granted: inout Int32
    ) -> Bool {
        guard token.slot < capacity, unsafe entries[token.slot].generation == token.generation,
            unsafe entries[token.slot].state == (waiting ? .waiting : .held),
            unsafe waiting || entries[token.slot].waiter == nil
        else {
            if !waiting { statistics.doubleReleases += 1 }
            return false
        }
        let entry = unsafe entries[token.slot]
        unlink(Int32(token.slot), entry)
        if entry.mode != .direct { notDirect -= 1 }
        if entry.state == .held { statistics.held -= 1 } else { statistics.waiting -= 1 }
        used -= 1
        unsafe entries[token.slot].state = .free
        unsafe entries[token.slot].generation &+= 1
        unsafe entries[token.slot].waiter = nil
        unsafe entries[token.slot].next = firstFree
        firstFree = Int32(token.slot)
        if statistics.waiting > 0 { grant(after: entry, &granted) }
        return true
    }

    private mutating func unlink(_ slot: Int32, _ entry: Entry) {
        if entry.previous >= 0 {
            unsafe entries[Int(entry.previous)].next = entry.next
        } else {
            head = entry.next
        }
        if entry.next >= 0 {
            unsafe entries[Int(entry.next)].previous = entry.previous
        } else {
            tail = entry.previous
        }
    }

    /// Grants the waiters that only `gone` held up, in order of arrival.
    private mutating func grant(after gone: Entry, _ granted: inout Int32) {
        var lastGranted: Int32 = -1
        var index = head
        while index >= 0 {
            let entry = unsafe entries + Int(index)
            if unsafe entry.pointee.state == .waiting && entry.pointee.range.overlaps(gone.range)
                && !hasConflict(entry.pointee.range, entry.pointee.mode, before: index)
            {
                unsafe entry.pointee.state = .held
                statistics.waiting -= 1
                statistics.held += 1
                if lastGranted >= 0 {
                    unsafe entries[Int(lastGranted)].nextGranted = index
                } else {
                    granted = index
                }
                lastGranted = index
            }
            index = unsafe entry.pointee.next
        }
    }

    /// Whom to tell that entry `slot` is granted, and the next such entry.
    mutating func takeNotice(
        _ slot: Int32
    ) -> (waiter: IOCompletion?, token: RangeLock.Token, next: Int32) {
        let entry = unsafe entries[Int(slot)]
        unsafe entries[Int(slot)].waiter = nil
        unsafe entries[Int(slot)].nextGranted = -1
        return (
            entry.waiter, RangeLock.Token(slot: slot, generation: entry.generation),
            entry.nextGranted
        )
    }

    /// Lets `gate` wait for a free entry.
    mutating func queue(_ gate: Gate) {
        gate.nextWaiter = nil
        if let lastTurn { lastTurn.nextWaiter = gate } else { firstTurn = gate }
        lastTurn = gate
    }

    /// After an entry became free: who has waited longest for one. It is reserved for them.
    mutating func nextTurn() -> Gate? {
        guard let gate = firstTurn else { return nil }
        firstTurn = gate.nextWaiter
        if firstTurn == nil { lastTurn = nil }
        gate.nextWaiter = nil
        reserved += 1
        return gate
    }
}

// Which request each call on the wire belongs to. libnfs cannot cancel a call, so a cancelled
// one leaves an empty slot that waits for the late reply (or the end of the incarnation).

/// The calls on the wire of one connection; for its thread, and for a sender while that sleeps.
struct SlotTable {
    struct Slot {
        var request: Request?
        /// Told apart from earlier users of the slot; part of the token given to libnfs.
        var generation: UInt32 = 1
        var isUsed = false
        /// Monotonic nanoseconds.
        var deadline: UInt64 = 0
    }

    private(set) var slots: [Slot]
    private var free: [Int]
    var usedCount: Int { slots.count - free.count }
    var isFull: Bool { free.isEmpty }

    init(count: Int) {
        let bounded = min(max(count, 1), 65_535)
        slots = Array(repeating: Slot(), count: bounded)
        free = Array((0..<bounded).reversed())
    }

    /// Puts a request into a free slot; the token names both. Nil if all are in use.
    mutating func insert(_ request: Request, deadline: UInt64) -> UInt? {
        guard let index = free.popLast() else { return nil }
        slots[index].request = request
        slots[index].isUsed = true
        slots[index].deadline = deadline
        return UInt(slots[index].generation) << 16 | UInt(index)
    }

    private func index(of token: UInt) -> Int? {
        let index = Int(token & 0xffff)
        guard index < slots.count, slots[index].isUsed,
            UInt(slots[index].generation) == token >> 16
        else { return nil }
        return index
    }

    /// Frees the token's slot; nil for a token of the past, an empty request for a cancelled one.
    mutating func remove(_ token: UInt) -> Request?? {
        guard let index = index(of: token) else { return nil }
        let request = slots[index].request
        release(index)
        return .some(request)
    }

    private mutating func release(_ index: Int) {
        slots[index].request = nil
        slots[index].isUsed = false
        slots[index].generation &+= 1
        if slots[index].generation == 0 { slots[index].generation = 1 }
        free.append(index)
    }

    /// Takes the requests with this number out, leaving their slots waiting for late replies.
    mutating func orphan(number: UInt64) -> [Request] {
        var orphaned: [Request] = []
        for index in slots.indices where slots[index].request?.number == number {
            if let request = slots[index].request { orphaned.append(request) }
            slots[index].request = nil
        }
        return orphaned
    }

    /// Frees every slot and answers the requests in the order of their submission.
    mutating func removeAll() -> [Request] {
        var removed: [Request] = []
        for index in slots.indices where slots[index].isUsed {
            if let request = slots[index].request { removed.append(request) }
            release(index)
        }
        return removed.sorted { $0.sequence < $1.sequence }
    }

    /// The procedure of a call whose time is over; nil if all have time left.
    func expired(_ now: UInt64) -> String? {
        for slot in slots where slot.isUsed && slot.deadline <= now {
            return slot.request?.procedure ?? "a cancelled call"
        }
        return nil
    }
}

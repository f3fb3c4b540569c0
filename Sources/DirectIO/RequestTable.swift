// A fixed table of requests in flight, named by slot and generation; one thread uses it.
internal import CLinux

/// Slots for requests in flight, in locked memory where that is allowed.
@safe
struct RequestTable: ~Copyable {
    struct Slot {
        var request: Request
        var generation: UInt16
        var isInFlight: Bool
        /// The next free slot, while free.
        var nextFree: Int32
    }

    private let slots: UnsafeMutablePointer<Slot>
    let capacity: Int
    private let byteCount: Int
    let isLocked: Bool
    private var firstFree: Int32 = 0
    private(set) var inFlight = 0

    /// - Returns: nil without memory.
    init?(capacity: Int) {
        byteCount = MemoryLayout<Slot>.stride * capacity
        guard let memory = unsafe clinux_map_memory(byteCount) else { return nil }
        unsafe slots = unsafe memory.bindMemory(to: Slot.self, capacity: capacity)
        self.capacity = capacity
        let nothing = Request(
            transfer: Transfer(.sync(fd: -1, dataOnly: true)),
            completion: unsafe IOCompletion(function: ignore, context: nil, token: 0))
        for index in 0..<capacity {
            unsafe (slots + index).initialize(
                to: Slot(
                    request: nothing, generation: 0, isInFlight: false,
                    nextFree: index + 1 < capacity ? Int32(index + 1) : -1))
        }
        isLocked = unsafe clinux_lock_memory(memory, byteCount) == 0
    }

    deinit { unsafe clinux_unmap_memory(slots, byteCount) }

    var room: Int { capacity - inFlight }

    /// Takes a slot; there must be room.
    mutating func insert(_ request: Request) -> Int {
        let slot = Int(firstFree)
        firstFree = unsafe slots[slot].nextFree
        unsafe slots[slot].request = request
        unsafe slots[slot].isInFlight = true
        inFlight += 1
        return slot
    }

    /// Frees a slot; a late completion for it is recognised by its generation.
    mutating func remove(_ slot: Int) {
        unsafe slots[slot].isInFlight = false
        unsafe slots[slot].generation &+= 1
        unsafe slots[slot].nextFree = firstFree
        firstFree = Int32(slot)
        inFlight -= 1
    }

    func userData(_ slot: Int) -> UserData {
        unsafe UserData(.request, slot: slot, generation: slots[slot].generation)
    }

    /// The slot is in flight under that generation.
    func holds(_ userData: UserData) -> Bool {
        unsafe userData.slot < capacity && slots[userData.slot].isInFlight
            && slots[userData.slot].generation == userData.generation
    }

    func isInFlight(_ slot: Int) -> Bool { unsafe slots[slot].isInFlight }

    subscript(slot: Int) -> Request {
        unsafeAddress { unsafe UnsafePointer(pointer(slot)) }
        nonmutating unsafeMutableAddress { unsafe pointer(slot) }
    }

    private func pointer(_ slot: Int) -> UnsafeMutablePointer<Request> {
        unsafe UnsafeMutableRawPointer(slots + slot).assumingMemoryBound(to: Request.self)
    }
}

private func ignore(_ context: UnsafeMutableRawPointer?, _ token: UInt64, _ result: Int64) {}

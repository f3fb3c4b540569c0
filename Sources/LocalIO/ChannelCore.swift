// The state behind a channel: its slots, its ring, and what becomes of each completion.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import NFSTypes
internal import SystemPackage

/// A channel's slots and queue. Used by the channel's thread only.
@safe
struct ChannelCore: ~Copyable {
    @safe
    private struct Slot {
        var userToken: UInt64 = 0
        /// The entry in `files`, or -1: the I/O is none of the fast road.
        var file: Int32 = -1
        var range: RangeLock.Token?
        var offset: UInt64 = 0
        var address: UnsafeMutableRawPointer?
        var byteCount = 0
        var isWrite = false
        var started: UInt64 = 0
        var replacements: UInt64 = 0
    }

    private struct Event {
        var slot: UInt64
        var result: Int64
        /// Of an I/O that ended on the local road; 0 for others.
        var nanoseconds: UInt64 = 0
        /// It goes on by RPC and is not to be delivered yet.
        var isRedriven = false
    }

    private let client: LocalIOClient
    private let counters: Counters
    private var files: ChannelFiles
    /// When the first I/O since the last flush was submitted; 0: none was. One look at the clock
    /// serves all I/Os that go out together.
    private var batchStart: UInt64 = 0
    private var queue: InlineQueue
    private let mailbox: CompletionMailbox
    let depth: Int
    private let slots: UnsafeMutablePointer<Slot>
    private let events: UnsafeMutablePointer<Event>
    private let free: UnsafeMutablePointer<Int32>
    private var freeCount: Int
    private(set) var inFlight = 0

    init(client: LocalIOClient, depth: Int) throws(Errno) {
        queue = try InlineQueue(engine: client.engine, depth: depth)
        self.client = client
        counters = client.counters
        files = ChannelFiles(capacity: depth)
        self.depth = depth
        mailbox = queue.mailbox
        unsafe slots = .allocate(capacity: depth)
        unsafe slots.initialize(repeating: Slot(), count: depth)
        unsafe events = .allocate(capacity: depth)
        unsafe events.initialize(repeating: Event(slot: 0, result: 0), count: depth)
        unsafe free = .allocate(capacity: depth)
        for index in 0..<depth { unsafe (free + index).initialize(to: Int32(depth - 1 - index)) }
        freeCount = depth
    }

    deinit {
        unsafe slots.deinitialize(count: depth)
        unsafe slots.deallocate()
        unsafe events.deallocate()
        unsafe free.deallocate()
    }

    mutating func flush() {
        batchStart = 0
        queue.flush()
    }

    mutating func submit(
        _ file: LocalIOFile, _ isWrite: Bool, _ address: UnsafeMutableRawPointer?,
        _ byteCount: Int, _ offset: UInt64, _ token: UInt64
    ) -> IOChannel.Submission {
        guard freeCount > 0 else { return .busy }
        let index = unsafe Int(free[freeCount - 1])
        let slot = unsafe slots + index
        unsafe slot.pointee.userToken = token
        unsafe slot.pointee.isWrite = isWrite
        unsafe slot.pointee.offset = offset
        unsafe slot.pointee.address = address
        unsafe slot.pointee.byteCount = byteCount
        let allowed = isWrite ? file.access.canWrite : file.access.canRead
        guard allowed, let address = unsafe address, byteCount > 0 else {
            takeSlot()
            mailbox.post(token: UInt64(index), result: allowed ? 0 : -Int64(EBADF))
            return .queued
        }
        let entry = files.find(file)
        if entry >= 0, let answer = unsafe submitLocal(slot, index, address, entry) {
            return answer
        }
        takeSlot()
        unsafe startTransfer(file, slot.pointee, index, file.route())
        return .queued
    }

    /// The fast road: one aligned piece whose pages are free; nil if it must take the long way.
    private mutating func submitLocal(
        _ slot: UnsafeMutablePointer<Slot>, _ index: Int, _ address: UnsafeMutableRawPointer,
        _ entry: Int
    ) -> IOChannel.Submission? {
        let (isWrite, offset) = unsafe (slot.pointee.isWrite, slot.pointee.offset)
        let byteCount = unsafe slot.pointee.byteCount
        guard
            files[entry].geometry.fits(
                offset: offset, byteCount: byteCount, address: UInt(bitPattern: address),
                isWrite: isWrite),
            let range = files[entry].tryAcquire(PageRange(offset: offset, byteCount: byteCount))
        else {
            files.dropIfIdle(entry)
            return nil
        }
        if batchStart == 0 { batchStart = clinux_monotonic_nanoseconds() }
        unsafe slot.pointee.started = batchStart
        unsafe slot.pointee.replacements = files[entry].replacements
        if !isWrite,
            let result = unsafe files[entry].readCached(address, byteCount, offset)
        {
            counters.cachedRead()
            mailbox.post(token: UInt64(index), result: result)
        } else {
            let operation = unsafe IOOperation(
                kind: isWrite ? .write : .read, fd: files[entry].fd, offset: offset,
                address: address, byteCount: byteCount)
            if case .busy = queue.submit(operation, token: UInt64(index)) {
                files[entry].release(range)
                files.dropIfIdle(entry)
                return .busy
            }
        }
        unsafe slot.pointee.range = range
        unsafe slot.pointee.file = Int32(entry)
        files.began(entry)
        takeSlot()
        return .queued
    }

    private mutating func takeSlot() {
        freeCount -= 1
        inFlight += 1
    }

    private func startTransfer(_ file: LocalIOFile, _ slot: Slot, _ index: Int, _ route: Route) {
        guard let address = unsafe slot.address else { return }
        let request = unsafe Transfer.Request(
            kind: slot.isWrite ? .write : .read, offset: slot.offset, address: address,
            byteCount: slot.byteCount, stable: .unstable, holdsRange: false)
        let mailbox = mailbox
        Transfer(file: file, request: request, route: route) { result in
            mailbox.post(token: UInt64(index), result: result)
        }.start()
    }

    mutating func reap(
        minimum: Int, timeout: Duration?, _ body: (UInt64, Int64) -> Void
    ) -> Int {
        let wanted = min(minimum, inFlight)
        var deadline = Deadline(timeout)
        var delivered = 0
        while true {
            delivered += reapOnce(
                minimum: max(wanted - delivered, 0), deadline: &deadline, body)
            if delivered >= wanted { return delivered }
            deadline.look()
            if deadline.isOver { return delivered }
        }
    }

    private mutating func reapOnce(
        minimum: Int, deadline: inout Deadline, _ body: (UInt64, Int64) -> Void
    ) -> Int {
        let events = unsafe events
        var eventCount = 0
        batchStart = 0
        _ = queue.reap(minimum: minimum, deadline: &deadline) { token, result in
            unsafe events[eventCount] = Event(slot: token, result: result)
            eventCount += 1
        }
        guard eventCount > 0 else { return 0 }
        let now = clinux_monotonic_nanoseconds()
        for position in 0..<eventCount { unsafe localEnded(&events[position], now) }
        counters.recordLocal(count: eventCount) { position in
            let event = unsafe events[position]
            return (Int(event.result), event.nanoseconds)
        }
        var delivered = 0
        for position in 0..<eventCount {
            let event = unsafe events[position]
            if event.isRedriven { continue }
            let index = Int(event.slot)
            let userToken = unsafe slots[index].userToken
            unsafe free[freeCount] = Int32(index)
            freeCount += 1
            inFlight -= 1
            delivered += 1
            body(userToken, event.result)
        }
        return delivered
    }

    /// Settles an I/O of the local road.
    private mutating func localEnded(_ event: inout Event, _ now: UInt64) {
        let index = Int(event.slot)
        var result = event.result
        let slot = unsafe slots + index
        let entry = unsafe Int(slot.pointee.file)
        guard entry >= 0, let range = unsafe slot.pointee.range else { return }
        let isWrite = unsafe slot.pointee.isWrite
        unsafe slot.pointee.range = nil
        unsafe slot.pointee.file = -1
        if isWrite && result > 0 {
            unsafe files[entry].writeEnded(slot.pointee.offset, Int(result))
        }
        if !isWrite && result >= 0 && !files[entry].keepsNothing {
            result = unsafe overlaid(slot, files[entry], result)
        }
        let isStale =
            unsafe !isWrite && result >= 0
            && slot.pointee.replacements != files[entry].replacements
        files[entry].release(range)
        let isMended =
            result < 0
            && Transfer.isMendedByRPC(Int32(truncatingIfNeeded: -result), isWrite: isWrite)
        if isStale || isMended {
            let file = files[entry].file
            files.ended(entry)
            if result == -Int64(EBADF) || result == -Int64(ESTALE) {
                file.setRoute(.remote(.localOpenFailed))
            }
            event.isRedriven = true
            return unsafe startTransfer(file, slot.pointee, index, .remote(.redriven))
        }
        files.ended(entry)
        event.result = result
        if result >= 0 { unsafe event.nanoseconds = max(now - slot.pointee.started, 1) }
    }

    /// What is kept of RPC writes, laid over what was read.
    private func overlaid(
        _ slot: UnsafeMutablePointer<Slot>, _ entry: borrowing ChannelFile, _ result: Int64
    ) -> Int64 {
        let target = unsafe UnsafeMutableRawBufferPointer(
            start: slot.pointee.address, count: slot.pointee.byteCount)
        let end = unsafe slot.pointee.offset + UInt64(result)
        return Int64(
            unsafe entry.file.state.uncommitted.overlay(
                target, byteCount: Int(result), at: slot.pointee.offset,
                isAtEnd: result < slot.pointee.byteCount && entry.local.isEnd(end)))
    }
}

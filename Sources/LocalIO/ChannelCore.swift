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
        var file: LocalIOFile?
        var local: LocalFile?
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
    }

    private let client: LocalIOClient
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

    mutating func flush() { queue.flush() }

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
        let route = file.route()
        if case .local(let local) = route,
            local.geometry.fits(
                offset: offset, byteCount: byteCount, address: UInt(bitPattern: address),
                isWrite: isWrite),
            let range = file.state.ranges.tryAcquire(
                PageRange(offset: offset, byteCount: byteCount), .direct)
        {
            let operation = unsafe IOOperation(
                kind: isWrite ? .write : .read, fd: local.direct.raw, offset: offset,
                address: address, byteCount: byteCount)
            unsafe slot.pointee.replacements = file.state.uncommitted.replacements
            if !isWrite,
                let result = unsafe local.readCached(address, byteCount: byteCount, at: offset)
            {
                client.counters.cachedRead()
                mailbox.post(token: UInt64(index), result: result)
            } else if queue.submit(operation, token: UInt64(index)) != .queued {
                file.state.ranges.release(range)
                return .busy
            }
            unsafe slot.pointee.started = clinux_monotonic_nanoseconds()
            unsafe slot.pointee.range = range
            unsafe slot.pointee.local = local
            unsafe slot.pointee.file = file
            takeSlot()
            return .queued
        }
        takeSlot()
        unsafe startTransfer(file, slot.pointee, index, route)
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
        let deadline = timeout.map { ContinuousClock.now + $0 }
        var delivered = 0
        repeat {
            var left: Duration? = nil
            if let deadline {
                left = deadline - .now
                if let time = left, time < .zero { left = .zero }
            }
            delivered += reapOnce(minimum: wanted - delivered, timeout: left, body)
            if let left, left <= .zero { break }
        } while delivered < wanted
        return delivered
    }

    private mutating func reapOnce(
        minimum: Int, timeout: Duration?, _ body: (UInt64, Int64) -> Void
    ) -> Int {
        let events = unsafe events
        var eventCount = 0
        queue.reap(minimum: max(minimum, 0), timeout: timeout) { token, result in
            unsafe events[eventCount] = Event(slot: token, result: result)
            eventCount += 1
        }
        guard eventCount > 0 else { return 0 }
        let now = clinux_monotonic_nanoseconds()
        var delivered = 0
        for position in 0..<eventCount {
            let event = unsafe events[position]
            let index = Int(event.slot)
            var result = event.result
            if localEnded(index, &result, now) { continue }
            let userToken = unsafe slots[index].userToken
            unsafe free[freeCount] = Int32(index)
            freeCount += 1
            inFlight -= 1
            delivered += 1
            body(userToken, result)
        }
        return delivered
    }

    /// Settles an I/O of the local road; true if it goes on by RPC.
    private mutating func localEnded(
        _ index: Int, _ result: inout Int64, _ now: UInt64
    ) -> Bool {
        let slot = unsafe slots + index
        guard let range = unsafe slot.pointee.range, let file = unsafe slot.pointee.file else {
            return false
        }
        unsafe slot.pointee.range = nil
        unsafe slot.pointee.file = nil
        if unsafe slot.pointee.isWrite && result > 0 {
            unsafe file.state.localWriteEnded(
                offset: slot.pointee.offset, byteCount: Int(result), isStable: false)
        }
        if unsafe !slot.pointee.isWrite && result >= 0 && !file.state.uncommitted.isEmpty {
            result = Int64(
                unsafe file.state.uncommitted.overlay(
                    UnsafeMutableRawBufferPointer(
                        start: slot.pointee.address, count: slot.pointee.byteCount),
                    byteCount: Int(result), at: slot.pointee.offset,
                    isAtEnd: result < slot.pointee.byteCount
                        && slot.pointee.local?.isEnd(slot.pointee.offset + UInt64(result))
                            ?? false))
        }
        unsafe slot.pointee.local = nil
        let isStale =
            unsafe !slot.pointee.isWrite && result >= 0
            && slot.pointee.replacements != file.state.uncommitted.replacements
        file.state.ranges.release(range)
        let isMended =
            unsafe result < 0
            && Transfer.isMendedByRPC(
                Int32(truncatingIfNeeded: -result), isWrite: slot.pointee.isWrite)
        if isStale || isMended {
            if result == -Int64(EBADF) || result == -Int64(ESTALE) {
                file.setRoute(.remote(.localOpenFailed))
            }
            unsafe startTransfer(file, slot.pointee, index, .remote(.redriven))
            return true
        }
        if result >= 0 {
            unsafe client.counters.record(
                .local, byteCount: Int(result), nanoseconds: now - slot.pointee.started)
        }
        return false
    }
}

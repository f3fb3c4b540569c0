// What a connection counts, and whom it tells about its state.
internal import Synchronization
internal import Threads

/// Counters of one connection; written by its thread and its senders, read by all.
final class ConnectionStatistics: Sendable {
    private let calls = Atomic<UInt64>(0)
    private let nullCalls = Atomic<UInt64>(0)
    private let callsSentByCaller = Atomic<UInt64>(0)
    private let retransmissions = Atomic<UInt64>(0)
    private let reconnects = Atomic<UInt64>(0)
    private let bytesRead = Atomic<UInt64>(0)
    private let bytesWritten = Atomic<UInt64>(0)
    private let pending = Atomic<Int>(0)
    private let isUp = Atomic<Bool>(false)

    var isConnected: Bool { isUp.load(ordering: .acquiring) }
    /// Requests that have not ended.
    var pendingCount: Int { pending.load(ordering: .relaxed) }

    /// Counts `count` requests in, unless that would be more than `limit`.
    func admit(_ count: Int, limit: Int) -> Bool {
        let (_, new) = pending.wrappingAdd(count, ordering: .relaxed)
        if new <= max(limit, count) { return true }
        pending.wrappingSubtract(count, ordering: .relaxed)
        return false
    }

    func finished() { pending.wrappingSubtract(1, ordering: .relaxed) }

    func sent(again: Bool, isNull: Bool) {
        calls.wrappingAdd(1, ordering: .relaxed)
        if isNull { nullCalls.wrappingAdd(1, ordering: .relaxed) }
        if again { retransmissions.wrappingAdd(1, ordering: .relaxed) }
    }

    func sentByCaller(_ count: Int) {
        callsSentByCaller.wrappingAdd(UInt64(count), ordering: .relaxed)
    }

    func moved(read: Int, written: Int) {
        if read > 0 { bytesRead.wrappingAdd(UInt64(read), ordering: .relaxed) }
        if written > 0 { bytesWritten.wrappingAdd(UInt64(written), ordering: .relaxed) }
    }

    func up(again: Bool) {
        if again { reconnects.wrappingAdd(1, ordering: .relaxed) }
        isUp.store(true, ordering: .releasing)
    }

    func down() { isUp.store(false, ordering: .releasing) }

    func add(to sum: inout SessionStatistics) {
        sum.calls += calls.load(ordering: .relaxed)
        sum.nullCalls += nullCalls.load(ordering: .relaxed)
        sum.callsSentByCaller += callsSentByCaller.load(ordering: .relaxed)
        sum.retransmissions += retransmissions.load(ordering: .relaxed)
        sum.reconnects += reconnects.load(ordering: .relaxed)
        sum.bytesRead += bytesRead.load(ordering: .relaxed)
        sum.bytesWritten += bytesWritten.load(ordering: .relaxed)
        sum.inFlight += pendingCount
    }
}

/// The session's observer, shared by its connections.
final class ObserverBox: Sendable {
    private let observer = Lock<(@Sendable (ConnectionEvent) -> Void)?>(nil)

    func set(_ new: (@Sendable (ConnectionEvent) -> Void)?) { observer.withLock { $0 = new } }

    func notify(_ event: ConnectionEvent) { observer.withLock { $0 }?(event) }
}

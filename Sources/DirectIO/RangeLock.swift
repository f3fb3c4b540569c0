// Keeps direct I/O and buffered I/O off the same page of one file, in order and fairly.
internal import Threads

/// What may overlap: direct with direct, buffered with buffered, exclusive with nothing.
package enum RangeLockMode: UInt8, Sendable {
    case direct
    /// Through the page cache: RPC writes and buffered edges.
    case buffered
    /// Truncate, append, size changes: take `PageRange.wholeFile`.
    case exclusive

    func conflicts(with other: RangeLockMode) -> Bool { self == .exclusive || self != other }
}

/// Whole pages of a file.
package struct PageRange: Hashable, Sendable {
    package var first: UInt64
    package var last: UInt64

    /// The pages that hold some of these bytes (at least one page).
    package init(offset: UInt64, byteCount: Int) {
        first = offset / UInt64(SegmentPlan.pageByteCount)
        let end = offset.addingReportingOverflow(UInt64(max(byteCount, 1) - 1))
        last = (end.overflow ? UInt64.max : end.partialValue) / UInt64(SegmentPlan.pageByteCount)
    }

    private init(first: UInt64, last: UInt64) {
        self.first = first
        self.last = last
    }

    package static let wholeFile = PageRange(first: 0, last: .max)

    func overlaps(_ other: PageRange) -> Bool { first <= other.last && other.first <= last }
}

/// One file's lock. A request waits if it conflicts with a holder or with any earlier waiter,
/// so nobody starves. Nothing is allocated after `init`.
@safe
package final class RangeLock: @unchecked Sendable {
    /// A trivial name for a held or awaited range; release it exactly once.
    package struct Token: Hashable, Sendable {
        package let rawValue: UInt64
        package init(rawValue: UInt64) { self.rawValue = rawValue }
        init(slot: Int32, generation: UInt32) {
            rawValue = UInt64(generation) << 32 | UInt64(UInt32(bitPattern: slot))
        }
        var slot: Int { Int(rawValue & 0xffff_ffff) }
        var generation: UInt32 { UInt32(rawValue >> 32) }
    }

    /// The answer to `acquire`.
    package enum Acquisition: Hashable, Sendable {
        case granted(Token)
        /// The waiter will be called with the token's raw value as its result.
        case waiting(Token)
        /// No entry is free: release something, then ask again.
        case full
    }

    /// Counts since the lock was made.
    package struct Statistics: Hashable, Sendable {
        package var held = 0
        package var waiting = 0
        /// Requests that had to wait.
        package var waits: UInt64 = 0
        /// Releases of a token that was not held.
        package var doubleReleases: UInt64 = 0
    }

    private let state: Lock<RangeTable>

    /// - Parameter capacity: holders and waiters at once; more than the requests in flight.
    package init(capacity: Int = 512) {
        state = Lock(RangeTable(capacity: max(capacity, 1)))
    }

    deinit { state.withLock { $0.deallocate() } }

    package var statistics: Statistics { state.withLock { $0.statistics } }

    /// The range at once, or nil if it would have to wait.
    package func tryAcquire(_ range: PageRange, _ mode: RangeLockMode) -> Token? {
        state.withLock { table in
            guard table.hasRoom, table.isFree(range, mode) else { return nil }
            return table.append(range, mode, waiter: nil)
        }
    }

    /// The range at once, or later through `waiter`, which is called outside the lock, on the
    /// thread of the release that made way, possibly before this call has returned.
    package func acquire(
        _ range: PageRange, _ mode: RangeLockMode, waiter: IOCompletion
    ) -> Acquisition {
        state.withLock { table in
            guard table.hasRoom else { return .full }
            if table.isFree(range, mode) {
                return .granted(table.append(range, mode, waiter: nil))
            }
            return .waiting(table.append(range, mode, waiter: waiter))
        }
    }

    /// Waits for the range; with a full table first for an entry, in turn.
    package func acquireBlocking(_ range: PageRange, _ mode: RangeLockMode) -> Token {
        if let token = tryAcquire(range, mode) { return token }
        let gate = Gate.take()
        defer { Gate.giveBack(gate) }
        var hasReservation = false
        while true {
            let answer: Acquisition = state.withLock { table in
                if hasReservation {
                    table.reserved -= 1
                } else if !table.hasRoom {
                    table.queue(gate)
                    return .full
                }
                if table.isFree(range, mode) {
                    return .granted(table.append(range, mode, waiter: nil))
                }
                return .waiting(table.append(range, mode, waiter: gate.completion))
            }
            switch answer {
            case .granted(let token): return token
            case .waiting:
                return Token(rawValue: UInt64(bitPattern: gate.wait()))
            case .full:
                _ = gate.wait()
                hasReservation = true
            }
        }
    }

    /// Gives a held range back.
    /// - Returns: false if it is not held: released before, or still awaited.
    @discardableResult
    package func release(_ token: Token) -> Bool { remove(token, waiting: false) }

    /// Stops waiting for a range.
    /// - Returns: false if it is granted already: the waiter was or will be called.
    package func cancel(_ token: Token) -> Bool { remove(token, waiting: true) }

    private func remove(_ token: Token, waiting: Bool) -> Bool {
        var granted: Int32 = -1
        var turn: Gate?
        let wasThere = state.withLock { table in
            guard table.remove(token, waiting: waiting, granted: &granted) else { return false }
            turn = table.nextTurn()
            return true
        }
        turn?.open(0)
        // A granted entry stays put until its owner, told only here, releases it.
        while granted >= 0 {
            let notice = state.withLock { $0.takeNotice(granted) }
            notice.waiter?(Int64(bitPattern: notice.token.rawValue))
            granted = notice.next
        }
        return wasThere
    }
}

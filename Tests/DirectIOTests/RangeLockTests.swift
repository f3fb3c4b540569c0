// Who may hold what at once, in which order, and that nobody starves.
import DirectIO
import Testing
import Threads

@Suite struct RangeLockTests {
    /// Notes grants; `result` of the waiter is the token.
    final class Grants: @unchecked Sendable {
        private let list = Lock<[(token: UInt64, granted: RangeLock.Token)]>([])
        func waiter(_ token: UInt64) -> IOCompletion {
            IOCompletion(
                function: { context, token, result in
                    let grants = Unmanaged<Grants>.fromOpaque(context!).takeUnretainedValue()
                    let granted = RangeLock.Token(rawValue: UInt64(bitPattern: result))
                    grants.list.withLock { $0.append((token, granted)) }
                },
                context: Unmanaged.passUnretained(self).toOpaque(), token: token)
        }
        var order: [UInt64] { list.withLock { $0.map(\.token) } }
        func token(_ name: UInt64) -> RangeLock.Token? {
            list.withLock { $0.first { $0.token == name }?.granted }
        }
    }

    private func page(_ first: UInt64, _ count: Int = 1) -> PageRange {
        PageRange(offset: first * 4096, byteCount: count * 4096)
    }

    @Test func sameModesShareAndOthersExclude() throws {
        let lock = RangeLock(capacity: 8)
        let direct = try #require(lock.tryAcquire(page(0), .direct))
        #expect(lock.tryAcquire(page(0), .direct) != nil)
        #expect(lock.tryAcquire(page(0), .buffered) == nil)
        #expect(lock.tryAcquire(.wholeFile, .exclusive) == nil)
        #expect(lock.tryAcquire(page(1), .buffered) != nil)
        #expect(lock.tryAcquire(page(1), .buffered) != nil)
        #expect(lock.tryAcquire(page(1), .direct) == nil)
        #expect(lock.release(direct))
        #expect(!lock.release(direct))
        #expect(lock.statistics.doubleReleases == 1)
        // One byte past a page boundary is the next page; the last byte of it is not.
        #expect(PageRange(offset: 4095, byteCount: 1) == page(0))
        #expect(PageRange(offset: 4095, byteCount: 2) == page(0, 2))
    }

    @Test func anEarlierWaiterGoesFirst() throws {
        let lock = RangeLock(capacity: 8)
        let grants = Grants()
        let holder = try #require(lock.tryAcquire(page(0), .direct))
        guard case .waiting = lock.acquire(.wholeFile, .exclusive, waiter: grants.waiter(1)) else {
            Issue.record("exclusive was granted beside a holder")
            return
        }
        // Compatible with the holder, yet behind the exclusive request.
        #expect(lock.tryAcquire(page(5), .direct) == nil)
        guard case .waiting = lock.acquire(page(5), .direct, waiter: grants.waiter(2)) else {
            Issue.record("a later request overtook an earlier one")
            return
        }
        #expect(grants.order.isEmpty)
        lock.release(holder)
        #expect(grants.order == [1])
        lock.release(try #require(grants.token(1)))
        #expect(grants.order == [1, 2])
        lock.release(try #require(grants.token(2)))
        #expect(lock.statistics.held == 0 && lock.statistics.waiting == 0)
    }

    @Test func aCancelledWaiterMakesWay() throws {
        let lock = RangeLock(capacity: 8)
        let grants = Grants()
        let holder = try #require(lock.tryAcquire(page(0), .direct))
        guard case .waiting(let token) = lock.acquire(page(0), .buffered, waiter: grants.waiter(1)),
            case .waiting = lock.acquire(page(0), .direct, waiter: grants.waiter(2))
        else {
            Issue.record("granted too early")
            return
        }
        #expect(!lock.release(token))
        #expect(lock.cancel(token))
        #expect(grants.order == [2])
        #expect(!lock.cancel(token))
        lock.release(holder)
    }

    @Test func aFullTableIsToldAndBlockingCallersWaitTheirTurn() throws {
        let lock = RangeLock(capacity: 2)
        let grants = Grants()
        let tokens = [
            try #require(lock.tryAcquire(page(0), .direct)),
            try #require(lock.tryAcquire(page(1), .direct)),
        ]
        #expect(lock.tryAcquire(page(2), .direct) == nil)
        #expect(lock.acquire(page(2), .direct, waiter: grants.waiter(1)) == .full)
        let shared = SharedSemaphore(Semaphore())
        let thread = try #require(
            OwnedThread(name: "full") {
                let token = lock.acquireBlocking(PageRange(offset: 8192, byteCount: 1), .direct)
                shared.semaphore.signal()
                lock.release(token)
            })
        let wasEarly = shared.semaphore.wait(timeout: .milliseconds(20))
        #expect(!wasEarly)
        lock.release(tokens[0])
        shared.semaphore.wait()
        thread.join()
        #expect(lock.tryAcquire(page(2), .direct) != nil)
    }

    final class SharedSemaphore: Sendable {
        let semaphore: Semaphore
        init(_ semaphore: consuming Semaphore) { self.semaphore = semaphore }
    }

    /// Per page: how many hold it in each mode; checked at each grant.
    final class Model: Sendable {
        let pages = Lock([SIMD4<Int32>](repeating: .zero, count: 64))
        let violations = Lock(0)

        func change(_ range: ClosedRange<Int>, _ mode: RangeLockMode, by delta: Int32) {
            pages.withLock { pages in
                for page in range {
                    pages[page][Int(mode.rawValue)] += delta
                    let held = pages[page]
                    let kinds = (held[0] > 0 ? 1 : 0) + (held[1] > 0 ? 1 : 0) + Int(held[2])
                    if kinds > 1 || held.min() < 0 { violations.withLock { $0 += 1 } }
                }
            }
        }
    }

    @Test func fourThreadsNeverHoldConflictingRanges() throws {
        let seed = testSeed("RangeLock model")
        // Fewer entries than threads: waiting for a turn is part of the test.
        let lock = RangeLock(capacity: 3)
        let model = Model()
        let threads = try (0..<4).map { index in
            try #require(
                OwnedThread(name: "range-\(index)") {
                    var generator = SeededGenerator(seed: seed &+ UInt64(index))
                    for _ in 0..<3000 {
                        let first = Int.random(in: 0..<64, using: &generator)
                        let last = min(63, first + Int.random(in: 0..<6, using: &generator))
                        let kind = UInt8.random(in: 0..<20, using: &generator)
                        let mode: RangeLockMode =
                            kind == 0 ? .exclusive : kind < 8 ? .buffered : .direct
                        let range = PageRange(
                            offset: UInt64(first * 4096), byteCount: (last - first + 1) * 4096)
                        let token = lock.acquireBlocking(
                            mode == .exclusive ? .wholeFile : range, mode)
                        let held = mode == .exclusive ? 0...63 : first...last
                        model.change(held, mode, by: 1)
                        model.change(held, mode, by: -1)
                        lock.release(token)
                    }
                })
        }
        for thread in threads { thread.join() }
        #expect(model.violations.withLock { $0 } == 0)
        let statistics = lock.statistics
        #expect(statistics.held == 0 && statistics.waiting == 0 && statistics.doubleReleases == 0)
    }

    @Test func anExclusiveRequestIsNotStarvedByAStreamOfOthers() throws {
        let lock = RangeLock(capacity: 16)
        let stop = SharedSemaphore(Semaphore())
        let threads = try (0..<2).map { index in
            try #require(
                OwnedThread(name: "stream-\(index)") {
                    while !stop.semaphore.wait(timeout: .zero) {
                        let token = lock.acquireBlocking(
                            PageRange(offset: 0, byteCount: 4096), .direct)
                        lock.release(token)
                    }
                })
        }
        for _ in 0..<200 { lock.release(lock.acquireBlocking(.wholeFile, .exclusive)) }
        for _ in threads { stop.semaphore.signal() }
        for thread in threads { thread.join() }
        #expect(lock.statistics.held == 0)
    }
}

import Testing

@testable import Threads

@Suite struct LockTests {
    final class Shared: Sendable {
        let counter = Lock(0)
        let done = Semaphore()
    }

    @Test func fourThreadsLoseNoIncrement() throws {
        let shared = Shared()
        let threads = try (0..<4).map { index in
            try #require(
                OwnedThread(name: "adder-\(index)") {
                    for _ in 0..<10_000 { shared.counter.withLock { $0 += 1 } }
                    shared.done.signal()
                })
        }
        for _ in threads { shared.done.wait() }
        for thread in threads { thread.join() }
        #expect(shared.counter.withLock { $0 } == 40_000)
    }

    /// Two orders of two locks could wait for each other: stopped before they ever do.
    @Test func twoOrdersOfTwoLocksStopADebugBuild() async {
        await #expect(processExitsWith: .failure) { takeTwoLocks(inBothOrders: true) }
        await #expect(processExitsWith: .success) { takeTwoLocks(inBothOrders: false) }
    }

    @Test func aWaitWithALockHeldStopsADebugBuild() async {
        await #expect(processExitsWith: .failure) {
            let lock = Lock(0)
            let semaphore = Semaphore(1)
            lock.withLock { _ in semaphore.wait() }
        }
    }

    @Test func aSemaphoreTimesOut() {
        let semaphore = Semaphore()
        let early = semaphore.wait(timeout: .milliseconds(5))
        #expect(!early)
        semaphore.signal()
        let signalled = semaphore.wait(timeout: .seconds(5))
        #expect(signalled)
    }
}

// A function of its own: inside a macro's closure every line has the same number.
private func takeTwoLocks(inBothOrders: Bool) {
    let first = Lock(0)
    let second = Lock(0)
    for _ in 0..<2 { first.withLock { value in second.withLock { $0 += value } } }
    if inBothOrders { second.withLock { value in first.withLock { $0 += value } } }
}

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

    @Test func aSemaphoreTimesOut() {
        let semaphore = Semaphore()
        let early = semaphore.wait(timeout: .milliseconds(5))
        #expect(!early)
        semaphore.signal()
        let signalled = semaphore.wait(timeout: .seconds(5))
        #expect(signalled)
    }
}

// What a worker takes of the queue: not everything, where the submission itself does the I/O.
import Testing

@testable import DirectIO

@Suite struct QueueShareTests {
    private func makeCore(workers: Int) throws -> EngineCore {
        var configuration = IOEngine.Configuration()
        configuration.workers = workers
        // No worker is started: the test is one.
        return try EngineCore(configuration: configuration, pool: nil)
    }

    private func push(_ count: Int, to core: EngineCore) throws {
        let nothing = unsafe IOCompletion(function: { _, _, _ in }, context: nil, token: 0)
        for _ in 0..<count { #expect(core.push(.sync(fd: -1, dataOnly: true), nothing)) }
    }

    private func take(_ core: EngineCore, room: Int, shares: Bool) -> Int {
        let wishes = UnsafeMutablePointer<CancelWish>.allocate(capacity: QueueState.wishCapacity)
        defer { unsafe wishes.deallocate() }
        return unsafe core.take(
            worker: 0, room: room, shares: shares, finished: 0, sleeps: false, wishes: wishes
        ) { _ in }.count
    }

    @Test func aWorkerThatSharesLeavesHalfOfWhatWaits() throws {
        let core = try makeCore(workers: 2)
        try push(5, to: core)
        // 3 of 5, 1 of 2, and the last: what waits is always taken in the end.
        #expect([3, 1, 1, 0].map { _ in take(core, room: 64, shares: true) } == [3, 1, 1, 0])
    }

    @Test func aWorkerThatSharesTakesFewAtATime() throws {
        let core = try makeCore(workers: 2)
        try push(100, to: core)
        #expect(take(core, room: 64, shares: true) == QueueState.share)
        #expect(take(core, room: 2, shares: true) == 2)
        // Where the device takes its time it wants all that it can get.
        #expect(take(core, room: 64, shares: false) == 64)
    }
}

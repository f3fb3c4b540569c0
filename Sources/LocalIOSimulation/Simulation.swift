// One seed: a world, files, tasks that use them, and the checks of what they see.
internal import DirectIO
internal import LocalIO
internal import Logging
internal import PageCache
internal import Threads

/// A fault planted on purpose, which the checks have to find.
package enum Canary: String, CaseIterable, Sendable {
    case none
    /// Dirty pages are queued without setting writeback first.
    case skipsWriteback = "skips-writeback"
    /// A page whose write failed is forgotten instead of dirtied again.
    case dropsRedirty = "drops-redirty"
    /// A page goes by RPC and direct at the same time.
    case sharesPage = "shares-page"
}

/// What one seed came to.
package struct SeedResult: Sendable {
    package let seed: UInt64
    /// nil if everything held.
    package let failure: String?
    package let traceHash: UInt64
    package let steps: UInt64
    package let operations: Int
    /// The last events, oldest first.
    package let lastEvents: [String]
}

/// Runs seeds, one after the other, with threads and buffers that it keeps.
@safe
package final class Simulator {
    private var threads: TaskThreads
    private let cpu: Int?
    private var bouncePool: BufferPool
    private let canary: Canary
    private let operations: Int
    private let isTraced: Bool

    /// - Parameters:
    ///   - operations: how many reads, writes, syncs… a seed does.
    ///   - cpu: which of the CPUs the simulator keeps to; nil: any.
    /// - Returns: nil if there is no memory for the bounce buffers.
    package init?(operations: Int, canary: Canary = .none, cpu: Int? = nil, isTraced: Bool = false)
    {
        guard let pool = Self.makePool() else { return nil }
        bouncePool = pool
        self.cpu = cpu
        self.canary = canary
        self.operations = operations
        self.isTraced = isTraced
        threads = TaskThreads(cpu: cpu)
    }

    deinit { threads.stop() }

    /// So few buffers that they run out.
    private static func makePool() -> BufferPool? {
        BufferPool(classes: [
            .init(byteCount: 4 << 10, slabs: 2), .init(byteCount: 16 << 10, slabs: 2),
            .init(byteCount: 1 << 20, slabs: 1),
        ])
    }

    /// Runs one seed to its end or its first failure.
    package func run(seed: UInt64) -> SeedResult {
        let scheduler = Scheduler(seed: seed, threads: threads, trace: Trace(isPrinted: isTraced))
        scheduler.adopt(true)
        defer { scheduler.adopt(false) }
        var done = 0
        if let site = Site(
            scheduler: scheduler, bouncePool: bouncePool, canary: canary, operations: operations)
        {
            site.start()
            scheduler.runToEnd()
            if scheduler.failure == nil { site.checkEnd() }
            done = site.operationsDone
            site.end()
        } else {
            scheduler.fail("no memory for the page cache")
        }
        // Threads and buffers that were left in the middle of something are not used again.
        if scheduler.failure != nil {
            threads = TaskThreads(cpu: cpu)
            bouncePool = Self.makePool() ?? bouncePool
        }
        return SeedResult(
            seed: seed, failure: scheduler.failure, traceHash: scheduler.trace.hash,
            steps: scheduler.steps, operations: done, lastEvents: scheduler.trace.lastLines)
    }
}

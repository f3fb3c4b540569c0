// Everything of one seed: the host, the cache, the files with their models, and the tasks.
internal import DirectIO
internal import Glibc
internal import LocalIO
internal import Logging
internal import NFSTypes
internal import PageCache
internal import Threads

/// Touched with the baton held.
@safe
final class Site: @unchecked Sendable {
    let scheduler: Scheduler
    let host: SimulatedHost
    let cache: PageCache<SimulatedWorld>
    let world: SimulatedWorld
    let clock = ModelClock()
    private(set) var files: [CheckedFile] = []
    private let budget: UncommittedBudget
    private let bouncePool: BufferPool
    private let canary: Canary
    private let isStable: Bool
    private let wantedOperations: Int
    private let taskCount: Int
    private var running: Int
    private(set) var operationsDone = 0
    private var tags: UInt64 = 0
    private var droppedBytes: UInt64 = 0
    /// Invariants are asked after every so many steps.
    private let invariantsEvery: UInt64
    private var stepsWithoutProgress = 0
    private var openers: [(CheckedFile, CacheFileID, CacheOpenState, ErrorModel.Opener)] = []

    /// - Returns: nil if there is no memory for the cache.
    init?(scheduler: Scheduler, bouncePool: BufferPool, canary: Canary, operations: Int) {
        self.scheduler = scheduler
        self.bouncePool = bouncePool
        self.canary = canary
        wantedOperations = operations
        let faults = FaultPlan(scheduler)
        host = SimulatedHost(scheduler: scheduler, faults: faults, bouncePool: bouncePool)
        world = SimulatedWorld(scheduler: scheduler)
        budget = UncommittedBudget(
            commitThreshold: [8 << 10, 64 << 10, 1 << 20][scheduler.random(3)])
        taskCount = scheduler.random(1...5)
        running = taskCount
        let configuration = Self.configuration(scheduler, canary)
        isStable = configuration.stablePages && canary == .none
        // The planted bugs have to show in the bytes, not only in the cache's own bookkeeping.
        invariantsEvery = canary == .none ? (scheduler.oneIn(4) ? 1 : 16) : .max
        do throws(CacheError) {
            cache = try PageCache(configuration: configuration, world: world)
        } catch {
            return nil
        }
        world.cache = cache
        var logger = Logger(label: "simulation")
        logger.logLevel = .critical
        let fileCount = scheduler.random(1...3)
        for number in 0..<fileCount {
            let capacity = [16, 32, 64][scheduler.random(3)] * 4096
            let file = SimulatedFile(
                number: number, capacity: capacity, host: host, budget: budget,
                sharesPages: canary == .sharesPage, logger: logger)
            let isCached = !scheduler.oneIn(3)
            file.isStable = isStable || !isCached
            host.add(file)
            let checked = CheckedFile(
                file: file,
                model: FileModel(number: number, capacity: capacity, clock: clock),
                isCached: isCached)
            checked.regions = regions(capacity)
            files.append(checked)
        }
    }

    private static func configuration(
        _ scheduler: Scheduler, _ canary: Canary
    ) -> PageCacheConfiguration {
        var configuration = PageCacheConfiguration()
        configuration.byteCount = 64 * 4096
        configuration.maximumRequestByteCount = [4096, 16384, 65536][scheduler.random(3)]
        configuration.requests = scheduler.random(4...12)
        configuration.files = 4
        configuration.waiters = 64
        configuration.backgroundByteCount = scheduler.random(1...16) * 4096
        configuration.hardByteCount = scheduler.random(8...50) * 4096
        configuration.dirtyAge = [1_000_000, 20_000_000, 1_000_000_000][scheduler.random(3)]
        configuration.errorHold = [5_000_000, 100_000_000, 30_000_000_000][scheduler.random(3)]
        configuration.stablePages = scheduler.oneIn(2)
        configuration.readAheadByteCount = [0, 16384, 131_072][scheduler.random(3)]
        configuration.canary =
            switch canary {
            case .none, .sharesPage: .none
            case .skipsWriteback: .skipsWriteback
            case .dropsRedirty: .dropsRedirty
            }
        return configuration
    }

    /// Cuts a file into parts with one writer each, at any byte.
    private func regions(_ capacity: Int) -> [(start: Int, owner: Int)] {
        var result: [(start: Int, owner: Int)] = []
        var start = 0
        while start < capacity {
            result.append((start, scheduler.random(taskCount)))
            let length = scheduler.random(1...[700, 6000, 60_000][scheduler.random(3)])
            start += scheduler.oneIn(2) ? (length + 511) / 512 * 512 : length
        }
        return result
    }

    func nextTag() -> UInt64 {
        tags += 1
        return tags
    }

    // MARK: - Running

    func start() {
        scheduler.afterStep = { [unowned self] in stepEnded() }
        host.start()
        scheduler.spawn("flusher") { self.cache.runFlusher() }
        for number in 0..<taskCount {
            let share = (wantedOperations + number) / taskCount
            scheduler.spawn("user \(number)") {
                let user = User(number: number, site: self)
                for _ in 0..<share {
                    user.step()
                    self.operationsDone += 1
                    self.stepsWithoutProgress = 0
                }
                user.handOver()
                self.running -= 1
                self.scheduler.wake("users")
            }
        }
        scheduler.spawn("director") { self.direct() }
    }

    func keep(
        _ checked: CheckedFile, _ file: CacheFileID, _ open: CacheOpenState,
        _ opener: ErrorModel.Opener
    ) {
        openers.append((checked, file, open, opener))
    }

    /// After the users: everything is healthy again, closes, and must be as the model says.
    private func direct() {
        scheduler.waitUntil("users") { running == 0 }
        host.calmDown()
        scheduler.sleep(10_000_000)
        for index in openers.indices {
            var (checked, file, open, opener) = openers[index]
            // Twice: what the first one has to tell is old, the bytes must be there in the end.
            sync(checked, &opener) { () throws(CacheError) in try cache.fsync(file, &open) }
            close(checked, file, &open, &opener)
        }
        openers = []
        for checked in files {
            let begun = clock.tick()
            do throws(LocalIOError) {
                // A cached file, too: its last close may have failed before the world was healthy.
                try checked.file.flush()
                if !checked.isCached { checked.model.synced(begun) }
            } catch {
                scheduler.fail("the last commit of file \(checked.file.number): \(error)")
            }
        }
        cache.stop()
        // What was read ahead, and background commits, may still be on their way.
        scheduler.sleep(200_000_000)
        scheduler.note("end")
    }

    private func stepEnded() {
        notices()
        if invariantsEvery != .max, scheduler.steps % invariantsEvery == 0 {
            if let wrong = cache.checkInvariants() { scheduler.fail("page cache: \(wrong)") }
        }
        stepsWithoutProgress += 1
        if stepsWithoutProgress == 400_000 {
            scheduler.fail("no operation ends any more\n" + scheduler.places)
        }
        // A crash at any moment: what is on the medium must be what was promised.
        if scheduler.steps % 1024 == 0 {
            let checked = files[scheduler.random(files.count)]
            if let wrong = unsafe checked.model.checkMedium(checked.file.storage.survivors) {
                scheduler.fail("after a crash now: \(wrong)")
            }
        }
    }

    /// Bytes that the cache gave up are told to the model before anybody looks.
    func notices() {
        let now = cache.statistics.droppedBytes
        guard now != droppedBytes else { return }
        scheduler.note("bytes given up", Int(now - droppedBytes))
        droppedBytes = now
        // Whose bytes they were is certain only if one file alone has failed pages.
        let meant = files.filter { $0.errors.mayHaveFailedPages }
        for checked in meant {
            checked.model.lost()
            checked.errors.dropped(isCertain: meant.count == 1 && checked.errors.hasFailedPages)
        }
    }

    /// Closes; what the last opener's close could not write is given up.
    func close(
        _ checked: CheckedFile, _ file: CacheFileID, _ open: inout CacheOpenState,
        _ opener: inout ErrorModel.Opener
    ) {
        let succeeded = sync(checked, &opener) { () throws(CacheError) in
            try cache.close(file, &open)
        }
        checked.openCount -= 1
        scheduler.note("closed", checked.file.number, succeeded ? 1 : 0)
        if !succeeded, checked.openCount == 0 { checked.model.lost() }
        if !succeeded, host.isCalm { scheduler.fail("the last close failed in a healthy world") }
    }

    /// Runs an fsync or close, and checks what it says.
    /// - Returns: whether it succeeded.
    @discardableResult
    func sync(
        _ checked: CheckedFile, _ opener: inout ErrorModel.Opener,
        _ body: () throws(CacheError) -> Void
    ) -> Bool {
        notices()
        let begun = clock.tick()
        let failures = checked.errors.count
        var failed = false
        do throws(CacheError) {
            try body()
        } catch {
            failed = true
            scheduler.note("fsync failed", checked.file.number, Int(error.errno))
        }
        notices()
        if let wrong = checked.errors.fsyncEnds(&opener, begun: failures, failed: failed) {
            scheduler.fail("fsync of file \(checked.file.number): \(wrong)")
            return false
        }
        if !failed {
            checked.model.synced(begun)
            scheduler.note("fsync", checked.file.number)
        }
        return !failed
    }

    // MARK: - The end

    /// What must hold when every task has ended.
    func checkEnd() {
        for checked in files {
            let storage = checked.file.storage
            let ranges = checked.file.state.ranges.statistics
            if let wrong = unsafe checked.model.checkMedium(storage.survivors) {
                return scheduler.fail("after everything was closed: \(wrong)")
            }
            if ranges.held != 0 || ranges.waiting != 0 || ranges.doubleReleases != 0 {
                return scheduler.fail("range lock of file \(checked.file.number): \(ranges)")
            }
            let ticket = checked.model.readBegins()
            let count = checked.file.storage.size
            let target = UnsafeMutableRawBufferPointer.allocate(byteCount: count + 1, alignment: 8)
            defer { unsafe target.deallocate() }
            guard let address = target.baseAddress else { return }
            _ = unsafe storage.readCached(address, 0, count)
            if let wrong = unsafe checked.model.readEnds(
                ticket, UnsafeRawBufferPointer(rebasing: target[..<count]), wanted: count, at: 0)
            {
                return scheduler.fail("at the server, in the end: \(wrong)")
            }
        }
        if !cache.isIdle { scheduler.fail("the cache is not idle in the end") }
        if let wrong = cache.checkInvariants() { scheduler.fail("page cache: \(wrong)") }
        let statistics = cache.statistics
        if statistics.dirtyBytes != 0 || statistics.writebackBytes != 0 {
            scheduler.fail("\(statistics.dirtyBytes) bytes are dirty in the end")
        }
        if host.queued != 0 || host.rpcInFlight != 0 {
            scheduler.fail("\(host.queued) local and \(host.rpcInFlight) remote I/Os never ended")
        }
        if budget.usedBytes != 0 {
            scheduler.fail("\(budget.usedBytes) uncommitted bytes are kept in the end")
        }
        if bouncePool.statistics.leased != 0 {
            scheduler.fail("a bounce buffer was not given back")
        }
    }

    /// Lets go of everything, so that nothing refers to itself.
    func end() {
        world.detach()
        scheduler.end()
    }
}

// Big writers beside one small file that is fsynced again and again: who makes progress, how long
// an fsync takes, and what the dirty pages and the process grow to.
internal import Glibc
internal import LocalIO
internal import Synchronization
internal import Threads

/// What the threads of the load share.
private final class LoadBoard: Sendable {
    struct State {
        var writers: [WriterProgress]
        var fsyncs: [UInt64] = []
        var smallWrites: [UInt64] = []
        var failure: BenchError?
    }

    let state: Lock<State>
    let stops = Atomic<Bool>(false)
    /// Monotonic nanoseconds of the end; the load also ends early at `stops`.
    let end: UInt64

    init(writers: Int, end: UInt64) {
        state = Lock(State(writers: Array(repeating: WriterProgress(), count: writers)))
        self.end = end
    }

    var isOver: Bool {
        stops.load(ordering: .relaxed) || StopFlag.signal != 0 || monotonicNanoseconds() >= end
    }

    func fail(_ error: BenchError) {
        state.withLock { $0.failure = $0.failure ?? error }
        stops.store(true, ordering: .relaxed)
    }
}

/// Runs a plan. Use once, from one thread.
final class WritebackRun {
    private let plan: WritebackPlan
    private let progress: (String) -> Void
    private let folder = "localio-bench-" + String(UInt64.random(in: 0...UInt64.max), radix: 16)

    init(_ plan: WritebackPlan, progress: @escaping (String) -> Void) {
        self.plan = plan
        self.progress = progress
    }

    /// Whatever happens, files, mounts and limits are gone afterwards.
    func run() throws(BenchError) -> WritebackReport {
        let stage = try WritebackStage(plan, folder: folder)
        defer { stage.close() }
        var report = WritebackReport(plan: plan, host: stage.host, locality: stage.locality)
        report.residentAtStart = ProcessUse.now().residentBytes
        let small = try stage.open("small")
        defer { _ = small.close() }
        progress("the small file alone")
        let idle = LoadBoard(
            writers: 0, end: monotonicNanoseconds() + plan.idle.nanosecondCount)
        Self.syncSmall(small, idle)
        if let failure = idle.state.withLock({ $0.failure }) { throw failure }
        try StopFlag.check()
        report.idleFsync = LatencySummary(idle.state.withLock { $0.fsyncs })
        var files: [any BlockingFile] = []
        defer { for file in files { _ = file.close() } }
        for number in 0..<plan.writers { files.append(try stage.open("writer-\(number)")) }
        try load(files, small, stage, &report)
        return report
    }

    private func load(
        _ files: [any BlockingFile], _ small: any BlockingFile, _ stage: WritebackStage,
        _ report: inout WritebackReport
    ) throws(BenchError) {
        ProcessUse.resetPeak()
        let start = monotonicNanoseconds()
        let board = LoadBoard(
            writers: files.count, end: start + plan.runtime.nanosecondCount)
        var threads: [OwnedThread] = []
        for (number, file) in files.enumerated() {
            let plan = plan
            threads += [
                OwnedThread(name: "writer-\(number)") { Self.write(plan, file, number, board) }
            ].compactMap { $0 }
        }
        threads += [OwnedThread(name: "fsync") { Self.syncSmall(small, board) }].compactMap { $0 }
        guard threads.count == files.count + 1 else {
            board.fail(BenchError("no more threads; lower --writers"))
            for thread in threads { thread.join() }
            throw BenchError("no more threads; lower --writers")
        }
        var nextSample = start
        while !board.isOver {
            let now = monotonicNanoseconds()
            if now >= nextSample {
                report.samples.append(sample(stage, board, now - start))
                nextSample = now + 50_000_000
                progress("under load: \(decimal(Double(now - start) / 1e9, places: 0)) s")
            }
            usleep(10_000)
        }
        for thread in threads { thread.join() }
        report.loadNanoseconds = monotonicNanoseconds() - start
        progress("draining")
        let drain = monotonicNanoseconds()
        for (number, file) in files.enumerated() {
            let status = file.commit()
            if status < 0 { throw .system("fsync of writer-\(number)", errno: Int32(status)) }
        }
        report.drainNanoseconds = monotonicNanoseconds() - drain
        report.peakResidentBytes = ProcessUse.peakResidentBytes
        try finish(&report, board, stage)
    }

    private func sample(
        _ stage: WritebackStage, _ board: LoadBoard, _ elapsed: UInt64
    ) -> WritebackSample {
        let cache = stage.cache
        return WritebackSample(
            seconds: Double(elapsed) / 1e9, dirtyBytes: cache?.dirtyBytes,
            writebackBytes: cache?.writebackBytes,
            acceptedBytes: board.state.withLock { $0.writers.map(\.bytes).reduce(0, +) },
            residentBytes: ProcessUse.now().residentBytes)
    }

    private func finish(
        _ report: inout WritebackReport, _ board: LoadBoard, _ stage: WritebackStage
    ) throws(BenchError) {
        let state = board.state.withLock { $0 }
        if let failure = state.failure { throw failure }
        try StopFlag.check()
        report.writers = state.writers
        report.loadFsync = LatencySummary(state.fsyncs)
        report.loadSmallWrite = LatencySummary(state.smallWrites)
        report.groupPeakBytes = stage.groupPeakBytes
        report.fallbacks = stage.fallbacks
        guard let cache = stage.cache else { return }
        report.throttledNanoseconds = cache.throttledNanoseconds
        report.hardStops = cache.hardStops
        report.drainRate = cache.drainRate
        report.requestBytes = Int(cache.writtenBytes / max(cache.writtenRequests, 1))
    }

    // MARK: - Threads

    /// Writes a file round and round as fast as it is let.
    private static func write(
        _ plan: WritebackPlan, _ file: any BlockingFile, _ number: Int, _ board: LoadBoard
    ) {
        let block = UnsafeMutableRawBufferPointer.allocate(
            byteCount: plan.blockSize, alignment: 4096)
        defer { unsafe block.deallocate() }
        unsafe BlockPattern(seed: UInt64(number)).fill(block, offset: 0, generation: 1)
        let blocks = plan.fileSize / plan.blockSize
        var index = 0
        while !board.isOver {
            let offset = UInt64(index % blocks * plan.blockSize)
            let start = monotonicNanoseconds()
            let status = unsafe file.write(from: UnsafeRawBufferPointer(block), at: offset)
            let took = monotonicNanoseconds() - start
            guard status == plan.blockSize else {
                return board.fail(
                    status < 0
                        ? .system("write of writer-\(number) at \(offset)", errno: Int32(status))
                        : BenchError("write of writer-\(number) at \(offset): \(status) bytes"))
            }
            board.state.withLock { state in
                state.writers[number].bytes += status
                state.writers[number].longestWrite = max(
                    state.writers[number].longestWrite, took)
            }
            index += 1
        }
    }

    /// Writes 4 KiB and fsyncs, a hundred times a second at most.
    private static func syncSmall(_ file: any BlockingFile, _ board: LoadBoard) {
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { unsafe block.deallocate() }
        var generation: UInt32 = 0
        while !board.isOver {
            generation &+= 1
            unsafe BlockPattern(seed: 1).fill(block, offset: 0, generation: generation)
            let start = monotonicNanoseconds()
            let written = unsafe file.write(from: UnsafeRawBufferPointer(block), at: 0)
            let middle = monotonicNanoseconds()
            let status = written == 4096 ? file.commit() : min(written, -1)
            let end = monotonicNanoseconds()
            guard status == 0 else {
                return board.fail(.system("write and fsync of small", errno: Int32(status)))
            }
            board.state.withLock { state in
                state.smallWrites.append(middle - start)
                state.fsyncs.append(end - middle)
            }
            usleep(10_000)
        }
    }
}

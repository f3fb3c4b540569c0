// What an I/O costs the processor beside fio's io_uring engine: the same file, the same depth, in
// turns. A figure here is I/Os per second of processor time, user and system together.
internal import DirectIO
internal import Glibc
internal import SystemPackage

/// Measures 4 KiB random I/O at depth 16. Use once, from one thread.
final class ProcessorRun {
    static let blockSize = 4096
    static let depth = 16
    static let patterns: [AccessPattern] = [.randread, .randwrite]
    private static let roads = ["raw", "localio", "fio"]

    private let fio: String
    private let file: BenchFile
    /// Holds a block as ours are, for fio to write: on zram the bytes decide what a write costs.
    private let sample: TemporaryDirectory
    private let grid: BlockGrid
    private let pattern: BlockPattern
    private let generations: GenerationTable
    private let sessions: [String: any RoadSession]

    /// - Parameter url: of a server that exports `directory`.
    init(
        directory: FilePath, url: String, fileByteCount: Int, seed: UInt64
    ) throws(BenchError) {
        guard let fio = ChildProcess.find("fio") else {
            throw BenchError("fio is not installed; run Config/setup.sh")
        }
        self.fio = fio
        let file = try BenchFile(in: directory, size: fileByteCount)
        self.file = file
        grid = BlockGrid(fileSize: fileByteCount, blockSize: Self.blockSize, misalignment: 0)
        pattern = BlockPattern(seed: seed)
        generations = GenerationTable(blockCount: grid.blockCount)
        sample = try Self.makeSample(pattern)
        let raw = try RawSession(path: file.path, road: .raw)
        let client = try ClientSession(
            road: .localio, url: url, exportRoot: directory, file: file.name, create: false,
            policy: .local)
        sessions = ["raw": raw, "localio": client]
        guard client.isLocal else {
            close()
            throw BenchError("localio ran \(client.locality)")
        }
    }

    private static let sampleName = "block"

    private static func makeSample(
        _ pattern: BlockPattern
    ) throws(BenchError) -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: blockSize, alignment: 8)
        defer { unsafe block.deallocate() }
        unsafe pattern.fill(block, offset: 0, generation: 1)
        let path = directory.path.appending(sampleName)
        let copy = try PlainFile(path: path, create: true)
        defer { _ = copy.close() }
        let moved = unsafe copy.write(from: UnsafeRawBufferPointer(block), at: 0)
        guard moved == block.count else {
            throw .system("cannot write \(path)", errno: Int32(min(moved, -1)))
        }
        return directory
    }

    func close() {
        sample.remove()
        for session in sessions.values { session.close() }
        file.remove()
    }

    /// - Parameters:
    ///   - slice: of one road in one round; fio tells whole per cents of it.
    ///   - show: takes a short text whenever something else is being done.
    func run(
        _ access: AccessPattern, rounds: Int, slice: Duration, show: (String) -> Void
    ) throws(BenchError) -> CompareCell {
        try fill()
        var samples: [String: [(cpu: Double, rate: Double)]] = [:]
        for (round, index) in turns(of: Self.roads.count, rounds: rounds) {
            try StopFlag.check()
            let road = Self.roads[index]
            show("\(access.rawValue): \(road), round \(round + 1) of \(rounds)")
            try file.setPageCache(.drop)
            samples[road, default: []].append(try once(road, access, slice, UInt64(round)))
        }
        let roads = Self.roads.compactMap { name in
            samples[name].map { taken in
                CompareRoad(
                    name: name, rates: taken.map { 1e6 / max($0.cpu, 0.001) },
                    bytesPerSecond: Spread(taken.map(\.rate)).median * Double(Self.blockSize),
                    cpuMicroseconds: Spread(taken.map(\.cpu)).median)
            }
        }
        return CompareCell(
            section: "processor", rw: access.rawValue, blockSize: Self.blockSize,
            depth: Self.depth, jobs: 1, roads: roads)
    }

    /// Every block anew: fio leaves its own behind.
    private func fill() throws(BenchError) {
        guard let raw = sessions["raw"] else { return }
        _ = try JobRunner.run([job(.write, .everyBlock, 0)], on: raw) { nil }
    }

    private func job(_ access: AccessPattern, _ extent: Job.Extent, _ round: UInt64) -> Job {
        Job(
            point: WorkloadPoint(
                pattern: access, blockSize: Self.blockSize, depth: Self.depth, jobs: 1),
            grid: grid, region: 0..<grid.blockCount, extent: extent, verify: false,
            pattern: pattern, generations: generations, seed: mix(pattern.seed &+ round))
    }

    private func once(
        _ road: String, _ access: AccessPattern, _ slice: Duration, _ round: UInt64
    ) throws(BenchError) -> (cpu: Double, rate: Double) {
        guard let session = sessions[road] else { return try runFio(access, slice) }
        let end = monotonicNanoseconds() + slice.nanosecondCount
        let totals = try JobRunner.run([job(access, .until(end), round)], on: session) { nil }
        return (totals.sample.cpuMicroseconds, totals.sample.iops)
    }

    private func runFio(
        _ access: AccessPattern, _ slice: Duration
    ) throws(BenchError) -> (cpu: Double, rate: Double) {
        let words = Fio.words(
            file: file.path.string, byteCount: grid.blockCount * Self.blockSize,
            blockSize: Self.blockSize, access: access)
        let output = try ChildProcess.mustRun(
            fio,
            words + Fio.words(runtime: slice) + [
                "--direct=1", "--ioengine=io_uring", "--iodepth=\(Self.depth)",
                "--buffer_pattern='\(sample.path.appending(Self.sampleName))'",
            ])
        return try Self.figure(output, writes: access.writes)
    }

    /// Microseconds of processor time per I/O, and I/Os a second.
    static func figure(
        _ output: String, writes: Bool
    ) throws(BenchError) -> (cpu: Double, rate: Double) {
        let figures = try FioFigures(output, writes: writes)
        guard figures.kibibytes > 0, figures.milliseconds > 0 else {
            throw BenchError("fio: moved nothing")
        }
        let operations = figures.kibibytes * 1024 / Double(blockSize)
        return (
            cpu: figures.processorPercent / 100 * figures.milliseconds * 1000 / operations,
            rate: operations / figures.milliseconds * 1000
        )
    }
}

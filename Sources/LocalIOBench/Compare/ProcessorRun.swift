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
    /// A block as ours are: bytes that compress as well must not make fio's writes dearer.
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
        sample = try TemporaryDirectory()
        let raw = try RawSession(path: file.path, road: .raw)
        let client = try ClientSession(
            road: .localio, url: url, exportRoot: directory, file: file.name, create: false,
            policy: .local)
        sessions = ["raw": raw, "localio": client]
        guard client.isLocal else {
            close()
            throw BenchError("localio ran \(client.locality)")
        }
        try writeSample()
    }

    private var samplePath: String { sample.path.string + "/block" }

    private func writeSample() throws(BenchError) {
        let block = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Self.blockSize, alignment: 8)
        defer { unsafe block.deallocate() }
        unsafe pattern.fill(block, offset: 0, generation: 1)
        let copy = try PlainFile(path: FilePath(samplePath), create: true)
        defer { _ = copy.close() }
        let moved = unsafe copy.write(from: UnsafeRawBufferPointer(block), at: 0)
        guard moved == block.count else {
            throw .system("cannot write \(samplePath)", errno: Int32(min(moved, -1)))
        }
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
        for round in 0..<rounds {
            for turn in Self.roads.indices {
                try StopFlag.check()
                let road = Self.roads[(turn + round) % Self.roads.count]
                show("\(access.rawValue): \(road), round \(round + 1) of \(rounds)")
                try file.setPageCache(.drop)
                samples[road, default: []].append(try once(road, access, slice, UInt64(round)))
            }
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

    /// Every block anew, with bytes that do not compress: fio leaves its own behind.
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
        let output = try ChildProcess.mustRun(
            fio,
            [
                "--name=processor", "--filename=\(file.path)", "--size=\(grid.blockCount * 4096)",
                "--minimal", "--terse-version=3", "--randrepeat=0", "--norandommap", "--thread",
                "--allow_file_create=0", "--fallocate=none", "--overwrite=1", "--direct=1",
                "--bs=4k", "--rw=\(access.rawValue)", "--ioengine=io_uring",
                "--iodepth=\(Self.depth)", "--time_based",
                "--runtime=\(slice.nanosecondCount / 1_000_000)ms",
                "--buffer_pattern='\(samplePath)'",
            ])
        return try Self.figure(output, writes: access.writes)
    }

    /// fio's terse output (version 3, semicolons): KiB and milliseconds of reads from the sixth
    /// field on, of writes from the 47th; user and system per cent are the 88th and 89th.
    static func figure(
        _ output: String, writes: Bool
    ) throws(BenchError) -> (cpu: Double, rate: Double) {
        let line = output.split(separator: "\n").first { $0.hasPrefix("3;fio") }
        let fields = line?.split(separator: ";", omittingEmptySubsequences: false) ?? []
        func number(_ field: Int) -> Double? {
            guard fields.count > field else { return nil }
            let text = fields[field]
            return Double(text.hasSuffix("%") ? text.dropLast() : text)
        }
        let first = writes ? 46 : 5
        guard let kibibytes = number(first), let milliseconds = number(first + 3),
            let user = number(87), let system = number(88), kibibytes > 0, milliseconds > 0
        else {
            let said = output.split(separator: "\n").last.map(String.init) ?? "nothing"
            throw BenchError("fio: \(said)")
        }
        let operations = kibibytes * 1024 / Double(blockSize)
        return (
            cpu: (user + system) / 100 * milliseconds * 1000 / operations,
            rate: operations / milliseconds * 1000
        )
    }
}

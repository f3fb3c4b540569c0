// `localio-bench soak`: a great many I/Os through one client, whose memory must not grow.
internal import CLinux
internal import Glibc
internal import LocalIO
internal import SystemPackage
internal import Threads

/// The process at a moment of the soak.
struct SoakSample: Sendable {
    var operations: Int
    var seconds: Double
    var residentBytes: Int
    /// Bytes that malloc has handed out.
    var heapBytes: Int
}

/// What a soak found.
struct SoakReport: Sendable {
    var plan: SoakPlan
    var host: BenchReport.Host
    /// At about each tenth of the I/Os; the first is the measure of the others.
    var samples: [SoakSample] = []
    var fallbacks: [String: Int] = [:]

    /// Resident bytes that came after the first tenth.
    var growth: Int {
        guard let first = samples.first, let most = samples.map(\.residentBytes).max() else {
            return 0
        }
        return most - first.residentBytes
    }

    var isFlat: Bool { growth <= plan.allowed }

    var text: String {
        var text = "        I/Os   seconds  I/Os per s  resident KiB  heap KiB\n"
        func column(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(width - text.count, 1)) + text
        }
        for sample in samples {
            let rate = Double(sample.operations) / max(sample.seconds, 0.001)
            text += column(String(sample.operations), 12)
                + column(decimal(sample.seconds, places: 1), 10)
                + column(decimal(rate, places: 0), 12)
                + column(String(sample.residentBytes >> 10), 14)
                + column(String(sample.heapBytes >> 10), 10) + "\n"
        }
        let ways = plan.ways.map(\.rawValue).joined(separator: ", ")
        let roads = fallbacks.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        text += "\n\(plan.pattern.rawValue) \(ByteSize.text(plan.blockSize)), depth "
            + "\(plan.depth), by \(ways); device \(plan.device.name), server "
            + "\(plan.server.name), \(host.fileSystem), kernel \(host.kernel); seed \(plan.seed)\n"
        text += "fall-backs: \(roads.isEmpty ? "none" : roads.joined(separator: ", "))\n"
        return text + "resident memory grew by \(growth >> 10) KiB after the first tenth, "
            + "\(plan.allowed >> 10) are allowed\n"
    }

    /// The stable form for programs; `schema` changes when a key changes its meaning.
    var json: JSON {
        .object([
            ("schema", .integer(1)), ("ios", .integer(plan.operations)),
            ("rw", .string(plan.pattern.rawValue)), ("bs", .integer(plan.blockSize)),
            ("iodepth", .integer(plan.depth)),
            ("ways", .array(plan.ways.map { .string($0.rawValue) })),
            ("device", .string(plan.device.name)), ("server", .string(plan.server.name)),
            ("kernel", .string(host.kernel)), ("seed", .unsigned(plan.seed)),
            (
                "samples",
                .array(
                    samples.map { sample in
                        .object([
                            ("ios", .integer(sample.operations)),
                            ("seconds", .number(sample.seconds, places: 2)),
                            ("resident_bytes", .integer(sample.residentBytes)),
                            ("heap_bytes", .integer(sample.heapBytes)),
                        ])
                    })
            ),
            (
                "fallbacks",
                .object(fallbacks.sorted { $0.key < $1.key }.map { ($0.key, .integer($0.value)) })
            ),
            ("growth_bytes", .integer(growth)), ("allowed_bytes", .integer(plan.allowed)),
        ])
    }
}

/// One client, one file, a job for each way.
private final class SoakSession: RoadSession {
    let road = BenchRoad.localio
    let client: LocalIOClient
    private let file: LocalIOFile
    private let plan: SoakPlan
    /// The next way that a job is to take.
    private let next = Lock(0)

    init(_ plan: SoakPlan, url: String, directory: FilePath, name: String) throws(BenchError) {
        self.plan = plan
        client = try ClientSession.connect(url, locality: .exportRoot(directory))
        do throws(LocalIOError) {
            file = try client.openBlocking(name, .readWrite)
        } catch {
            client.closeBlocking()
            throw BenchError("cannot open \(name) at \(url): \(error)")
        }
    }

    var fallbacks: [String: Int] { client.fallbackCounts }

    /// I/Os that have ended.
    var operations: Int {
        client.statistics().roads.values.reduce(0) { $0 + Int($1.operations) }
    }

    func run(_ job: Job) throws(BenchError) -> JobResult {
        let turn = next.withLock { next in
            defer { next += 1 }
            return next
        }
        switch plan.ways[turn % plan.ways.count] {
        case .channel:
            var driver = try ChannelDriver(client: client, file: file, depth: job.point.depth)
            return try job.run(&driver, road: road)
        case .queue:
            var driver = QueueDriver(file: file, depth: job.point.depth)
            return try job.run(&driver, road: road)
        case .inline:
            var driver = BlockingDriver(file: ExportFile(file), fsyncEvery: nil)
            return try job.run(&driver, road: road)
        }
    }

    func commit() throws(BenchError) {
        do throws(LocalIOError) {
            try file.commitBlocking()
        } catch { throw BenchError("commit: \(error)") }
    }

    func close() {
        do throws(LocalIOError) { try file.closeBlocking() } catch {}
        client.closeBlocking()
    }
}

/// How the jobs ended.
private final class SoakEnd: Sendable {
    let semaphore = Semaphore()
    let failure = Lock<BenchError?>(nil)
}

/// Runs a soak. Use once, from one thread.
struct SoakRun {
    let plan: SoakPlan
    let show: (String) -> Void

    func run() throws(BenchError) -> SoakReport {
        let place = try MeasuredPlace(
            plan.device, byteCount: plan.fileByteCount * 2 + (512 << 20), show: show)
        defer { place.remove() }
        let server = try PrivateServer.start(plan.server, exporting: place.directory)
        defer { server.stop() }
        let file = try BenchFile(in: place.directory, size: plan.fileByteCount)
        defer { file.remove() }
        let session = try SoakSession(
            plan, url: server.url, directory: place.directory, name: file.name)
        defer { session.close() }
        var report = SoakReport(
            plan: plan,
            host: HostFacts.gather(directory: place.directory, geometry: file.geometry))
        let table = GenerationTable(blockCount: grid.blockCount)
        try fill(file.path, table)
        report.samples = try soak(session, table)
        report.fallbacks = session.fallbacks
        return report
    }

    private var grid: BlockGrid {
        BlockGrid(fileSize: plan.fileByteCount, blockSize: plan.blockSize, misalignment: 0)
    }

    private func jobs(
        _ extent: Job.Extent, _ pattern: AccessPattern, _ count: Int, _ table: GenerationTable
    ) -> [Job] {
        let grid = grid
        return (0..<count).map { number in
            Job(
                point: WorkloadPoint(
                    pattern: pattern, blockSize: plan.blockSize, depth: plan.depth, jobs: count),
                grid: grid, region: grid.region(job: number, of: count), extent: extent,
                verify: plan.verify, pattern: BlockPattern(seed: plan.seed), generations: table,
                seed: mix(plan.seed &+ UInt64(number)))
        }
    }

    /// Generation 1 of every block.
    private func fill(_ path: FilePath, _ table: GenerationTable) throws(BenchError) {
        show("filling \(ByteSize.text(plan.fileByteCount))")
        let raw = try RawSession(path: path, road: .raw)
        _ = try JobRunner.run(jobs(.everyBlock, .write, 1, table), on: raw) { nil }
    }

    /// The jobs run on threads of their own; this one looks on.
    private func soak(
        _ session: SoakSession, _ table: GenerationTable
    ) throws(BenchError) -> [SoakSample] {
        let power = JobSwitch()
        let jobs = jobs(.whileOn(power), plan.pattern, plan.ways.count, table)
        let end = SoakEnd()
        let worker = OwnedThread(name: "soak") {
            do throws(BenchError) {
                _ = try JobRunner.run(jobs, on: session) { nil }
            } catch { end.failure.withLock { $0 = error } }
            end.semaphore.signal()
        }
        guard let worker else { throw BenchError("no more threads") }
        let samples = watch(session, power, end)
        power.turnOff()
        worker.join()
        if let failure = end.failure.withLock({ $0 }) { throw failure }
        return samples
    }

    /// Samples at each tenth of the I/Os, until all are done or the jobs have ended by themselves.
    private func watch(
        _ session: SoakSession, _ power: JobSwitch, _ end: SoakEnd
    ) -> [SoakSample] {
        let start = monotonicNanoseconds()
        var samples: [SoakSample] = []
        while !end.semaphore.wait(timeout: .milliseconds(100)) {
            let done = session.operations
            let seconds = Double(monotonicNanoseconds() - start) / 1e9
            let use = ProcessUse.now()
            show(
                "\(done) of \(plan.operations) I/Os, "
                    + "\(decimal(Double(done) / max(seconds, 0.001), places: 0)) a second, "
                    + "\(use.residentBytes >> 10) KiB resident")
            if done >= plan.operations * (samples.count + 1) / 10 {
                samples.append(
                    SoakSample(
                        operations: done, seconds: seconds, residentBytes: use.residentBytes,
                        heapBytes: Int(clinux_heap_bytes())))
            }
            if done >= plan.operations { break }
        }
        return samples
    }
}

extension BenchCommand {
    /// A great many I/Os; 1 if the process grew by more than is allowed.
    package static func soak(_ arguments: SoakArguments) -> Int32 {
        showingProgress { progress throws(BenchError) in
            let plan = try SoakPlan(arguments)
            let output = try ReportFile(plan.output)
            let report = try SoakRun(plan: plan) { progress.show($0) }.run()
            progress.clear()
            try output.write(plan.isJSON ? report.json.text() + "\n" : report.text)
            guard report.isFlat else {
                complain(
                    "resident memory grew by \(report.growth >> 10) KiB, more than the "
                        + "\(plan.allowed >> 10) KiB of --allowed")
                return 1
            }
            return 0
        }
    }
}

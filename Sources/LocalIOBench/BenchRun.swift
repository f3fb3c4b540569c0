// One run from its plan to its report: server, file, roads, rounds, proof, and everything gone.
internal import Glibc
internal import SystemPackage
internal import Threads

/// Where a run's file lies and who serves it.
private struct Stage {
    var server: (any NFSServerFixture)?
    var url: String
    /// The export's directory on this host; nil for a server elsewhere.
    var directory: FilePath?
    var temporary: TemporaryDirectory?
}

/// Runs a plan. Use once, from one thread.
package final class BenchRun {
    private let plan: BenchPlan
    private let progress: (String) -> Void
    private var stage: Stage?
    private var file: BenchFile?
    private var raw: (any RoadSession)?
    private var direct: RawSession?
    private var clients: [any ClientRoadSession] = []
    private var sessions: [any RoadSession] = []
    private var notes: [String] = []
    private var grid: BlockGrid?
    private var generations = GenerationTable(blockCount: 0)
    private let pattern: BlockPattern

    /// - Parameter progress: takes a short text whenever something else is being done.
    package init(_ plan: BenchPlan, progress: @escaping (String) -> Void = { _ in }) {
        self.plan = plan
        self.progress = progress
        pattern = BlockPattern(seed: plan.seed)
    }

    /// Measures everything. Whatever happens, the server, files and mounts are gone afterwards.
    package func run() throws(BenchError) -> BenchReport {
        defer { tearDown() }
        do {
            try open()
            var results: [BenchResult] = []
            for (number, point) in plan.points.enumerated() {
                results += try measure(point, "\(number + 1)/\(plan.points.count)")
            }
            return report(results)
        } catch {
            throw explained(error)
        }
    }

    /// A dead server explains every other failure. The kernel closes a killed process's sockets
    /// before its parent can reap it (kernel/exit.c, do_exit): the road's error may come first,
    /// so that a server gets a second to be seen dead.
    private func explained(_ error: BenchError) -> BenchError {
        guard case .failure = error.kind, let server = stage?.server,
            poll(timeout: .seconds(1), until: { server.processIdentifier == 0 })
        else { return error }
        return BenchError("the \(server.name) server died during the run (\(error.message))")
    }

    private func tearDown() {
        for session in sessions { session.close() }
        sessions = []
        clients = []
        raw = nil
        direct = nil
        file?.remove()
        stage?.server?.stop()
        stage?.temporary?.remove()
        stage = nil
    }

    // MARK: - Opening

    private func open() throws(BenchError) {
        progress("starting")
        let stage = try makeStage()
        self.stage = stage
        if let directory = stage.directory {
            file = try BenchFile(in: directory, size: plan.fileSize)
        }
        try checkDirectIO()
        try openRaw()
        let remoteName = BenchFile.uniqueName
        for road in plan.roads where road.isClient {
            try StopFlag.check()
            let create = file == nil && clients.isEmpty
            let client = try connect(road, stage, name: file?.name ?? remoteName, create: create)
            clients.append(client)
            if create { try client.setSize(plan.fileSize) }
            if road != .rpc && !client.isLocal {
                notes.append("\(road.rawValue) ran \(client.locality)")
            }
        }
        // In the order of the command line, for the rotation of rounds.
        for road in plan.roads {
            if road == .raw, let raw { sessions.append(raw) }
            if road == .direct, let direct { sessions.append(direct) }
            if let client = clients.first(where: { $0.road == road }) { sessions.append(client) }
        }
        guard !sessions.isEmpty else {
            throw BenchError(notes.first ?? "no road can run here")
        }
    }

    private func connect(
        _ road: BenchRoad, _ stage: Stage, name: String, create: Bool
    ) throws(BenchError) -> any ClientRoadSession {
        guard let options = plan.buffered else {
            return try ClientSession(
                road: road, url: stage.url, exportRoot: stage.directory, file: name,
                create: create, policy: plan.policy.policy)
        }
        return try BufferedSession(
            road: road, url: stage.url, exportRoot: stage.directory, file: name, create: create,
            options: options)
    }

    private func makeStage() throws(BenchError) -> Stage {
        if let given = plan.directory, !Files.isDirectory(given) {
            let why = Files.exists(given) ? "not a directory" : "no such directory"
            throw BenchError("--directory \(given): \(why); give one that exists")
        }
        if case .url(let url) = plan.server {
            let directory: FilePath?
            if let given = plan.directory {
                directory = FilePath(try Files.resolve(given))
            } else {
                directory = try ClientSession.findExportRoot(url)
            }
            return Stage(server: nil, url: url, directory: directory, temporary: nil)
        }
        let temporary = plan.directory == nil ? try TemporaryDirectory() : nil
        let path = plan.directory ?? temporary?.path.string ?? "/"
        let directory = FilePath(try Files.resolve(path))
        let server: any NFSServerFixture
        do {
            server = try PrivateServer.start(plan.server, exporting: directory)
        } catch {
            temporary?.remove()
            throw error
        }
        return Stage(
            server: server, url: server.url, directory: directory, temporary: temporary)
    }

    /// raw and localio need direct I/O; without it there would be nothing to compare.
    private func checkDirectIO() throws(BenchError) {
        guard let file, file.geometry == nil, plan.roads.contains(where: { $0 != .rpc }) else {
            return
        }
        throw BenchError(directIOMissing(file.path.removingLastComponent().string))
    }

    private func openRaw() throws(BenchError) {
        let asked = plan.roads.filter { !$0.isClient }
        guard !asked.isEmpty else { return }
        guard let file else {
            let names = asked.map(\.rawValue).joined(separator: " and ")
            notes.append(
                "\(names) was left out: give the export's local directory with --directory")
            return
        }
        if plan.buffered != nil, asked.contains(.raw) {
            raw = try PlainSession(path: file.path, fsyncEvery: plan.buffered?.fsyncEvery)
        }
        let road: BenchRoad = plan.buffered == nil ? .raw : .direct
        guard asked.contains(road) else { return }
        let session = try RawSession(path: file.path, road: road)
        for point in plan.points where plan.misalignment == 0 {
            if let reason = session.refusal(blockSize: point.blockSize) {
                throw BenchError(reason)
            }
        }
        if plan.misalignment != 0 {
            notes.append(
                "\(road.rawValue) cannot do misaligned I/O: it reads the aligned blocks around, "
                    + "and has no misaligned writes")
        }
        if road == .raw { raw = session } else { direct = session }
    }

    // MARK: - Measuring

    private func measure(
        _ point: WorkloadPoint, _ number: String
    ) throws(BenchError) -> [BenchResult] {
        let grid = BlockGrid(
            fileSize: plan.fileSize, blockSize: point.blockSize, misalignment: plan.misalignment)
        if grid != self.grid { try fill(grid) }
        let rawIsOut = plan.misalignment != 0 && point.pattern.writes
        let roads = sessions.filter { !(rawIsOut && $0 is RawSession) }
        var samples: [BenchRoad: [RoundSample]] = [:]
        var fallbacks: [BenchRoad: [String: Int]] = [:]
        for (round, index) in turns(of: roads.count, rounds: plan.rounds) {
            let session = roads[index]
            progress(
                "\(number) \(point.title): round \(round + 1)/\(plan.rounds), "
                    + session.road.rawValue)
            try session.begin(cold: plan.buffered?.isCold == true)
            try file?.setPageCache(plan.pageCache)
            let before = session.fallbacks
            let totals = try runRound(point, grid, session, round: round)
            if point.pattern.writes { try tellClients(writer: session) }
            samples[session.road, default: []].append(totals.sample)
            for (reason, count) in session.fallbacks where count > before[reason, default: 0] {
                fallbacks[session.road, default: [:]][reason, default: 0] +=
                    count - before[reason, default: 0]
            }
        }
        progress("\(number) \(point.title): proving that all roads see the same bytes")
        try verify(grid)
        return roads.map { session in
            BenchResult(
                point: point, road: session.road, policy: plan.policy.rawValue,
                samples: samples[session.road] ?? [], fallbacks: fallbacks[session.road] ?? [:],
                verified: true)
        }
    }

    private func runRound(
        _ point: WorkloadPoint, _ grid: BlockGrid, _ session: any RoadSession, round: Int
    ) throws(BenchError) -> RoundTotals {
        var point = point
        if session.road == .direct { point.depth = BenchRoad.directDepth }
        let slice = plan.runtime.nanosecondCount / UInt64(plan.rounds)
        let end = monotonicNanoseconds() + max(1_000_000, slice)
        let jobs = (0..<point.jobs).map { job in
            Job(
                point: point, grid: grid, region: grid.region(job: job, of: point.jobs),
                extent: .until(end), verify: plan.verify, pattern: pattern,
                generations: generations, seed: mix(plan.seed &+ UInt64(round << 16 + job)))
        }
        let server = stage?.server
        return try JobRunner.run(jobs, on: session) { server?.cpuNanoseconds }
    }

    /// Gives every block its stamp before anything is measured, by the fastest road there is.
    private func fill(_ grid: BlockGrid) throws(BenchError) {
        self.grid = nil
        generations = GenerationTable(blockCount: grid.blockCount)
        let misaligned = plan.misalignment != 0
        let writer = sessions.first { !$0.road.isClient && !misaligned } ?? sessions.first {
            $0.road == .localio
        } ?? sessions.first { $0.road == .rpc }
        guard let writer else {
            throw BenchError("raw alone has no misaligned writes; add localio or rpc to --road")
        }
        progress("filling \(ByteSize.text(plan.fileSize)) by \(writer.road.rawValue)")
        try pass(.write, grid, writer)
        try tellClients(writer: writer)
        self.grid = grid
        try verify(grid)
    }

    /// Clients tell their server what they write; who writes to the file itself does not.
    private func tellClients(writer: any RoadSession) throws(BenchError) {
        guard !writer.road.isClient else { return }
        for client in clients { try client.fileHasChanged() }
    }

    /// Every road reads the whole file and finds each block as it was last written: then all
    /// roads have seen the same bytes.
    private func verify(_ grid: BlockGrid) throws(BenchError) {
        for session in sessions {
            try session.begin(cold: false)
            try pass(.read, grid, session)
        }
    }

    private func pass(
        _ kind: AccessPattern, _ grid: BlockGrid, _ session: any RoadSession
    ) throws(BenchError) {
        // As many in flight as 16 MiB of buffers hold, 32 at most.
        let deepest = plan.buffered == nil || session.road == .direct ? 32 : 1
        let depth = max(1, min(deepest, grid.blockCount, (16 << 20) / grid.blockSize))
        let point = WorkloadPoint(
            pattern: kind, blockSize: grid.blockSize, depth: depth, jobs: 1)
        let job = Job(
            point: point, grid: grid, region: 0..<grid.blockCount, extent: .everyBlock,
            verify: true, pattern: pattern, generations: generations, seed: plan.seed)
        _ = try JobRunner.run([job], on: session) { nil }
    }

    private func report(_ results: [BenchResult]) -> BenchReport {
        let localio = clients.first { $0.road == .localio }
        return BenchReport(
            host: HostFacts.gather(directory: stage?.directory, geometry: file?.geometry),
            server: plan.server.name, seed: plan.seed, fileSize: plan.fileSize,
            misalignment: plan.misalignment, rounds: plan.rounds, results: results,
            buffered: plan.buffered, pageCache: plan.pageCache, context: localio?.context,
            notes: notes)
    }
}

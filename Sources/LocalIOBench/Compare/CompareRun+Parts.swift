// The parts of a comparison that are measured in ways of their own: what grows, what the processor
// does, opens, mounts.
internal import SystemPackage

extension CompareRun {
    func addGrowth(
        in directory: FilePath, to report: inout CompareReport, _ prefix: String
    ) throws(BenchError) {
        progress(prefix + "starting")
        let server = try PrivateServer.start(plan.server, exporting: directory)
        defer { server.stop() }
        for point in GrowthPoint.all(quick: plan.isQuick) {
            progress(
                prefix + "\(point.files) files of \(ByteSize.text(point.fileByteCount))")
            let roads = try GrowthRun(point, directory: directory, url: server.url).run(
                roads: plan.isQuick ? ["raw", "localio"] : ["raw", "localio", "rpc"],
                rounds: plan.rounds, slice: plan.slice, seed: plan.seed)
            report.cells.append(
                CompareCell(
                    section: "growth", rw: "randread", blockSize: GrowthRun.blockSize,
                    depth: GrowthRun.depth, jobs: 1,
                    files: point.isOfFiles ? point.files : nil,
                    fileByteCount: point.isOfFiles ? nil : point.fileByteCount, roads: roads))
        }
    }

    /// What is missing for one part (a server or agent that does not start, a tool) must not cost
    /// what was measured before: it becomes a note.
    private func orNote(
        _ what: String, in report: inout CompareReport,
        _ body: (inout CompareReport) throws(BenchError) -> Void
    ) throws(BenchError) {
        do {
            try body(&report)
        } catch {
            guard case .failure = error.kind else { throw error }
            report.notes.append("\(what) left out: \(error.message)")
        }
    }

    func addOpens(to report: inout CompareReport, _ prefix: String) throws(BenchError) {
        try orNote("open was", in: &report) { report throws(BenchError) in
            report.cells.append(contentsOf: try opens(prefix))
        }
    }

    /// Opens on three roads that take turns, a few hundred on each at a time.
    private func opens(_ prefix: String) throws(BenchError) -> [CompareCell] {
        progress(prefix + "starting")
        var arguments = OpenArguments()
        arguments.server = plan.server.name
        let stage = try OpenStage(arguments)
        defer { stage.close() }
        let each = plan.isQuick ? 200 : 1000
        var bare: [String: [Double]] = [:]
        var reading: [String: [Double]] = [:]
        for round in 0..<plan.rounds {
            progress(prefix + "round \(round + 1) of \(plan.rounds)")
            let results = try OpenBench(
                url: stage.url, directory: stage.directory, count: each, agent: stage.agent
            ).run()
            for result in results {
                let name = result.road == "open(2)" ? "raw" : result.road
                let microseconds = max(result.openMedian + result.closeMedian, 0.001)
                bare[name, default: []].append(1e6 / microseconds)
                reading[name, default: []].append(1e6 / max(result.readMedian, 0.001))
            }
        }
        func cell(_ title: String, _ blockSize: Int, _ rates: [String: [Double]]) -> CompareCell {
            let roads = ["raw", "localio", "rpc"].compactMap { name in
                rates[name].map { CompareRoad(name: name, rates: $0) }
            }
            return CompareCell(
                section: "open", rw: title, blockSize: blockSize, depth: 1, jobs: 1, roads: roads)
        }
        return [
            cell("open and close", 0, bare),
            cell("open, read and close", OpenBench.readByteCount, reading),
        ]
    }

    func addProcessor(
        in directory: FilePath, to report: inout CompareReport, _ prefix: String
    ) throws(BenchError) {
        try orNote("processor was", in: &report) { report throws(BenchError) in
            progress(prefix + "starting")
            let server = try PrivateServer.start(plan.server, exporting: directory)
            defer { server.stop() }
            let run = try ProcessorRun(
                directory: directory, url: server.url, fileByteCount: plan.fileByteCount,
                seed: plan.seed)
            defer { run.close() }
            let progress = progress
            // fio rounds the time that it used to per cents.
            let slice = max(plan.slice, .seconds(1))
            for access in ProcessorRun.patterns {
                report.cells.append(
                    try run.run(access, rounds: plan.rounds, slice: slice) { text in
                        progress(prefix + text)
                    })
            }
        }
    }

    /// As `localio-bench mount` measures them; needs root and /dev/fuse.
    func addMount(
        in directory: FilePath, to report: inout CompareReport, _ prefix: String
    ) throws(BenchError) {
        try orNote("mount was", in: &report) { report throws(BenchError) in
            var words = MountArguments()
            words.server = plan.server.name
            words.directory = directory.string
            // Each road has a file.
            words.size = String(max((plan.fileByteCount / 2) >> 20, 1) << 20)
            words.rounds = String(plan.rounds)
            let slice = max(plan.slice, .milliseconds(500))
            words.runtime = "\(slice.nanosecondCount / 1_000_000)ms"
            let progress = progress
            let found = try MountRun(plan: MountPlan(words)) { progress(prefix + $0) }.run()
            report.cells += found.compareCells
        }
    }

    /// As `localio-bench instructions` counts them, which has thresholds of its own.
    func addInstructions(
        to report: inout CompareReport, _ prefix: String
    ) throws(BenchError) {
        try orNote("instructions were", in: &report) { report throws(BenchError) in
            let progress = progress
            let counted = try BenchCommand.count(InstructionsPlan(InstructionsArguments())) {
                progress(prefix + $0)
            }
            report.instructions = counted.results
        }
    }
}

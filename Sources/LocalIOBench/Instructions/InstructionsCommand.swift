// `localio-bench instructions`: counts each path beside a server that is not counted.
internal import Glibc
internal import SystemPackage

extension BenchCommand {
    /// Counts and reports; 1 if a path takes more than its threshold.
    package static func instructions(_ arguments: InstructionsArguments) -> Int32 {
        showingProgress { progress throws(BenchError) in
            let plan = try InstructionsPlan(arguments)
            let output = try ReportFile(plan.output)
            let report = try count(plan) { progress.show($0) }
            progress.clear()
            try output.write(plan.isJSON ? report.json.text() + "\n" : report.text)
            for line in report.complaints { complain(line) }
            return report.complaints.isEmpty ? 0 : 1
        }
    }

    /// The counted process: its I/Os, then one line for the process that counts.
    package static func countInstructions(
        path: String, url: String, directory: String, count: Int, agent: AgentChoice
    ) -> Int32 {
        do throws(BenchError) {
            let paths = try BenchPlan.list("path", path, InstructionPath.self)
            let work = InstructionWork(
                path: paths[0], url: url, directory: FilePath(directory), agent: agent,
                count: count)
            let retries = try work.run()
            writeAll("retries: \(retries)\n", to: STDOUT_FILENO)
            return 0
        } catch {
            complain(error.message)
            return error.exitStatus
        }
    }

    /// - Parameter show: takes a short text whenever something else is being done.
    static func count(
        _ plan: InstructionsPlan, show: (String) -> Void
    ) throws(BenchError) -> InstructionsReport {
        if let given = plan.directory, !Files.isDirectory(given) {
            throw BenchError("--directory \(given): no such directory; give one that exists")
        }
        let callgrind = try Callgrind()
        let temporary = try TemporaryDirectory(in: plan.directory.map { FilePath($0) })
        defer { temporary.remove() }
        try InstructionFile.make(in: temporary.path.string)
        let server = try EmbeddedServerProcess(exporting: temporary.path)
        defer { server.stop() }
        let beside = try AgentProcess(beside: server.url, exportDirectory: server.exportDirectory)
        defer { beside.stop() }
        var agent = AgentChoice()
        agent.socket = beside.socket.string
        agent.programPort = beside.programPort
        var report = InstructionsReport(
            plan: plan, host: HostFacts.gather(directory: server.exportDirectory, geometry: nil))
        for path in plan.paths {
            var result = InstructionResult(path: path)
            result.threshold = plan.thresholds?.limits[path]
            func run(_ count: Int) throws(BenchError) -> Int {
                let work = InstructionWork(
                    path: path, url: server.url, directory: server.exportDirectory,
                    agent: agent, count: count)
                let counted =
                    path.isOfMount
                    ? try callgrind.countMount(work) : try callgrind.count(work)
                result.retries += counted.retries
                return counted.instructions
            }
            for round in 1...plan.rounds {
                show("\(path.rawValue), round \(round) of \(plan.rounds)")
                let short = try run(plan.count)
                let long = try run(3 * plan.count)
                // What start and end cost is in both, and so in neither figure.
                result.rounds.append(Double(long - short) / Double(2 * plan.count))
            }
            report.results.append(result)
        }
        return report
    }
}

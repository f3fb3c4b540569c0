// One comparison: the device, every section on it, the bars and the baseline, the reports.
internal import Glibc
internal import SystemPackage

/// Runs a comparison. Use once, from one thread.
final class CompareRun {
    private let plan: ComparePlan
    private let progress: (String) -> Void
    private var disk: BlockFixture?
    private var temporary: TemporaryDirectory?

    init(_ plan: ComparePlan, progress: @escaping (String) -> Void) {
        self.plan = plan
        self.progress = progress
    }

    /// Measures everything. Whatever happens, devices, servers and files are gone afterwards.
    func run() throws(BenchError) -> CompareReport {
        defer {
            disk?.remove()
            temporary?.remove()
        }
        let directory = try place()
        var report = CompareReport(
            host: HostFacts.gather(directory: directory, geometry: nil), isQuick: plan.isQuick,
            device: plan.device.name, server: plan.server.name, seed: plan.seed,
            rounds: plan.rounds)
        for (number, section) in plan.sections.enumerated() {
            try StopFlag.check()
            let prefix = "\(section.name) (\(number + 1) of \(plan.sections.count)): "
            switch section.name {
            case "open": try addOpens(to: &report, prefix)
            case "growth": try addGrowth(in: directory, to: &report, prefix)
            default:
                try add(section, in: directory, to: &report, prefix)
            }
        }
        if let bars = plan.bars { report.bars = try bars.judge(report) }
        if let baseline = plan.baseline { report.changes = baseline.changes(in: report) }
        return report
    }

    private func place() throws(BenchError) -> FilePath {
        // Room for the file, its file system, and XFS's least size.
        let byteCount = plan.fileByteCount * 2 + (512 << 20)
        let path: String
        do throws(BenchError) {
            switch plan.device {
            case .disk:
                let made = try TemporaryDirectory()
                temporary = made
                path = made.path.string
            case .directory(let given):
                guard Files.isDirectory(given) else {
                    throw BenchError("no such directory; give one that exists")
                }
                path = given
            case .zram: path = try make(.xfs, on: .zram, byteCount)
            case .loopXFS: path = try make(.xfs, on: .loop, byteCount)
            case .loopExt4: path = try make(.ext4, on: .loop, byteCount)
            }
        } catch { throw BenchError("--device \(plan.device.name): \(error.message)") }
        return FilePath(try Files.resolve(path))
    }

    private func make(
        _ kind: BlockFixture.FileSystem, on device: BlockFixture.Device, _ byteCount: Int
    ) throws(BenchError) -> String {
        progress("making \(kind.rawValue) on \(plan.device.name)")
        let made = try BlockFixture(kind, on: device, byteCount: byteCount)
        disk = made
        return made.path.string
    }

    private func add(
        _ section: CompareSection, in directory: FilePath, to report: inout CompareReport,
        _ prefix: String
    ) throws(BenchError) {
        let progress = progress
        let part = try BenchRun(plan.plan(section, in: directory.string)) { progress(prefix + $0) }
            .run()
        report.host.directIOUnit = report.host.directIOUnit ?? part.host.directIOUnit
        report.context = report.context ?? part.context
        for note in part.notes where !report.notes.contains(note) { report.notes.append(note) }
        for point in part.points {
            report.cells.append(
                CompareCell(
                    section: section.name, rw: point.pattern.rawValue, blockSize: point.blockSize,
                    depth: point.depth, jobs: point.jobs, policy: section.policy,
                    roads: part.results.filter { $0.point == point }.map { CompareRoad($0) }))
        }
    }

    private func addGrowth(
        in directory: FilePath, to report: inout CompareReport, _ prefix: String
    ) throws(BenchError) {
        progress(prefix + "starting")
        let server: any NFSServerFixture =
            plan.server == .ganesha
            ? try GaneshaServer(exporting: directory)
            : try EmbeddedServerProcess(exporting: directory)
        defer { server.stop() }
        let nanoseconds = plan.runtime.nanosecondCount / UInt64(plan.rounds)
        for point in GrowthPoint.all(quick: plan.isQuick) {
            progress(
                prefix + "\(point.files) files of \(ByteSize.text(point.fileByteCount))")
            let roads = try GrowthRun(point, directory: directory, url: server.url).run(
                roads: plan.isQuick ? ["raw", "localio"] : ["raw", "localio", "rpc"],
                rounds: plan.rounds, slice: .nanoseconds(Int64(nanoseconds)), seed: plan.seed)
            report.cells.append(
                CompareCell(
                    section: "growth", rw: "randread", blockSize: GrowthRun.blockSize,
                    depth: GrowthRun.depth, jobs: 1,
                    files: point.isOfFiles ? point.files : nil,
                    fileByteCount: point.isOfFiles ? nil : point.fileByteCount, roads: roads))
        }
    }

    /// A server or agent that does not start must not cost what was measured before.
    private func addOpens(to report: inout CompareReport, _ prefix: String) throws(BenchError) {
        do {
            report.cells.append(try opens(prefix))
        } catch {
            guard case .failure = error.kind else { throw error }
            report.notes.append("open was left out: \(error.message)")
        }
    }

    /// Opens on three roads that take turns, a few hundred on each at a time.
    private func opens(_ prefix: String) throws(BenchError) -> CompareCell {
        progress(prefix + "starting")
        var arguments = OpenArguments()
        arguments.server = plan.server.name
        let stage = try OpenStage(arguments)
        defer { stage.close() }
        let each = plan.isQuick ? 200 : 1000
        var rates: [String: [Double]] = [:]
        var calls: [String: Double] = [:]
        for round in 0..<plan.rounds {
            progress(prefix + "round \(round + 1) of \(plan.rounds)")
            let results = try OpenBench(
                url: stage.url, directory: stage.directory, count: each, agent: stage.agent
            ).run()
            for result in results {
                let name = result.road == "open(2)" ? "raw" : result.road
                let microseconds = max(result.openMedian + result.closeMedian, 0.001)
                rates[name, default: []].append(1e6 / microseconds)
                calls[name] = result.callsPerOpen
            }
        }
        let roads = ["raw", "localio", "rpc"].compactMap { name in
            rates[name].map { CompareRoad(name: name, rates: $0) }
        }
        return CompareCell(
            section: "open", rw: "open and close", blockSize: 0, depth: 1, jobs: 1, roads: roads)
    }
}

extension BenchCommand {
    /// Runs the comparison, writes its reports, and judges.
    /// - Returns: 1 if a bar was missed.
    package static func compare(_ arguments: CompareArguments) -> Int32 {
        let progress = ProgressLine()
        do throws(BenchError) {
            let plan = try ComparePlan(arguments)
            let json = try reportFile(plan.json, "--json")
            let markdown = try reportFile(plan.markdown, "--markdown")
            let html = try reportFile(plan.html, "--html")
            let report = try CompareRun(plan) { progress.show($0) }.run()
            progress.clear()
            try json?.write(report.json.text() + "\n")
            try markdown?.write(report.markdown)
            try html?.write(report.page)
            writeAll(report.table, to: STDOUT_FILENO)
            for bar in report.missed { complain("missed: \(bar.text)") }
            return report.missed.isEmpty ? 0 : 1
        } catch {
            progress.clear()
            complain(error.message)
            return error.exitStatus
        }
    }

    private static func reportFile(
        _ path: String?, _ option: String
    ) throws(BenchError) -> ReportFile? {
        guard let path else { return nil }
        return try ReportFile(path, option)
    }
}

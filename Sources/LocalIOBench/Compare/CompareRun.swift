// One comparison: the device, every section on it, the bars and the baseline, the reports.
internal import Glibc
internal import SystemPackage

/// Runs a comparison. Use once, from one thread.
final class CompareRun {
    let plan: ComparePlan
    let progress: (String) -> Void

    init(_ plan: ComparePlan, progress: @escaping (String) -> Void) {
        self.plan = plan
        self.progress = progress
    }

    /// Measures everything. Whatever happens, devices, servers and files are gone afterwards.
    func run() throws(BenchError) -> CompareReport {
        // Room for the file, its file system, and XFS's least size.
        let place = try MeasuredPlace(
            plan.device, byteCount: plan.fileByteCount * 2 + (512 << 20), show: progress)
        defer { place.remove() }
        let directory = place.directory
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
            case "processor": try addProcessor(in: directory, to: &report, prefix)
            case "instructions": try addInstructions(to: &report, prefix)
            case "mount": try addMount(in: directory, to: &report, prefix)
            default:
                try add(section, in: directory, to: &report, prefix)
            }
        }
        if let bars = plan.bars { report.bars = try bars.judge(report) }
        if let baseline = plan.baseline { report.changes = baseline.changes(in: report) }
        return report
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
                    roads: part.results.filter { $0.point == point }.map { result in
                        var road = CompareRoad(result)
                        // The queue is the localio of its section.
                        if result.road == .queue { road.name = CompareCell.subject }
                        return road
                    }))
        }
    }
}

extension BenchCommand {
    /// Runs the comparison, writes its reports, and judges.
    /// - Returns: 1 if a bar was missed.
    package static func compare(_ arguments: CompareArguments) -> Int32 {
        showingProgress { progress throws(BenchError) in
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
        }
    }

    private static func reportFile(
        _ path: String?, _ option: String
    ) throws(BenchError) -> ReportFile? {
        guard let path else { return nil }
        return try ReportFile(path, option)
    }
}

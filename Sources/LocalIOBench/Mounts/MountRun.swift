// `localio-bench mount`: the localio mount beside the same mount with locality off, libfuse's own
// pass-through and the file system itself, in turns, in one run.
internal import Glibc
internal import SystemPackage

/// The words of `localio-bench mount`; nil where an option is absent.
package struct MountArguments: Sendable {
    package var server: String?
    package var directory: String?
    package var size: String?
    package var runtime: String?
    package var rounds: String?
    package var road: String?
    package var cell: String?
    /// More options for the localio mounts, comma-separated.
    package var options: String?
    package var json = false
    package var check = false
    package var output: String?

    package init() {}
}

/// A comparison that makes sense on paper.
struct MountPlan: Sendable {
    let server: ServerChoice
    let directory: String?
    let fileSize: Int
    let runtime: Duration
    let rounds: Int
    let roads: [MountRoad]
    let cells: [MountCell]
    let options: String

    init(_ arguments: MountArguments) throws(BenchError) {
        server = try BenchPlan.server(arguments.server ?? "embedded")
        if case .url = server {
            throw BenchError(
                "--server with a URL: give embedded or ganesha; the comparison is of one file "
                    + "system, with a server of the run's own", kind: .usage)
        }
        directory = arguments.directory
        fileSize = try BenchPlan.size("--size", arguments.size ?? "256m")
        runtime = try BenchPlan.runtime(arguments.runtime ?? "1s")
        rounds = try BenchPlan.integers("--rounds", arguments.rounds ?? "5", 1...1000)[0]
        let everyRoad = MountRoad.present.map(\.rawValue).joined(separator: ",")
        roads = try BenchPlan.list("--road", arguments.road ?? everyRoad, MountRoad.self)
        if roads.contains(.fuseNFS), !MountRoad.present.contains(.fuseNFS) {
            throw BenchError(
                "--road fuse-nfs: no program fuse-nfs in PATH; install it, or leave it out",
                kind: .usage)
        }
        let everyCell = MountCell.allCases.map(\.rawValue).joined(separator: ",")
        cells = try BenchPlan.list("--cell", arguments.cell ?? everyCell, MountCell.self)
        options = arguments.options ?? ""
    }
}

/// The roads, mounted; gone with `close`.
private final class MountStage {
    let host: BenchReport.Host
    private let temporary: TemporaryDirectory
    private let server: any NFSServerFixture
    private var mounts: [MountProcess] = []
    private var places: [MountRoad: String] = [:]

    init(_ plan: MountPlan) throws(BenchError) {
        let parent = try plan.directory.map { path throws(BenchError) in
            FilePath(try Files.resolve(path))
        }
        temporary = try TemporaryDirectory(in: parent, mode: 0o777)
        let directory = temporary.path
        host = HostFacts.gather(directory: directory, geometry: nil)
        server = try PrivateServer.start(plan.server, exporting: directory)
        do throws(BenchError) {
            for road in plan.roads { places[road] = try place(road, directory, plan) }
            for road in plan.roads { try makeFile(road, plan.fileSize) }
        } catch {
            close()
            throw error
        }
    }

    private func place(
        _ road: MountRoad, _ directory: FilePath, _ plan: MountPlan
    ) throws(BenchError) -> String {
        let mount: MountProcess
        switch road {
        case .plain: return directory.string
        case .localio:
            mount = try MountProcess(
                url: server.url, options: Self.joined("local=on", plan.options))
        case .passedThrough:
            mount = try MountProcess(
                url: server.url, options: Self.joined("local=on,passthrough", plan.options))
        case .rpc:
            mount = try MountProcess(
                url: server.url, options: Self.joined("local=off", plan.options))
        case .passthrough: mount = try MountProcess(passingThrough: directory)
        case .fuseNFS: mount = try MountProcess(byFuseNFS: server.url)
        }
        mounts.append(mount)
        return mount.point
    }

    private static func joined(_ first: String, _ more: String) -> String {
        more.isEmpty ? first : first + "," + more
    }

    /// Each road has a file of its own, so that no road finds another's pages; all are made in
    /// the file system itself, written whole.
    private func makeFile(_ road: MountRoad, _ size: Int) throws(BenchError) {
        try ChildProcess.mustRun(
            "/bin/dd",
            [
                "if=/dev/urandom", "of=\(temporary.path)/\(road.rawValue)", "bs=1M",
                "count=\(size >> 20)", "conv=fsync", "status=none",
            ], timeout: .seconds(600))
    }

    func file(_ road: MountRoad) -> String {
        "\(places[road] ?? temporary.path.string)/\(road.rawValue)"
    }

    func close() {
        for mount in mounts { mount.remove() }
        mounts = []
        server.stop()
        temporary.remove()
    }
}

/// One comparison.
struct MountRun {
    let plan: MountPlan
    let show: (String) -> Void

    func run() throws(BenchError) -> MountReport {
        guard geteuid() == 0, Files.exists("/dev/fuse") else {
            throw BenchError("mount: needs root and /dev/fuse, to mount and to drop caches")
        }
        guard let fio = ChildProcess.find("fio") else {
            throw BenchError("mount: fio is not installed; run Config/setup.sh")
        }
        let stage = try MountStage(plan)
        defer { stage.close() }
        var samples: [MountCell: [MountRoad: [Double]]] = [:]
        var failures: [MountCell: [MountRoad: String]] = [:]
        for cell in plan.cells {
            for (round, index) in turns(of: plan.roads.count, rounds: plan.rounds) {
                let road = plan.roads[index]
                guard failures[cell]?[road] == nil else { continue }
                try StopFlag.check()
                show("\(cell.title): \(road.rawValue), round \(round + 1)")
                do throws(BenchError) {
                    let figure = try once(fio, cell, stage.file(road))
                    samples[cell, default: [:]][road, default: []].append(figure)
                } catch {
                    failures[cell, default: [:]][road] = error.message
                }
            }
        }
        return MountReport(
            plan: plan, host: stage.host, samples: samples, failures: failures)
    }

    /// Every round begins with nothing dirty and nothing cached.
    private func once(
        _ fio: String, _ cell: MountCell, _ file: String
    ) throws(BenchError) -> Double {
        sync()
        try Files.set("3", at: "/proc/sys/vm/drop_caches")
        let (code, output) = try ChildProcess.run(
            fio, cell.arguments(file: file, size: plan.fileSize, runtime: plan.runtime),
            timeout: .seconds(300))
        let figure = try cell.figure(output)
        guard code == 0 else { throw BenchError("fio ended with status \(code)") }
        return figure
    }
}

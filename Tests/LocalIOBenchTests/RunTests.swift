// Whole runs of the program: reports, proof of the data, servers that die, signals.
import Foundation
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite(.serialized, .timeLimit(.minutes(15))) struct RunTests {
    /// A short run that still has every road.
    static func quick(_ more: [String]) -> [String] {
        ["--size", "8m", "--runtime", "60ms", "--rounds", "2"] + more
    }

    @Test func theJSONHasItsSchema() throws {
        let run = try BenchProgram.run(
            Self.quick([
                "--rw", "randread,randwrite", "--iodepth", "1,4", "--format", "json", "--verify",
            ]))
        #expect(run.status == 0, "\(run.output)")
        let root = try JSONSerialization.jsonObject(with: Data(run.output.utf8))
        let report = try #require(root as? [String: Any])
        #expect(report["schema"] as? Int == 1)
        #expect(report["server"] as? String == "embedded")
        #expect((report["host"] as? [String: Any])?["kernel"] is String)
        let results = try #require(report["results"] as? [[String: Any]])
        #expect(results.count == 2 * 2 * 3)
        for result in results {
            #expect(result["bs"] as? Int == 4096)
            #expect(result["numjobs"] as? Int == 1)
            #expect(["raw", "localio", "rpc"].contains(result["road"] as? String))
            #expect(result["policy"] as? String == "local")
            #expect(try #require(result["iops"] as? Double) > 0)
            #expect(try #require(result["bytes_per_second"] as? Double) > 0)
            let latency = try #require(result["latency_us"] as? [String: Double])
            #expect(Set(latency.keys) == ["p50", "p99", "p999"])
            #expect(latency["p50", default: 0] <= latency["p999", default: 0])
            #expect(result["cpu_us_per_io"] is Double)
            #expect(result["verified"] as? Bool == true)
            // Aligned I/O on a local export has nothing to fall back from.
            #expect((result["fallbacks"] as? [String: Int])?.isEmpty == true)
        }
        let ratios = try #require(report["ratios"] as? [[String: Any]])
        #expect(ratios.count == 4)
        #expect(ratios.allSatisfy { $0["localio_to_raw"] is Double })
        #expect(ratios.allSatisfy { $0["localio_to_rpc"] is Double })
        let context = try #require(report["context"] as? [String: Any])
        #expect(["active", "degraded"].contains(context["io_flusher"] as? String))
        #expect(["io_uring", "threads"].contains(context["engine"] as? String))
    }

    /// Every road sees what every other road wrote, whichever page caches lie between.
    @Test func bufferedRoadsAgree() throws {
        let run = try BenchProgram.run(
            Self.quick([
                "--buffered", "--rw", "write,randrw", "--bs", "16k", "--fsync-every", "32",
                "--cache", "4m", "--road", "raw,localio,rpc,direct", "--format", "json",
                "--numjobs", "2", "--verify",
            ]))
        #expect(run.status == 0, "\(run.output)")
        let root = try JSONSerialization.jsonObject(with: Data(run.output.utf8))
        let report = try #require(root as? [String: Any])
        let buffered = try #require(report["buffered"] as? [String: Any])
        #expect(buffered["cache"] as? Int == 4 << 20)
        #expect(buffered["fsync_every"] as? Int == 32)
        let results = try #require(report["results"] as? [[String: Any]])
        #expect(results.count == 2 * 4)
        for result in results {
            #expect(result["verified"] as? Bool == true)
            #expect(try #require(result["rss_peak_bytes"] as? Int) > 4 << 20)
        }
        let ratios = try #require(report["ratios"] as? [[String: Any]])
        #expect(ratios.allSatisfy { $0["localio_to_direct"] is Double })
    }

    @Test(arguments: ["raw", "localio", "rpc"])
    func writebackReportsBothSides(road: String) throws {
        let run = try BenchProgram.run([
            "writeback", "--road", road, "--writers", "2", "--size", "1m", "--bs", "64k",
            "--cache", "4m", "--idle", "100ms", "--runtime", "300ms", "--json",
        ])
        #expect(run.status == 0, "\(run.output)")
        let root = try JSONSerialization.jsonObject(with: Data(run.output.utf8))
        let report = try #require(root as? [String: Any])
        #expect(report["schema"] as? Int == 1)
        #expect(report["road"] as? String == road)
        let writers = try #require(report["writer_bytes"] as? [Int])
        #expect(writers.count == 2 && writers.allSatisfy { $0 > 0 })
        let idle = try #require(report["fsync_idle_us"] as? [String: Double])
        #expect(idle["count", default: 0] > 0)
        if road != "raw" {
            let dirty = try #require(report["dirty_max_bytes"] as? Int)
            #expect(dirty <= 4 << 20)
        }
    }

    /// Disk, mount and control group are gone afterwards.
    @Test(
        .enabled(if: Requirement.smallLoopDisk.isMet), .enabled(if: Requirement.fuse.isMet))
    func aSlowDiskComesAndGoes() throws {
        let before = Files.text(at: "/proc/self/mounts") ?? ""
        let run = try BenchProgram.run([
            "writeback", "--writers", "2", "--size", "1m", "--cache", "4m", "--idle", "100ms",
            "--runtime", "500ms", "--file-system", "ext4", "--device-limit", "40m",
        ])
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("device 40m/s"))
        let after = Files.text(at: "/proc/self/mounts") ?? ""
        let left = after.split(separator: "\n").filter {
            $0.contains("localio-slow-disk") && !before.contains($0)
        }
        #expect(left.isEmpty, "\(left)")
    }

    @Test(arguments: ["table", "csv", "markdown"])
    func everyFormatHasEveryRoad(format: String) throws {
        let run = try BenchProgram.run(
            Self.quick(["--rw", "read", "--bs", "64k", "--iodepth", "2", "--format", format]))
        #expect(run.status == 0, "\(run.output)")
        for road in ["raw", "localio", "rpc"] { #expect(run.output.contains(road)) }
    }

    @Test func theReportGoesToAFile() throws {
        let directory = try TemporaryDirectory()
        let file = directory.path.string + "/report.csv"
        let run = try BenchProgram.run(
            Self.quick(["--rw", "randrw", "--iodepth", "2", "--format", "csv", "--output", file]))
        #expect(run.status == 0 && run.output.isEmpty, "\(run.output)")
        let lines = try #require(Files.text(at: file)).split(separator: "\n")
        #expect(lines.count == 4)
        #expect(lines[0].hasPrefix("rw,bs,iodepth,numjobs,road,policy,iops,"))
    }

    /// Every misaligned I/O is explained: nothing silently takes the slow road.
    @Test(arguments: ["rpc", "split", "local"])
    func misalignedRunsExplainThemselves(policy: String) throws {
        let run = try BenchProgram.run(
            Self.quick([
                "--rw", "randread,randwrite", "--iodepth", "4", "--bs", "16k", "--policy", policy,
                "--offset-misalign", "100", "--format", "json", "--verify",
            ]))
        #expect(run.status == 0, "\(run.output)")
        let root = try JSONSerialization.jsonObject(with: Data(run.output.utf8))
        let results = try #require((root as? [String: Any])?["results"] as? [[String: Any]])
        let localio = results.filter { $0["road"] as? String == "localio" }
        #expect(localio.count == 2)
        for result in localio {
            let fallbacks = try #require(result["fallbacks"] as? [String: Int])
            let explained = fallbacks["misaligned", default: 0] > 0
            #expect(explained, "\(policy): \(fallbacks)")
        }
        // raw has no misaligned writes, and says so.
        #expect(results.filter { $0["road"] as? String == "raw" }.count == 1)
        #expect(run.output.contains("misaligned writes"))
    }

    @Test func severalJobsShareTheFile() throws {
        let run = try BenchProgram.run(
            Self.quick(["--rw", "randrw", "--iodepth", "4", "--numjobs", "3", "--verify"]))
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("3 jobs"))
    }

    @Test func aPlantedCorruptionIsFound() throws {
        let work = try TemporaryDirectory()
        let run = try BenchProgram.run([
            "--rw", "randread", "--iodepth", "1", "--road", "raw,rpc", "--size", "4m",
            "--runtime", "1s", "--directory", work.path.string, "--verify",
        ]) { _ in
            // Direct, as the roads write: a buffered write beside direct ones is an I/O error.
            for name in BenchProgram.names(in: work.path.string) {
                _ = try? ChildProcess.run(
                    "/bin/dd",
                    [
                        "if=/dev/zero", "of=\(work.path)/\(name)", "bs=4096", "count=1",
                        "seek=77", "conv=notrunc,nocreat", "oflag=direct",
                    ])
            }
            usleep(20_000)
        }
        #expect(run.status == 1, "\(run.output)")
        #expect(run.output.contains("wrong data in the block at \(4096 * 77)"), "\(run.output)")
        #expect(BenchProgram.names(in: work.path.string).isEmpty)
    }

    @Test(arguments: ["localio", "rpc"])
    func aServerThatDiesEndsTheRun(road: String) throws {
        let work = try TemporaryDirectory()
        var killed: Int32?
        let run = try BenchProgram.run([
            "--rw", "randwrite", "--iodepth", "8", "--road", road, "--size", "4m",
            "--runtime", "60s", "--directory", work.path.string,
        ]) { child in
            guard killed == nil, !BenchProgram.names(in: work.path.string).isEmpty else { return }
            usleep(300_000)
            killed = BenchProgram.children(of: child.identifier).first
            if let killed { kill(killed, SIGKILL) }
        }
        #expect(killed != nil)
        #expect(run.status == 1 && run.lines.count == 1, "\(run.output)")
        #expect(run.output.contains("the embedded server died during the run"))
        #expect(BenchProgram.names(in: work.path.string).isEmpty)
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func aStopSignalLeavesNothing(signal: Int32) throws {
        let work = try TemporaryDirectory()
        let scratch = try TemporaryDirectory()
        var server: Int32?
        let run = try BenchProgram.run(
            ["--rw", "randread", "--runtime", "60s", "--directory", work.path.string],
            environment: ["TMPDIR=\(scratch.path)"]
        ) { child in
            guard server == nil, !BenchProgram.names(in: work.path.string).isEmpty else { return }
            server = BenchProgram.children(of: child.identifier).first
            kill(child.identifier, signal)
        }
        #expect(run.status == 128 + signal, "\(run.output)")
        let process = try #require(server)
        #expect(poll(timeout: .seconds(5)) { !Files.exists("/proc/\(process)") })
        #expect(BenchProgram.names(in: work.path.string).isEmpty)
        #expect(BenchProgram.names(in: scratch.path.string).isEmpty)
    }

    /// Even kill -9 of the program leaves no server behind.
    @Test func theServerDiesWithTheProgram() throws {
        let work = try TemporaryDirectory()
        let scratch = try TemporaryDirectory()
        var server: Int32?
        let run = try BenchProgram.run(
            ["--rw", "randread", "--runtime", "60s", "--directory", work.path.string],
            environment: ["TMPDIR=\(scratch.path)"]
        ) { child in
            guard server == nil, !BenchProgram.names(in: work.path.string).isEmpty else { return }
            server = BenchProgram.children(of: child.identifier).first
            child.signal(SIGKILL)
        }
        #expect(run.status == 128 + SIGKILL)
        let process = try #require(server)
        let isGone = poll(timeout: .seconds(5)) {
            guard let status = Files.text(at: "/proc/\(process)/stat") else { return true }
            return status.contains(") Z ")
        }
        #expect(isGone)
    }

    @Test func probeSaysLocalAndWhy() throws {
        let export = try TemporaryDirectory(mode: 0o777)
        let server = try EmbeddedServerProcess(exporting: export.path)
        defer { server.stop() }
        let run = try BenchProgram.run(["probe", server.url])
        #expect(run.status == 0, "\(run.output)")
        #expect(run.lines.last?.hasPrefix("local (") == true, "\(run.output)")
    }

    /// A server by its URL alone: the probe finds the directory, and raw runs too.
    @Test func aRunningServerIsMeasuredByItsURL() throws {
        let export = try TemporaryDirectory(mode: 0o777)
        let server = try EmbeddedServerProcess(exporting: export.path)
        defer { server.stop() }
        for roads in ["raw,localio,rpc", "rpc"] {
            let run = try BenchProgram.run(
                Self.quick([
                    "--server", server.url, "--rw", "randwrite", "--iodepth", "4", "--road", roads,
                    "--format", "csv",
                ]))
            #expect(run.status == 0, "\(run.output)")
            #expect(run.lines.count == 1 + roads.split(separator: ",").count, "\(run.output)")
            #expect(BenchProgram.names(in: export.path.string).isEmpty)
        }
    }

    @Test(.enabled(if: Requirement.ganesha.isMet))
    func ganeshaIsMeasuredAndGone() throws {
        let run = try BenchProgram.run(
            Self.quick(["--server", "ganesha", "--rw", "randread,randwrite", "--iodepth", "4"]))
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("server ganesha"))
        #expect(run.output.contains("localio: local"))
    }
}

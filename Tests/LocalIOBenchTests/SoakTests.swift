// `localio-bench soak` and the queue as a road: what they print, refuse and notice.
import Foundation
import LocalIOTesting
import SystemPackage
import Testing

@testable import LocalIOBench

@Suite(.timeLimit(.minutes(5))) struct SoakTests {
    @Test(arguments: ["randrw", "write"])
    func everyWayDoesItsPart(_ pattern: String) throws {
        let run = try BenchProgram.run([
            "soak", "--ios", "20000", "--size", "8m", "--verify", "--rw", pattern, "--allowed",
            "64m", "--json",
        ])
        #expect(run.status == 0, "\(run.output)")
        let root = try JSONSerialization.jsonObject(with: Data(run.output.utf8))
        let report = try #require(root as? [String: Any])
        #expect(report["ways"] as? [String] == ["channel", "queue", "inline"])
        #expect((report["fallbacks"] as? [String: Int])?.isEmpty == true, "\(run.output)")
        let samples = try #require(report["samples"] as? [[String: Any]])
        let last = try #require(samples.last)
        #expect(try #require(last["ios"] as? Int) >= 20000)
        #expect(try #require(last["resident_bytes"] as? Int) > 0)
        #expect(try #require(last["heap_bytes"] as? Int) > 0)
    }

    @Test func growthIsMeasuredFromTheFirstTenth() throws {
        var report = SoakReport(
            plan: try SoakPlan(SoakArguments()),
            host: BenchReport.Host(
                kernel: "", processors: 1, fileSystem: "", directIOUnit: nil))
        func sample(_ resident: Int) -> SoakSample {
            SoakSample(operations: 1, seconds: 1, residentBytes: resident, heapBytes: 0)
        }
        report.samples = [sample(10 << 20), sample(12 << 20)]
        #expect(report.isFlat)
        report.samples.append(sample((12 << 20) + 1))
        #expect(!report.isFlat)
        #expect(report.text.contains("grew by 2048 KiB"))
    }

    @Test(arguments: [
        (["--ios", "5"], "--ios '5'"), (["--way", "carrier"], "--way 'carrier'"),
        (["--server", "nfs://host/x"], "a server of its own"),
        (["--size", "64k"], "give a larger --size"), (["--device", "tape"], "--device 'tape'"),
    ])
    func nonsenseIsRefused(_ words: [String], _ says: String) throws {
        let run = try BenchProgram.run(["soak"] + words)
        #expect(run.status == 64)
        #expect(run.lines.count == 1)
        #expect(run.output.contains(says), "\(run.output)")
    }

    @Test func theQueueIsARoad() throws {
        let run = try BenchProgram.run(
            RunTests.quick([
                "--rw", "randrw", "--bs", "4k,4196", "--iodepth", "8", "--road",
                "queue,localio,rpc", "--format", "json", "--verify",
            ]))
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("\"queue\""))
    }

    @Test func aQueueHasNoPageCache() throws {
        let run = try BenchProgram.run(["--buffered", "--road", "queue"])
        #expect(run.status == 64)
        #expect(run.output.contains("--road queue: not with --buffered"))
    }

    @Test func fioIsUnderstood() throws {
        // fio 3.33, --minimal --terse-version=3: 1,000 reads in 10 ms, 6 % user, 34 % system.
        var fields = Array(repeating: "0", count: 130)
        fields[0] = "3"
        fields[1] = "fio-3.33"
        fields[5] = "4000"
        fields[8] = "10"
        fields[87] = "6.000000%"
        fields[88] = "34.000000%"
        let line = fields.joined(separator: ";")
        let read = try ProcessorRun.figure("note: noise\n" + line + "\n", writes: false)
        #expect(abs(read.cpu - 4) < 1e-9)
        #expect(abs(read.rate - 100_000) < 1e-6)
        #expect(throws: BenchError.self) { try ProcessorRun.figure(line, writes: true) }
        #expect(throws: BenchError.self) { try ProcessorRun.figure("fio: no", writes: false) }
    }
}

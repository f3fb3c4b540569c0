// Comparisons: intervals, bars, baselines, reports, and that a slow-down is noticed.
import Foundation
import FoundationXML
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite struct IntervalTests {
    @Test func aRatioOfMediansLiesInItsInterval() throws {
        let above: [Double] = [90, 95, 100, 105, 400]
        let below: [Double] = [50, 48, 52, 49, 51]
        let interval = try #require(Bootstrap.ratio(above, over: below))
        #expect(interval.ratio == 2)
        #expect(interval.low >= 90.0 / 52 && interval.low < 2)
        #expect(interval.high > 2 && interval.high <= 400.0 / 48)
        #expect(Bootstrap.ratio(above, over: below) == interval)
    }

    /// A round that was slow for both says nothing about either.
    @Test func roundsAreDrawnInPairs() throws {
        let below: [Double] = [10, 20, 40, 80, 160]
        let interval = try #require(Bootstrap.ratio(below.map { $0 * 3 }, over: below))
        #expect(interval == RatioInterval(ratio: 3, low: 3, high: 3))
    }

    @Test func whatDidNotRunHasNoRatio() {
        #expect(Bootstrap.ratio([], over: [1]) == nil)
        #expect(Bootstrap.ratio([1], over: []) == nil)
        #expect(Bootstrap.ratio([1, 2, 3], over: [0, 0, 0]) == nil)
    }

    @Test func confidenceKnowsTheDirection() throws {
        let below: [Double] = [10, 11, 10, 9, 10]
        let slow: [Double] = [5, 5.1, 4.9, 5, 5.2]
        let fast: [Double] = [9, 9.2, 8.8, 9.1, 9]
        let better = try #require(Bootstrap.confidence((fast, below), above: (slow, below)))
        let worse = try #require(Bootstrap.confidence((slow, below), above: (fast, below)))
        let same = try #require(Bootstrap.confidence((slow, below), above: (slow, below)))
        #expect(better == 1 && worse == 0)
        #expect(same > 0.2 && same < 0.8)
    }
}

@Suite struct BarTests {
    static func report(_ localio: [Double]) -> CompareReport {
        var report = CompareReport(
            host: BenchReport.Host(
                kernel: "6", processors: 2, fileSystem: "xfs", directIOUnit: 4096),
            isQuick: true, device: "zram", server: "ganesha", seed: 1, rounds: 5)
        report.cells = [
            CompareCell(
                section: "direct", rw: "randread", blockSize: 4096, depth: 16, jobs: 1,
                roads: [
                    CompareRoad(name: "localio", rates: localio),
                    CompareRoad(name: "raw", rates: [100, 100, 100, 100, 100]),
                ])
        ]
        return report
    }

    static func file(_ text: String) throws -> BarFile {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let path = directory.path.string + "/bars.yaml"
        try Files.write(text, to: path)
        return try BarFile(path: path)
    }

    static let bar = "bars:\n  - { section: direct, bs: [4k], over: raw, at-least: 0.9 }\n"

    @Test(arguments: [
        ([95.0, 96, 94, 95, 95], BarResult.Verdict.met),
        ([80, 85, 88, 95, 96], .undecided), ([80, 81, 82, 83, 84], .missed),
    ])
    func verdicts(rates: [Double], expected: BarResult.Verdict) throws {
        let results = try Self.file(Self.bar).judge(Self.report(rates))
        #expect(results.map(\.verdict) == [expected])
        #expect(results.first?.text.contains("direct: randread 4k, depth 16") == true)
    }

    @Test(arguments: [
        ("bars:\n  - { section: direct, block: [4k], over: raw, at-least: 1 }", "'block'"),
        ("bars:\n  - { section: dierct, over: raw, at-least: 1 }", "'dierct'"),
        ("bars:\n  - { section: direct, bs: [4q], over: raw, at-least: 1 }", "'4q'"),
        ("bars:\n  - { section: direct, over: raw, at-least: -1 }", "-1"),
        ("bars:\n  - { section: direct, over: raw }", "at-least"), ("[]", "bars"), ("", "bars"),
    ])
    func wrongFilesAreNamed(text: String, word: String) throws {
        let error = try #require(throws: BenchError.self) { _ = try Self.file(text) }
        #expect(error.exitStatus == 64)
        #expect(error.message.contains(word), "\(error.message)")
    }

    /// A comparison that cannot fail is a failure.
    @Test func barsThatTakeNothingAreAnError() throws {
        let other = try Self.file(
            "bars:\n  - { section: direct, device: [disk], over: raw, at-least: 0.9 }")
        let error = try #require(throws: BenchError.self) {
            _ = try other.judge(Self.report([1, 1, 1]))
        }
        #expect(error.message.contains("no bar takes any cell"))
    }

    @Test func theProjectsOwnFilesAreRight() throws {
        for name in ["Config/compare.yaml", "Config/compare-quick.yaml"] {
            #expect(try BarFile(path: name).bars.count > 3)
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(15))) struct CompareProgramTests {
    /// Short, but every section and road; a debug build's ratios say nothing.
    static let short = [
        "compare", "--quick", "--server", "embedded", "--rounds", "3", "--runtime", "30ms",
        "--seed", "7", "--size", "16m",
    ]

    @Test func everyFormOfTheReport() throws {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let base = directory.path.string
        let run = try BenchProgram.run(
            Self.short + [
                "--json", base + "/a.json", "--html", base + "/a.html", "--markdown",
                base + "/a.md",
            ])
        #expect(run.status == 0, "\(run.output)")
        let text = try #require(Files.text(at: base + "/a.json"))
        let object = try JSONSerialization.jsonObject(with: Data(text.utf8))
        let json = try #require(object as? [String: Any])
        #expect(json["schema"] as? Int == 1)
        let cells = try #require(json["cells"] as? [[String: Any]])
        let sections = Set(cells.compactMap { $0["section"] as? String })
        let quick = [
            "direct", "queue", "hot", "misaligned", "buffered", "fsync", "growth", "open",
        ]
        #expect(sections == Set(quick))
        for cell in cells {
            let roads = try #require(cell["roads"] as? [[String: Any]])
            #expect(roads.count >= 2)
            for road in roads {
                #expect((road["rates"] as? [Double])?.count == 3)
            }
            #expect((cell["ratios"] as? [String: Any])?.isEmpty == false)
        }
        let page = try #require(Files.text(at: base + "/a.html"))
        #expect(page.hasPrefix("<!DOCTYPE html>"))
        let withoutNamespace = page.replacingOccurrences(
            of: "xmlns=\"http://www.w3.org/2000/svg\"", with: "")
        #expect(!withoutNamespace.contains("http") && !page.contains("<script"))
        for piece in page.components(separatedBy: "<svg").dropFirst() {
            let svg = "<svg" + (piece.components(separatedBy: "</svg>").first ?? "") + "</svg>"
            #expect((try? XMLDocument(xmlString: svg)) != nil, "\(svg.prefix(200))")
        }
        let markdown = try #require(Files.text(at: base + "/a.md"))
        #expect(markdown.contains("| randread 4k, depth 16 |"))

        let again = try BenchProgram.run(
            Self.short + ["--sections", "direct", "--baseline", base + "/a.json"])
        #expect(again.status == 0, "\(again.output)")
        #expect(again.output.contains("14 ratios beside the baseline"), "\(again.output)")
    }

    /// The switch of debug builds that holds each local I/O up makes the comparison fail.
    @Test func aSlowDownIsNoticed() throws {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let bars = directory.path.string + "/bars.yaml"
        try Files.write(
            "bars: [{ section: direct, rw: [randread], iodepth: [1], over: raw, at-least: 0.05 }]",
            to: bars)
        let words = Self.short + ["--sections", "direct", "--thresholds", bars]
        let usual = try BenchProgram.run(words)
        #expect(usual.status == 0, "\(usual.output)")
        // A busy machine may hold the raw file up as much in some round, and the bar is then
        // undecided: three tries.
        var slow = usual
        for _ in 0..<3 where slow.status != 1 {
            slow = try BenchProgram.run(words, environment: ["LOCALIO_BENCH_SLOW_DOWN=100000"])
        }
        #expect(slow.status == 1, "\(slow.output)")
        #expect(slow.output.contains("missed: direct: randread 4k, depth 1: localio / raw"))
    }

    @Test(arguments: [
        (["--device", "floppy"], "--device 'floppy'"),
        (["--device", "/nonexistent/x"], "no such directory"),
        (["--sections", "direct,speed"], "--sections 'speed'"),
        (["--quick", "--sections", "threads"], "leave --quick out"),
        (["--rounds", "2"], "--rounds '2'"), (["--server", "nfs://h/x"], "--server"),
        (["--thresholds", "/nonexistent"], "--thresholds /nonexistent"),
        (["--baseline", "/etc/hostname"], "--baseline /etc/hostname"),
        (["--json", "/nonexistent/a.json"], "--json /nonexistent/a.json"),
    ])
    func wrongWordsGetOneLine(words: [String], part: String) throws {
        let run = try BenchProgram.run(["compare"] + words)
        #expect(run.status != 0 && run.lines.count == 1, "\(run.output)")
        #expect(run.output.contains(part), "\(run.output)")
    }
}

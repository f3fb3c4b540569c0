// `localio-bench instructions`: thresholds as they are read, and real counts under valgrind.
import LocalIOTesting
import SystemPackage
import Testing

@testable import LocalIOBench

@Suite(.timeLimit(.minutes(15))) struct InstructionTests {
    @Test func thresholdsAreLinesOfPathAndNumber() throws {
        let text = "# most\n\ninline-read: 1500 # why\n  rpc-write:   9000\n"
        let thresholds = try InstructionThresholds(text, name: "file")
        #expect(thresholds.limits == [.inlineRead: 1500, .rpcWrite: 9000])
    }

    @Test(arguments: [
        ("inline-read 1500", "line 1"), ("\ninline-read: x", "line 2"),
        ("inline-read: 0", "line 1"), ("teleport: 5", "path 'teleport': must be of inline-read"),
        ("rpc-read: 1\nrpc-read: 2", "twice"), ("inline-read: 1 2", "line 1"),
    ])
    func otherLinesAreRefused(_ text: String, _ says: String) {
        let error = #expect(throws: BenchError.self) {
            try InstructionThresholds(text, name: "file")
        }
        #expect(error?.message.contains(says) == true, "\(error?.message ?? "")")
        #expect(error?.exitStatus == 64)
    }

    @Test func sumsAreFoundInCallgrindsFile() {
        #expect(Callgrind.total("events: Ir\nsummary: 77\n\nfn=(1)\ntotals: 78\n") == 78)
        #expect(Callgrind.total("events: Ir\nsummary: 77\n") == 77)
        #expect(Callgrind.total("") == nil)
    }

    @Test func theMiddleOfTheRoundsCounts() {
        var result = InstructionResult(path: .inlineRead)
        result.rounds = [100, 900, 110]
        #expect(result.perIO == 110)
        #expect(!result.isOver)
        result.threshold = 110
        #expect(!result.isOver)
        result.threshold = 109
        #expect(result.isOver)
    }

    /// The file that the project compares with names every path, so that none can creep unseen.
    @Test func everyPathHasAThreshold() throws {
        let file = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let text = try #require(Files.text(at: "/\(file)/Config/instructions.yaml"))
        let thresholds = try InstructionThresholds(text, name: "Config/instructions.yaml")
        #expect(Set(thresholds.limits.keys) == Set(InstructionPath.allCases))
    }

    static let hasValgrind: Bool = {
        let missing = ["valgrind", "strip"].filter { ChildProcess.find($0) == nil }
        if !missing.isEmpty {
            print("skipping: \(missing.joined(separator: ", ")) missing; run Config/setup.sh")
        }
        // In CI the test runs whatever is missing, and so fails.
        return missing.isEmpty || environment("LOCALIO_CI") == "1"
    }()

    /// One path of each kind: the caller's system call, a worker's ring, an RPC, a mount.
    @Test(
        .enabled(if: hasValgrind),
        arguments: ["inline-read", "queued-write", "rpc-write", "mount-write"])
    func countsARealPath(_ path: String) throws {
        let run = try BenchProgram.run([
            "instructions", "--path", path, "--count", "64", "--json",
        ])
        #expect(run.status == 0, "\(run.output)")
        let line = try #require(run.lines.first { $0.contains("\"instructions_per_io\"") })
        let digits = line.split(separator: ":").last?.filter { $0.isNumber || $0 == "." } ?? ""
        let count = try #require(Double(digits))
        // A system call and its way there are never fewer, and a debug build's never more.
        #expect(count > 100 && count < 1_000_000, "\(run.output)")
    }

    @Test(.enabled(if: hasValgrind)) func aPathOverItsThresholdIsNamed() throws {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let file = directory.path.string + "/thresholds"
        try Files.write("inline-read: 10\ninline-write: 100000000\n", to: file)
        let run = try BenchProgram.run([
            "instructions", "--path", "inline-read,inline-write", "--count", "64",
            "--thresholds", file,
        ])
        #expect(run.status == 1, "\(run.output)")
        let complaints = run.lines.filter { $0.hasPrefix("localio-bench: ") }
        #expect(complaints.count == 1, "\(run.output)")
        #expect(complaints.first?.contains("inline-read: ") == true)
        #expect(complaints.first?.contains("at most 10 are allowed") == true)
        #expect(run.output.contains("inline-write"))
    }
}

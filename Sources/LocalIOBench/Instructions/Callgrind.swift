// Runs this program again under Valgrind and reads how many instructions it took.
internal import Glibc
internal import SystemPackage

/// A copy of the running program that Valgrind can load, and the counting of its runs.
struct Callgrind {
    /// The hidden subcommand of localio-bench that does the I/Os.
    static let subcommand = "count-instructions"
    /// A run is a second or two; one that hangs must not take the caller with it.
    private static let timeLimit = Duration.seconds(120)

    private let valgrind: String
    let directory: TemporaryDirectory
    private let program: String

    /// - Throws: if a tool is missing, or this is not localio-bench.
    init() throws(BenchError) {
        valgrind = try Self.tool("valgrind", package: "valgrind")
        let own = try Files.resolve("/proc/self/exe")
        guard own.hasSuffix("/localio-bench") else {
            throw BenchError("\(own): instructions are counted by localio-bench itself; run that")
        }
        directory = try TemporaryDirectory()
        program = directory.path.string + "/localio-bench"
        try Self.copy(own, to: program)
    }

    /// Valgrind 3.19 gives up at the compiler's debug information (DWARF 5).
    static func copy(_ program: String, to copy: String) throws(BenchError) {
        try ChildProcess.mustRun(
            try tool("strip", package: "binutils"), ["--strip-debug", "-o", copy, program])
    }

    static func tool(_ name: String, package: String) throws(BenchError) -> String {
        guard let path = ChildProcess.find(name) else {
            throw BenchError(
                "\(name) is not installed; install the package \(package) (Config/setup.sh)")
        }
        return path
    }

    /// One run of the work.
    struct Count: Sendable {
        /// User-space instructions of the whole process, all threads.
        var instructions: Int
        /// I/Os that the queue had to try again.
        var retries: Int
    }

    /// Where a run's counts go.
    var output: String { directory.path.string + "/callgrind.out" }

    /// What env(1) is told before a counted program's own words.
    var words: [String] {
        [
            // The same hash tables in each run.
            "SWIFT_DETERMINISTIC_HASHING=1", valgrind, "--tool=callgrind", "--quiet",
            "--callgrind-out-file=\(output)",
        ]
    }

    func count(_ work: InstructionWork) throws(BenchError) -> Count {
        let log = directory.path.string + "/log"
        Files.remove(output)
        Files.remove(log)
        let child = try ChildProcess(
            "/usr/bin/env",
            words + [
                program, Self.subcommand,
                work.path.rawValue, work.url, "--directory", work.directory.string,
                "--count", String(work.count), "--socket", work.agent.socket ?? "",
                "--program-port", String(work.agent.programPort ?? 0),
            ], outputPath: log)
        defer { child.kill9() }
        let start = monotonicNanoseconds()
        while child.isRunning {
            try StopFlag.check()
            guard monotonicNanoseconds() - start < Self.timeLimit.nanosecondCount else {
                throw BenchError(
                    "\(work.path.rawValue): no end after \(Self.timeLimit) under valgrind; "
                        + "lower --count")
            }
            usleep(10_000)
        }
        let text = Files.text(at: log) ?? ""
        let lines = text.split(separator: "\n").map(String.init)
        guard child.exitCode == 0 else {
            let own = lines.last { $0.hasPrefix("localio-bench: ") }
            throw BenchError(
                own.map { String($0.dropFirst("localio-bench: ".count)) }
                    ?? "valgrind ended with status \(child.exitCode ?? -1): \(lines.last ?? "")")
        }
        guard let retries = Self.number(after: "retries: ", in: lines),
            let total = Self.total(Files.text(at: output) ?? "")
        else {
            throw BenchError("\(work.path.rawValue): valgrind counted nothing: \(lines.last ?? "")")
        }
        return Count(instructions: total, retries: retries)
    }

    private static func number(after prefix: String, in lines: [String]) -> Int? {
        lines.last { $0.hasPrefix(prefix) }.flatMap { Int($0.dropFirst(prefix.count)) }
    }

    /// The sum in callgrind's own file.
    static func total(_ text: String) -> Int? {
        let lines = text.split(separator: "\n").map(String.init)
        return number(after: "totals: ", in: lines) ?? number(after: "summary: ", in: lines)
    }
}

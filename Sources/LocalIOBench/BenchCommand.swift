// What each subcommand does, from its words to its exit status.
internal import Glibc
internal import LocalIO
internal import LocalIOServer
internal import SystemPackage

/// The bodies of localio-bench's subcommands. Each answers the exit status: 0, 1 for a failure,
/// 64 for a wrong command line, 128 + the signal after SIGINT or SIGTERM.
package enum BenchCommand {
    /// Measures and reports.
    package static func run(_ arguments: BenchArguments) -> Int32 {
        showingProgress { progress throws(BenchError) in
            let plan = try BenchPlan(arguments)
            let output = try ReportFile(plan.output)
            let report = try BenchRun(plan) { progress.show($0) }.run()
            progress.clear()
            try output.write(report.text(plan.format))
            return 0
        }
    }

    /// Prints the probe's steps and its answer. Remote is an answer, not a failure.
    package static func probe(
        url: String, exportRoot: String?, agent: AgentChoice = AgentChoice()
    ) -> Int32 {
        do throws(BenchError) {
            let setting = exportRoot.map { LocalitySetting.exportRoot(FilePath($0)) }
            let client = try ClientSession.connect(
                url, locality: setting ?? .automatic, agent: agent)
            defer { client.closeBlocking() }
            let report = client.probeReport
            for (number, step) in report.steps.enumerated() {
                let microseconds = Double(step.duration.nanosecondCount) / 1000
                let time = decimal(microseconds, places: 0)
                print("\(number + 1). \(step.name): \(step.outcome) (\(time) µs)")
            }
            if let root = report.exportRoot { print("export root: \(root)") }
            print(ClientSession.text(client.locality))
            return 0
        } catch {
            complain(error.message)
            return error.exitStatus
        }
    }

    /// Opens files in a loop on three roads and prints what that cost and left behind.
    package static func open(_ arguments: OpenArguments) -> Int32 {
        do throws(BenchError) {
            guard arguments.count > 0 else {
                throw BenchError("--count \(arguments.count): must be at least 1", kind: .usage)
            }
            let stage = try OpenStage(arguments)
            defer { stage.close() }
            let results = try OpenBench(
                url: stage.url, directory: stage.directory, count: arguments.count,
                agent: stage.agent
            ).run()
            writeAll(OpenBench.table(results), to: STDOUT_FILENO)
            return 0
        } catch {
            complain(error.message)
            return error.exitStatus
        }
    }

    /// Big writers beside a small file that is fsynced.
    package static func writeback(_ arguments: WritebackArguments) -> Int32 {
        showingProgress { progress throws(BenchError) in
            let plan = try WritebackPlan(arguments)
            let output = try ReportFile(plan.output)
            let report = try WritebackRun(plan) { progress.show($0) }.run()
            progress.clear()
            try output.write(plan.isJSON ? report.json.text() + "\n" : report.text)
            return 0
        }
    }

    /// Runs a command that shows its progress; the exit status, with one line for an error.
    static func showingProgress(
        _ body: (ProgressLine) throws(BenchError) -> Int32
    ) -> Int32 {
        let progress = ProgressLine()
        do throws(BenchError) {
            return try body(progress)
        } catch {
            progress.clear()
            complain(error.message)
            return error.exitStatus
        }
    }

    /// One line on standard error.
    package static func complain(_ message: String) {
        let line = message.split(separator: "\n").first.map(String.init) ?? message
        writeAll("localio-bench: \(line)\n", to: STDERR_FILENO)
    }
}

/// A line on a terminal that says what is being done; nothing where nobody looks.
final class ProgressLine {
    private let isShown = isatty(STDERR_FILENO) == 1

    func show(_ text: String) {
        guard isShown else { return }
        writeAll("\r\u{1B}[K" + text.prefix(79), to: STDERR_FILENO)
    }

    func clear() {
        guard isShown else { return }
        writeAll("\r\u{1B}[K", to: STDERR_FILENO)
    }
}

/// Where the report goes; found out before the run, so that minutes are not lost to a typo.
struct ReportFile {
    private let path: String?

    /// - Parameter option: what named it on the command line.
    init(_ path: String?, _ option: String = "--output") throws(BenchError) {
        self.path = path
        guard let path else { return }
        let isNew = !Files.exists(path)
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw .system("\(option) \(path)", errno: errno) }
        close(descriptor)
        if isNew { Files.remove(path) }
    }

    func write(_ text: String) throws(BenchError) {
        guard let path else { return writeAll(text, to: STDOUT_FILENO) }
        try Files.write(text, to: path)
    }
}

/// Writes without buffering; a closed pipe ends it quietly.
func writeAll(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
        let count = unsafe bytes.withUnsafeBytes { buffer in
            unsafe write(descriptor, buffer.baseAddress, buffer.count)
        }
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { return }
        bytes = bytes.dropFirst(count)
    }
}

extension BenchCommand {
    /// A slow disk until it is unmounted.
    package static func serveSlowDisk(directory: String, byteCount: Int, rate: Int) -> Int32 {
        do throws(BenchError) {
            try SlowDisk.serve(at: directory, byteCount: byteCount, rate: max(rate, 1))
            return 0
        } catch {
            complain(error.message)
            return 1
        }
    }

    /// The embedded server until SIGTERM; its parent watches the port file.
    package static func serve(directory: String, port: Int, portFile: String) -> Int32 {
        let server = EmbeddedServer(ServerConfiguration(directory: directory, port: port))
        do throws(ServerError) {
            try server.start()
        } catch {
            complain(error.description)
            return 1
        }
        defer { server.stop() }
        guard let port = server.port else { return 1 }
        do throws(BenchError) {
            try Files.write("\(port)\n", to: portFile)
        } catch {
            complain(error.message)
            return 1
        }
        while StopFlag.signal == 0 { usleep(20_000) }
        return 0
    }
}

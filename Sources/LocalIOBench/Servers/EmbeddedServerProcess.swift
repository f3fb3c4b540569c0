// The embedded NFSv3 server in a process of its own, so that it can be killed and so that its
// CPU time is told apart from the client's.
internal import Glibc
package import SystemPackage
internal import Threads

/// The embedded server on one directory, under its absolute path, on 127.0.0.1.
///
/// localio-bench runs itself again with a hidden subcommand; everybody else runs the `localiod`
/// that was built beside the running program or test bundle.
package final class EmbeddedServerProcess: NFSServerFixture {
    /// The hidden subcommand of localio-bench: `serve-embedded DIR --port N --port-file FILE`.
    package static let subcommand = "serve-embedded"

    private struct State {
        var process: ChildProcess?
        var port = 0
    }

    package let name = "embedded"
    package let exportDirectory: FilePath
    private let program: String
    private let leading: [String]
    private let trailing: [String]
    private let directory: TemporaryDirectory
    private let state = Lock(State())

    /// Starts the server on an unused port and waits until it answers.
    /// - Parameter arguments: more arguments for `localiod serve`.
    package init(
        exporting exportDirectory: FilePath, arguments: [String] = []
    ) throws(BenchError) {
        let resolved = try Files.resolve(exportDirectory.string)
        guard Files.isDirectory(resolved) else {
            throw BenchError("\(exportDirectory): not a directory; give one to export")
        }
        self.exportDirectory = FilePath(resolved)
        (program, leading) = try Self.command()
        trailing = arguments
        directory = try TemporaryDirectory(mode: 0o700)
        try start()
    }

    deinit { stop() }

    package var url: String {
        "nfs://127.0.0.1:\(state.withLock { $0.port })\(exportDirectory)?version=3"
    }

    package var processIdentifier: Int32 {
        state.withLock { $0.process }.map { $0.isRunning ? $0.identifier : 0 } ?? 0
    }

    package var cpuNanoseconds: UInt64? { state.withLock { $0.process }?.cpuNanoseconds }

    /// What the server printed, for failures.
    package var log: String { Files.text(at: logPath) ?? "" }
    private var logPath: String { directory.path.string + "/log" }

    package func kill9() { takeProcess()?.kill9() }

    package func restart() throws(BenchError) {
        kill9()
        try start()
    }

    package func stop() {
        takeProcess()?.terminate()
        directory.remove()
    }

    private func takeProcess() -> ChildProcess? {
        state.withLock { state in
            defer { state.process = nil }
            return state.process
        }
    }

    private func start() throws(BenchError) {
        let portFile = directory.path.string + "/port"
        Files.remove(portFile)
        let wanted = state.withLock { $0.port }
        let process = try ChildProcess(
            program,
            leading + [
                exportDirectory.string, "--port", String(wanted), "--port-file", portFile,
            ] + trailing, outputPath: logPath)
        state.withLock { $0.process = process }
        var port: Int?
        let ready = poll(timeout: .seconds(20)) {
            port = Files.text(at: portFile).flatMap {
                $0.hasSuffix("\n") ? Int($0.dropLast()) : nil
            }
            return !process.isRunning || port.map(Port.answers) == true
        }
        if ready, process.isRunning, let port {
            return state.withLock { $0.port = port }
        }
        let how = process.exitCode.map { "exited with status \($0)" } ?? "did not answer"
        kill9()
        let line = log.split(separator: "\n").last.map(String.init) ?? "it printed nothing"
        throw BenchError("the embedded server \(how): \(line)")
    }

    /// The program that serves and the arguments before the directory.
    private static func command() throws(BenchError) -> (String, [String]) {
        let own = try Files.resolve("/proc/self/exe")
        if own.hasSuffix("/localio-bench") { return (own, [subcommand]) }
        return (try localiod(), ["serve"])
    }

    /// The `localiod` that was built beside the running program or test bundle.
    package static func localiod() throws(BenchError) -> String { try beside("localiod") }

    /// A program that was built beside the running one or its test bundle.
    package static func beside(_ name: String) throws(BenchError) -> String {
        let own = try Files.resolve("/proc/self/exe")
        let bundle = CommandLine.arguments.first { $0.contains(".xctest") }
        for place in [bundle, own].compactMap(\.self) {
            // The bundle's path may go on inside it; the programs are beside the bundle itself.
            let parts = place.split(separator: "/", omittingEmptySubsequences: false)
            let inner = parts.firstIndex { $0.contains(".xctest") } ?? parts.count - 1
            let program = parts[..<inner].joined(separator: "/") + "/" + name
            if Files.exists(program) { return program }
        }
        throw BenchError("\(name) is not built beside \(own); run swift build")
    }
}

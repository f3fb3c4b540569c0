// A private `localiod agent` beside a private server, in a process of its own so that it can be
// killed.
internal import Glibc
internal import NFSClient
package import SystemPackage
internal import Threads

/// An agent for one server, with its socket and its LOCALIO program's port to itself.
package final class AgentProcess: Sendable {
    package let socket: FilePath
    /// The LOCALIO program's TCP port; the same after each start.
    package let programPort: UInt16
    private let program: String
    private let arguments: [String]
    private let directory: TemporaryDirectory
    private let process = Lock(ChildProcess?.none)

    /// Starts the agent and waits until it answers.
    /// - Parameters:
    ///   - url: the server's export, with its ports.
    ///   - exportDirectory: the same directory on this host.
    ///   - socket: where to listen; nil for a directory of its own.
    ///   - prefix: words before the program's own, such as `ip netns exec NAME`.
    ///   - more: further arguments for the agent.
    package init(
        beside url: String, exportDirectory: FilePath, socket: FilePath? = nil,
        prefix: [String] = [], arguments more: [String] = []
    ) throws(BenchError) {
        let parsed: NFSURL
        do throws(NFSURLError) { parsed = try NFSURL(url) } catch {
            throw BenchError(error.description)
        }
        directory = try TemporaryDirectory()
        self.socket = socket ?? directory.path.appending("agent.sock")
        programPort = UInt16(try Port.unused())
        let words =
            prefix + [
                try EmbeddedServerProcess.localiod(), "agent", "--config", "/dev/null",
                "--socket", self.socket.string, "--socket-mode", "0666",
                "--program-port", "\(programPort)", "--program-register", "false",
                "--server", parsed.host, "--nfs-port", "\(parsed.nfsPort ?? 0)",
                "--mount-port", "\(parsed.mountPort ?? 0)",
                "--exports", "\(parsed.exportPath)=\(exportDirectory)", "--heartbeat", "250",
                "--log-level", "info",
            ] + more
        guard let first = ChildProcess.find(words[0]) ?? words.first else {
            throw BenchError("no program to start")
        }
        program = first
        arguments = Array(words.dropFirst())
        try start()
    }

    deinit { stop() }

    package var processIdentifier: Int32 {
        process.withLock { $0 }.map { $0.isRunning ? $0.identifier : 0 } ?? 0
    }

    /// What the agent printed, for failures.
    package var log: String { Files.text(at: logPath) ?? "" }
    private var logPath: String { directory.path.string + "/log" }

    /// Starts it again after `kill9` or `terminate`.
    package func start() throws(BenchError) {
        let child = try ChildProcess(program, arguments, outputPath: logPath)
        process.withLock { $0 = child }
        let ready = poll(timeout: .seconds(10)) {
            !child.isRunning || Port.listens(unixSocket: socket.string)
        }
        if ready, child.isRunning { return }
        let how = child.exitCode.map { "exited with status \($0)" } ?? "did not answer"
        let line = log.split(separator: "\n").last.map(String.init) ?? "it printed nothing"
        child.kill9()
        throw BenchError("the agent \(how): \(line)")
    }

    package func kill9() { take()?.kill9() }

    /// SIGTERM, and waits for its end.
    package func terminate() { take()?.terminate() }

    package func stop() {
        take()?.terminate()
        directory.remove()
    }

    private func take() -> ChildProcess? {
        process.withLock { process in
            defer { process = nil }
            return process
        }
    }
}

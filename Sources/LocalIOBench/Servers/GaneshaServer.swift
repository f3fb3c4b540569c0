// A private NFS-Ganesha with FSAL VFS: its own ports, state and log in a temporary directory.
internal import Glibc
package import SystemPackage
internal import Threads

/// NFS-Ganesha serving one directory under its absolute path, NFSv3 and v4, on 127.0.0.1.
///
/// Needs root. Several instances and processes may run at once.
package final class GaneshaServer: NFSServerFixture {
    private struct State {
        var process: ChildProcess?
        var mapper: PortMapper?
        var ports = (nfs: 0, mount: 0)
        var stopped = false
        /// Every directory that was ever exported, in the order of its number.
        var known: [String] = []
        var exported: [String] = []
    }

    package let name = "ganesha"
    package let exportDirectory: FilePath
    private let options: ExportOptions
    private let directory: TemporaryDirectory
    private let createdRunDirectory: Bool
    private let state = Lock(State())

    /// Why Ganesha cannot run here, or nil if it can.
    package static var unavailableReason: String? {
        guard ChildProcess.find("ganesha.nfsd") != nil else {
            return "NFS-Ganesha is not installed; run Config/setup.sh"
        }
        let plugin = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"]
        guard plugin.contains(where: { Files.exists("\($0)/ganesha/libfsalvfs.so") }) else {
            return "NFS-Ganesha's FSAL VFS is not installed; run Config/setup.sh"
        }
        guard geteuid() == 0 else {
            return "NFS-Ganesha's FSAL VFS needs root; run as root or use the embedded server"
        }
        return nil
    }

    /// Starts Ganesha and waits until it answers.
    /// - Parameter others: directories to export besides, with the same options.
    package init(
        exporting exportDirectory: FilePath, others: [FilePath] = [],
        options: ExportOptions = ExportOptions()
    ) throws(BenchError) {
        if let reason = Self.unavailableReason { throw BenchError(reason) }
        var resolved: [String] = []
        for directory in [exportDirectory] + others { try resolved.append(Self.resolve(directory)) }
        self.exportDirectory = FilePath(resolved[0])
        self.options = options
        directory = try TemporaryDirectory(mode: 0o700)
        createdRunDirectory = !Files.exists("/run/ganesha")
        do {
            let mapper = try PortMapper()
            let exported = resolved
            state.withLock { state in
                state.mapper = mapper
                state.exported = exported
            }
            try start(fresh: true)
        } catch {
            stop()
            throw error
        }
    }

    deinit { stop() }

    private static func resolve(_ directory: FilePath) throws(BenchError) -> String {
        let resolved = try Files.resolve(directory.string)
        guard Files.isDirectory(resolved) else {
            throw BenchError("\(directory): not a directory; give one to export")
        }
        guard !resolved.contains(where: { "\"@\\\n".contains($0) }) else {
            throw BenchError("\(resolved): Ganesha cannot export a path with \" @ \\ or a newline")
        }
        return resolved
    }

    /// Exports these directories from now on and no others: edits the configuration and sends
    /// SIGHUP; Ganesha takes a moment.
    package func export(_ directories: [FilePath]) throws(BenchError) {
        var resolved: [String] = []
        for directory in directories { try resolved.append(Self.resolve(directory)) }
        let exported = resolved
        state.withLock { $0.exported = exported }
        try writeConfiguration()
        state.withLock { $0.process }?.signal(SIGHUP)
    }

    package var url: String {
        let ports = state.withLock { $0.ports }
        return "nfs://127.0.0.1\(exportDirectory)?version=3&nfsport=\(ports.nfs)"
            + "&mountport=\(ports.mount)"
    }

    /// The NFS port, for NFSv4 clients.
    package var nfsPort: Int { state.withLock { $0.ports.nfs } }

    package var processIdentifier: Int32 {
        state.withLock { $0.process }.map { $0.isRunning ? $0.identifier : 0 } ?? 0
    }

    package var cpuNanoseconds: UInt64? { state.withLock { $0.process }?.cpuNanoseconds }

    /// Ganesha's own log, for failures.
    package var log: String { Files.text(at: logPath) ?? "" }
    private var logPath: String { directory.path.string + "/log" }

    package func kill9() {
        state.withLock { state in
            defer { state.process = nil }
            return state.process
        }?.kill9()
    }

    package func restart() throws(BenchError) {
        kill9()
        try start(fresh: false)
    }

    package func stop() {
        let (process, mapper, first) = state.withLock { state in
            defer {
                state.process = nil
                state.mapper = nil
                state.stopped = true
            }
            return (state.process, state.mapper, !state.stopped)
        }
        process?.terminate()
        mapper?.release()
        guard first else { return }
        directory.remove()
        // Ganesha leaves this one empty; rmdir refuses if another instance uses it.
        if createdRunDirectory { _ = unsafe rmdir("/run/ganesha") }
    }

    /// On fresh ports a collision with another program is tried again on others.
    private func start(fresh: Bool) throws(BenchError) {
        for attempt in 1...3 {
            if fresh {
                let ports = (nfs: try Port.unused(), mount: try Port.unused())
                state.withLock { $0.ports = ports }
            }
            Files.remove(logPath)
            do {
                return try startOnce()
            } catch {
                let collided = log.contains("bind") || log.contains("Cannot register")
                guard collided, attempt < 3 else { throw error }
            }
        }
    }

    private func writeConfiguration() throws(BenchError) {
        let base = directory.path.string
        let (ports, exports) = state.withLock { state in
            for path in state.exported where !state.known.contains(path) {
                state.known.append(path)
            }
            let exports = state.exported.map { path in
                (number: (state.known.firstIndex(of: path) ?? 0) + 1, directory: path)
            }
            return (state.ports, exports)
        }
        let configuration = GaneshaTemplate.filled(
            [
                "NFS_PORT": String(ports.nfs), "MOUNT_PORT": String(ports.mount), "STATE": base,
                "ACCESS": options.readOnly ? "RO" : "RW", "SQUASH": options.squash.rawValue,
                "ATTRIBUTE_SECONDS": String(options.attributeSeconds),
            ], exports: exports)
        try Files.write(configuration, to: base + "/ganesha.conf")
    }

    private func startOnce() throws(BenchError) {
        let base = directory.path.string
        let ports = state.withLock { $0.ports }
        try writeConfiguration()
        if !Files.exists(base + "/recovery") { try Files.makeDirectory(base + "/recovery") }
        guard let program = ChildProcess.find("ganesha.nfsd") else {
            throw BenchError("NFS-Ganesha is not installed; run Config/setup.sh")
        }
        let arguments = [
            "-F", "-f", base + "/ganesha.conf", "-L", logPath, "-p", base + "/pid",
        ]
        let process = try ChildProcess(program, arguments, outputPath: base + "/output")
        state.withLock { $0.process = process }
        let ready = poll(timeout: .seconds(20)) {
            !process.isRunning
                || log.contains("NFS SERVER INITIALIZED") && Port.answers(ports.nfs)
                    && Port.answers(ports.mount)
        }
        if process.isRunning && ready { return }
        kill9()
        let how = process.exitCode.map { "exited with status \($0)" } ?? "did not answer"
        throw BenchError("NFS-Ganesha \(how): \(lastLogLine)")
    }

    /// What Ganesha said last, without time stamps.
    private var lastLogLine: String {
        guard let line = log.split(separator: "\n").last else { return "its log is empty" }
        return line.split(separator: " :").last.map(String.init) ?? String(line)
    }
}

// `localio-bench with-mount`: any command on private mounts, each with its own server, as tests
// and people use them; everything gone afterwards.
internal import Glibc
internal import SystemPackage

/// The words of `localio-bench with-mount`; nil where an option is absent.
package struct WithMountArguments: Sendable {
    package var server: String?
    package var local: String?
    package var options: String?
    package var fileSystem: String?
    package var deviceLimit: String?
    package var memoryLimit: String?
    package var command: [String] = []

    package init() {}
}

struct WithMount {
    private enum Locality: String, CaseIterable { case on, off }

    private let servers: [ServerChoice]
    private let localities: [Locality]
    private let options: String
    private let fileSystem: BlockFixture.FileSystem?
    private let deviceLimit: Int?
    private let memoryLimit: Int?
    private let command: [String]

    init(_ arguments: WithMountArguments) throws(BenchError) {
        var servers: [ServerChoice] = []
        for word in (arguments.server ?? "embedded").split(separator: ",") {
            let server = try BenchPlan.server(String(word))
            if case .url = server {
                throw BenchError("--server \(word): give embedded or ganesha", kind: .usage)
            }
            servers.append(server)
        }
        self.servers = servers
        localities = try BenchPlan.list("--local", arguments.local ?? "on", Locality.self)
        options = arguments.options ?? ""
        deviceLimit = try arguments.deviceLimit.map { text throws(BenchError) in
            try BenchPlan.size("--device-limit", text)
        }
        memoryLimit = try arguments.memoryLimit.map { text throws(BenchError) in
            try BenchPlan.size("--memory-limit", text)
        }
        let wanted = arguments.fileSystem ?? (deviceLimit == nil ? nil : "ext4")
        fileSystem = try wanted.map { text throws(BenchError) in
            guard let kind = BlockFixture.FileSystem(rawValue: text) else {
                throw BenchError("--file-system '\(text)': must be ext4 or xfs", kind: .usage)
            }
            return kind
        }
        command = arguments.command
        guard !command.isEmpty else {
            throw BenchError(
                "with-mount: give a command; {} in it becomes the mount point", kind: .usage)
        }
    }

    /// - Returns: the first exit status other than 0, after all mounts had their turn.
    func run() throws(BenchError) -> Int32 {
        var status: Int32 = 0
        for server in servers {
            for locality in localities {
                writeAll("with-mount: \(server.name), local=\(locality)\n", to: STDOUT_FILENO)
                let code = try once(server, locality)
                if code != 0 {
                    writeAll("with-mount: status \(code)\n", to: STDOUT_FILENO)
                    if status == 0 { status = code }
                }
            }
        }
        return status
    }

    private func once(_ choice: ServerChoice, _ locality: Locality) throws(BenchError) -> Int32 {
        let disk = try fileSystem.map { kind throws(BenchError) in
            let device = deviceLimit.map { BlockFixture.Device.slow(bytesPerSecond: $0) } ?? .loop
            return try BlockFixture(kind, on: device, byteCount: 2 << 30)
        }
        defer { disk?.remove() }
        let directory = try TemporaryDirectory(in: disk?.path, mode: 0o777)
        defer { directory.remove() }
        let server = try PrivateServer.start(choice, exporting: directory.path)
        defer { server.stop() }
        // The mount and the command share what memory there is; the server has its own.
        let limit = try memoryLimit.map { bytes throws(BenchError) in
            try MemoryLimit(byteCount: bytes)
        }
        defer { limit?.remove() }
        let mount = try MountProcess(
            url: server.url,
            options: "local=\(locality)" + (options.isEmpty ? "" : "," + options))
        defer { mount.remove() }
        let words = command.map { $0 == "{}" ? mount.point : $0 }
        guard let program = words[0].contains("/") ? words[0] : ChildProcess.find(words[0]) else {
            throw BenchError("\(words[0]): no such program")
        }
        let child = try ChildProcess(program, Array(words.dropFirst()), sharesOutput: true)
        while child.isRunning {
            try StopFlag.check()
            usleep(20_000)
        }
        return child.exitCode ?? 1
    }
}

extension BenchCommand {
    /// Compares mounts and reports; with `check` a missed promise is a failure.
    package static func mount(_ arguments: MountArguments) -> Int32 {
        showingProgress { progress throws(BenchError) in
            let plan = try MountPlan(arguments)
            let output = try ReportFile(arguments.output)
            let report = try MountRun(plan: plan, show: { progress.show($0) }).run()
            progress.clear()
            try output.write(arguments.json ? report.json.text() + "\n" : report.text)
            return arguments.check && !report.isMet ? 1 : 0
        }
    }

    /// Runs a command on private mounts.
    package static func withMount(_ arguments: WithMountArguments) -> Int32 {
        do throws(BenchError) {
            return try WithMount(arguments).run()
        } catch {
            complain(error.message)
            return error.exitStatus
        }
    }
}

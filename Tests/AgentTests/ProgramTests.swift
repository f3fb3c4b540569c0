// The program itself: agent, check, status; signals, descriptors, and settings.
import AgentProtocol
import Foundation
import LocalIOBench
import LocalIOServer
import LocalIOTesting
import NFSClient
import NFSTypes
import SystemPackage
import Testing

@testable import LocalIOAgent

/// `localiod agent` in a process of its own, beside a server in this one.
final class AgentProcess: Sendable {
    let directory: TemporaryDirectory
    let server: EmbeddedServer
    let process: ChildProcess
    let session: NFSSession
    let port: Int
    var socketPath: String { directory.path.string + "/agent.sock" }
    var exported: String { directory.path.string + "/export" }
    var configurationPath: String { directory.path.string + "/localiod.yaml" }

    static var program: String {
        let bundle = CommandLine.arguments.first.map { URL(fileURLWithPath: $0) }
        let beside = bundle?.deletingLastPathComponent().appendingPathComponent("localiod").path
        if let beside, FileManager.default.isExecutableFile(atPath: beside) { return beside }
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { root.deleteLastPathComponent() }
        return root.appendingPathComponent(".build/debug/localiod").path
    }

    /// - Parameter descriptors: how many the process may have open.
    init(_ arguments: [String] = [], descriptors: Int? = nil) throws {
        directory = try TemporaryDirectory(mode: 0o755)
        let base = directory.path.string
        try FileManager.default.createDirectory(
            atPath: base + "/export", withIntermediateDirectories: true)
        try AgentFixture.write("text", to: base + "/export/file")
        server = EmbeddedServer(ServerConfiguration(directory: base + "/export"))
        try server.start()
        let url = try NFSURL(server.url ?? "")
        session = try NFSSession.connectBlocking(to: url)
        port = try Port.unused()
        try AgentFixture.write(
            """
            # A test's configuration.
            socket: \(base)/agent.sock
            program-address: 127.0.0.1
            program-port: \(port)
            program-register: false
            nfs-port: \(url.nfsPort ?? 0)
            mount-port: \(url.mountPort ?? 0)
            log-level: error
            exports:
              \(base)/export: \(base)/export
            """, to: base + "/localiod.yaml")
        var command = [Self.program, "agent", "--config", base + "/localiod.yaml"] + arguments
        if let descriptors {
            let limit = ChildProcess.find("prlimit") ?? "prlimit"
            command = [limit, "--nofile=\(descriptors)"] + command
        }
        process = try ChildProcess(
            command[0], Array(command.dropFirst()), outputPath: base + "/output")
        guard eventually({ (try? TestClient(path: base + "/agent.sock")) != nil }) else {
            throw FixtureError("no agent: " + output)
        }
    }

    deinit { stop() }

    var output: String {
        (try? String(contentsOfFile: directory.path.string + "/output", encoding: .utf8)) ?? ""
    }

    var descriptorCount: Int {
        let path = "/proc/\(process.identifier)/fd"
        return (try? FileManager.default.contentsOfDirectory(atPath: path).count) ?? -1
    }

    func stop() {
        process.kill9()
        session.closeBlocking()
        server.stop()
        directory.remove()
    }

    func client() throws -> TestClient {
        let client = try TestClient(path: socketPath)
        try client.greet()
        try client.prove(port: port)
        return client
    }

    func request() throws -> AgentOpenRequest {
        let handle = try session.performBlocking(.lookup(session.root, "file")).handle
        return AgentOpenRequest(
            requestID: 1, handle: handle, access: .readWrite, exportPath: exported,
            pathHint: "file", wantsBuffered: true)
    }
}

@Suite(.serialized) struct ProgramTests {
    @Test func manyOpensLeaveNothingBehind() throws {
        let agent = try AgentProcess()
        defer { agent.stop() }
        let client = try agent.client()
        var request = try agent.request()
        #expect(try client.outcome(request) == nil)
        let before = agent.descriptorCount
        for number in 0..<testOperations(2000) {
            request.requestID = UInt64(number)
            let refusal = try client.outcome(request)
            if refusal != nil { Issue.record("\(String(describing: refusal))") }
        }
        #expect(eventually { agent.descriptorCount <= before })
    }

    @Test func withoutDescriptorsItRefusesAndRecovers() throws {
        let agent = try AgentProcess(descriptors: 48)
        defer { agent.stop() }
        let client = try agent.client()
        let request = try agent.request()
        #expect(try client.outcome(request) == nil)
        do {
            // Connections that use up what the agent has.
            var hoard: [TestClient] = []
            let isRefused = eventually {
                if hoard.count < 60, let more = try? TestClient(path: agent.socketPath) {
                    try? more.socket.send(.hello(lowest: 1, highest: 1))
                    hoard.append(more)
                }
                return (try? client.outcome(request)) == .some(.noDescriptors)
            }
            #expect(isRefused)
        }
        #expect(try eventually { try client.outcome(request) == nil })
    }

    @Test func connectionsThatEndLeaveNothingBehind() throws {
        let agent = try AgentProcess()
        defer { agent.stop() }
        _ = try agent.client()
        let before = agent.descriptorCount
        do {
            let clients = try (0..<50).map { _ in try agent.client() }
            // Half of them leave answers with descriptors unread.
            for client in clients.prefix(25) { try client.socket.send(.open(agent.request())) }
        }
        #expect(eventually { agent.descriptorCount <= before })
    }

    @Test func terminationIsCleanAndTold() throws {
        let agent = try AgentProcess()
        defer { agent.stop() }
        let client = try agent.client()
        let answer = try client.open(agent.request())
        #expect(answer.isOpened)
        answer.close()
        agent.process.signal(SIGTERM)
        #expect(try client.receive() == .revoke(.all))
        #expect(client.isClosed())
        #expect(agent.process.wait(timeout: .seconds(20)) == 0)
        #expect(!FileManager.default.fileExists(atPath: agent.socketPath))
    }

    @Test func hangUpReadsTheExportsAgain() throws {
        let agent = try AgentProcess()
        defer { agent.stop() }
        let client = try agent.client()
        let answer = try client.open(agent.request())
        answer.close()
        let text = try String(contentsOfFile: agent.configurationPath, encoding: .utf8)
        try AgentFixture.write(
            text.replacing("\(agent.exported): \(agent.exported)", with: "/other: /var/tmp"),
            to: agent.configurationPath)
        agent.process.signal(SIGHUP)
        guard case .revoke(.export) = try client.receive() else {
            Issue.record("no revocation")
            return
        }
        #expect(try client.outcome(agent.request()) == .unknownExport)
        #expect(agent.process.isRunning)
    }

    @Test func checkProvesTheMapping() throws {
        let agent = try AgentProcess()
        defer { agent.stop() }
        let arguments = ["check", "--config", agent.configurationPath]
        let (code, output) = try ChildProcess.run(AgentProcess.program, arguments)
        #expect(code == 0 && output.contains("right; "), "\(output)")
        let wrong = arguments + ["--exports", "\(agent.exported)=/var/tmp"]
        let (bad, complaint) = try ChildProcess.run(AgentProcess.program, wrong)
        #expect(bad == 1 && complaint.contains("wrong: "), "\(complaint)")
    }

    @Test func statusAndASecondAgent() throws {
        let agent = try AgentProcess()
        defer { agent.stop() }
        let (code, output) = try ChildProcess.run(
            AgentProcess.program, ["status", "--json", "--socket", agent.socketPath])
        #expect(code == 0)
        let object = try JSONSerialization.jsonObject(with: Data(output.utf8))
        #expect((object as? [String: Any])?["version"] as? Int == 1)
        let (second, complaint) = try ChildProcess.run(
            AgentProcess.program, ["agent", "--config", agent.configurationPath])
        #expect(second == 1 && complaint.contains("already listens"), "\(complaint)")
        let (none, nobody) = try ChildProcess.run(
            AgentProcess.program, ["status", "--socket", "/nowhere"])
        #expect(none == 1 && nobody.contains("no agent answers at /nowhere"), "\(nobody)")
    }

    @Test func serveRunsAnAgentOfItsOwn() throws {
        let directory = try TemporaryDirectory(mode: 0o755)
        defer { directory.remove() }
        try AgentFixture.write("text", to: directory.path.string + "/file")
        let socket = directory.path.string + "/agent.sock"
        let server = try EmbeddedServerProcess(
            exporting: directory.path, arguments: ["--agent-socket", socket])
        defer { server.stop() }
        let session = try NFSSession.connectBlocking(to: try NFSURL(server.url))
        defer { session.closeBlocking() }
        let client = try TestClient(path: socket)
        try client.greet()
        // The nonce goes to the NFS port itself.
        try client.prove(port: Int(session.nfsPort))
        let handle = try session.performBlocking(.lookup(session.root, "file")).handle
        let request = AgentOpenRequest(
            requestID: 1, handle: handle, access: .read,
            exportPath: server.exportDirectory.string)
        #expect(try client.outcome(request) == nil)
    }
}

@Suite struct SettingsTests {
    @Test func flagsCountMoreThanEnvironmentThanFile() throws {
        let file = "socket: /a\nclients: 5\nopens: 6\nsocket-mode: 0660\n"
        let configuration = try AgentSetting.configuration(
            file: file, environment: ["LOCALIO_CLIENTS": "7", "LOCALIO_OPENS": "8"],
            flags: ["opens": "9"])
        #expect(configuration.socketPath == "/a" && configuration.socketMode == 0o660)
        #expect(configuration.limits.clients == 7 && configuration.limits.opens == 9)
    }

    @Test(arguments: [
        ("clients: many", "clients \"many\": give a number from 1 to 65536"),
        ("socket: here", "socket \"here\": give an absolute path"),
        ("sockets: /a", "no setting \"sockets\""), ("exports:\n  a: b", "give /exported/path="),
        ("[1, 2]", "must be lines of"), ("socket-mode: 0999", "octal"),
        ("a: [", "is no YAML"),
    ])
    func badSettingsSayWhatWouldBeRight(_ file: String, _ words: String) {
        let error = #expect(throws: AgentError.self) {
            try AgentSetting.configuration(file: file, environment: [:], flags: [:])
        }
        #expect(error?.description.contains(words) == true, "\(String(describing: error))")
    }

    @Test func theSampleIsWholeAndSaysTheDefaults() throws {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { root.deleteLastPathComponent() }
        let path = root.appendingPathComponent("Config/localiod.yaml")
        let text = try String(contentsOf: path, encoding: .utf8)
        let sample = try AgentSetting.configuration(file: text, environment: [:], flags: [:])
        #expect(sample == AgentConfiguration())
        for setting in AgentSetting.all {
            #expect(text.contains("\(setting.name):"), "\(setting.name) is not in the sample")
        }
    }
}

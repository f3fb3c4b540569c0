// A directory, a server that exports it, an agent beside it, and clients of that agent.
import AgentProtocol
import CLinux
import Foundation
import LocalIOBench
import LocalIOServer
import LocalIOTesting
import Logging
import NFSClient
import NFSTypes
import SystemPackage
import Threads

@testable import LocalIOAgent

let ganesha = Requirement.ganesha

/// Foundation has another one.
typealias FileHandle = NFSTypes.FileHandle

/// A failure of the fixture itself.
struct FixtureError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// An agent with its server; everything is gone after `stop` or when the object goes.
final class AgentFixture: Sendable {
    enum Server { case embedded, ganesha }

    let exportDirectory: TemporaryDirectory
    let socketDirectory: TemporaryDirectory
    let agent: Agent
    let configuration: AgentConfiguration
    let ganesha: GaneshaServer?
    let embedded: EmbeddedServer?
    /// As root, for setting up and for RPC's own opinion.
    let session: NFSSession

    init(
        _ server: Server = .embedded, options: ExportOptions = ExportOptions(attributeSeconds: 0),
        fill: (String) throws -> Void = { _ in },
        configure: (inout AgentConfiguration) -> Void = { _ in }
    ) throws {
        exportDirectory = try TemporaryDirectory(mode: 0o755)
        socketDirectory = try TemporaryDirectory(mode: 0o755)
        let directory = exportDirectory.path.string
        try fill(directory)
        var configuration = AgentConfiguration()
        configuration.socketPath = socketDirectory.path.string + "/agent.sock"
        configuration.programAddress = "127.0.0.1"
        configuration.programPort = 0
        configuration.registersProgram = false
        configuration.intervals.heartbeat = .milliseconds(100)
        configuration.intervals.rejudge = .milliseconds(200)
        configuration.intervals.exportList = .milliseconds(500)
        configuration.exports = [ExportMapping(path: directory, directory: directory)]
        let url: NFSURL
        switch server {
        case .embedded:
            let running = EmbeddedServer(ServerConfiguration(directory: directory))
            try running.start()
            (embedded, ganesha) = (running, nil)
            url = try NFSURL(running.url ?? "")
        case .ganesha:
            let running = try GaneshaServer(exporting: FilePath(directory), options: options)
            (embedded, ganesha) = (nil, running)
            url = try NFSURL(running.url)
        }
        configuration.nfsPort = url.nfsPort
        configuration.mountPort = url.mountPort
        configure(&configuration)
        self.configuration = configuration
        session = try NFSSession.connectBlocking(
            to: url, configuration: SessionConfiguration(recovery: .soft(retries: 0)))
        var logger = Logger(label: "test") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .error
        agent = Agent(configuration, logger: logger)
        try agent.start()
    }

    deinit { stop() }

    func stop() {
        agent.stop()
        session.closeBlocking()
        ganesha?.stop()
        embedded?.stop()
        socketDirectory.remove()
        exportDirectory.remove()
    }

    var directory: String { exportDirectory.path.string }

    /// The server's handle of a path below the export.
    func handle(_ path: String) throws -> FileHandle {
        var handle = session.root
        for part in path.split(separator: "/") {
            handle = try session.performBlocking(.lookup(handle, NFSName(part))).handle
        }
        return handle
    }

    /// A connected client that has proved locality; as another user if one is given.
    func client(as user: Credentials? = nil, proved: Bool = true) throws -> TestClient {
        let client = try TestClient(path: configuration.socketPath, as: user)
        try client.greet()
        if proved { try client.prove(port: agent.programPort ?? 0) }
        return client
    }

    func request(
        _ path: String, _ access: AgentAccess = .read, hint: String? = nil, buffered: Bool = false
    ) throws -> AgentOpenRequest {
        AgentOpenRequest(
            requestID: UInt64.random(in: 0...UInt64.max), handle: try handle(path),
            access: access, exportPath: directory, pathHint: hint ?? path,
            wantsBuffered: buffered)
    }

    /// A number in the status of the agent.
    func status(_ section: String, _ name: String) -> Int {
        let data = Data(agent.statusJSON.utf8)
        let object = (try? JSONSerialization.jsonObject(with: data)) as? [String: Any]
        if section.isEmpty { return object?[name] as? Int ?? 0 }
        return (object?[section] as? [String: Any])?[name] as? Int ?? 0
    }

    func refusals(_ reason: AgentRefusal) -> Int { status("refusals", reason.name) }

    static func write(_ text: String, to path: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }
}

/// Asks until it is so, or ten seconds have passed.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
    for _ in 0..<1000 {
        if try condition() { return true }
        usleep(10_000)
    }
    return false
}

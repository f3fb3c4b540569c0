// The agent as a service: the units as systemd reads them, the rights that they leave, and a
// socket that somebody else has opened. systemd's own tools; none needs a running systemd.
import AgentProtocol
import Foundation
import LocalIOBench
import LocalIOTesting
import NFSClient
import NFSTypes
import SystemPackage
import Testing

@testable import LocalIOAgent

enum ServiceUnit {
    static let directory: URL = {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { root.deleteLastPathComponent() }
        return root.appendingPathComponent("Config")
    }()

    static func text(_ name: String) throws -> String {
        try String(contentsOf: directory.appendingPathComponent(name), encoding: .utf8)
    }

    /// What the service's unit says of a key.
    static func value(_ key: String) throws -> String {
        let line = try text("localiod.service").split(separator: "\n")
            .first { $0.hasPrefix(key + "=") }
        return String(try #require(line).dropFirst(key.count + 1))
    }

    /// Words that run a program with these capabilities at most, and no way to more.
    static func bounded(to capabilities: [String]) -> [String] {
        let names = capabilities.map { ",+" + $0.lowercased().dropFirst("CAP_".count) }
        return ["setpriv", "--bounding-set=-all" + names.joined(), "--no-new-privs"]
    }
}

@Suite(.serialized) struct ServiceTests {
    @Test(.enabled(if: Requirement.systemdTools.isMet)) func systemdUnderstandsTheUnits() throws {
        // A file system of its own: the program is where the unit says, and systemd's units are
        // there to depend on.
        let root = try TemporaryDirectory(mode: 0o755)
        defer { root.remove() }
        let (base, manager) = (root.path.string, FileManager.default)
        let units = base + "/usr/lib/systemd/system"
        for place in ["/usr/lib/systemd", "/usr/sbin", "/bin"] {
            try manager.createDirectory(atPath: base + place, withIntermediateDirectories: true)
        }
        try manager.copyItem(atPath: "/usr/lib/systemd/system", toPath: units)
        for name in ["localiod.service", "localiod.socket"] {
            try AgentFixture.write(ServiceUnit.text(name), to: "\(units)/\(name)")
        }
        let program = try #require(
            ServiceUnit.value("ExecStart").split(separator: " ").first.map(String.init))
        for file in [program, "/bin/kill"] {
            try AgentFixture.write("#!/bin/sh\n", to: base + file)
            chmod(base + file, 0o755)
        }
        func complaints() throws -> [Substring] {
            let (_, output) = try ChildProcess.run(
                try #require(ChildProcess.find("systemd-analyze")),
                ["verify", "--root=\(base)", "localiod.service", "localiod.socket"])
            // Other packages' units are their own affair.
            return output.split(separator: "\n").filter { $0.contains("localiod") }
        }
        #expect(try complaints() == [])
        let wrong = try ServiceUnit.text("localiod.service")
            .replacing("NoNewPrivileges=", with: "NoNewPrivilege=")
        try AgentFixture.write(wrong, to: units + "/localiod.service")
        #expect(try complaints().count == 1)
    }

    /// What the unit starts is what this program understands, with the sample configuration.
    @Test func theUnitStartsThisProgram() throws {
        let words = try ServiceUnit.value("ExecStart").split(separator: " ").map(String.init)
        #expect(words == ["/usr/sbin/localiod", "agent", "--config", "/etc/localio/localiod.yaml"])
        let socket = try ServiceUnit.text("localiod.socket")
        #expect(socket.contains("ListenStream=\(AgentConfiguration().socketPath)\n"))
        let mode = String(AgentConfiguration().socketMode, radix: 8)
        #expect(socket.contains("SocketMode=0\(mode)\n"))
    }

    /// With exactly the unit's capabilities another user's files are handed out for reading and
    /// writing; with one less they are not.
    @Test(.enabled(if: ganesha.isMet)) func theUnitLeavesTheRightsThatAreNeeded() throws {
        let directory = try TemporaryDirectory(mode: 0o755)
        defer { directory.remove() }
        // Nobody but their owner gets there by path.
        let folder = directory.path.string + "/folder"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false)
        try AgentFixture.write("text", to: folder + "/file")
        for (path, mode) in [(folder, 0o700), (folder + "/file", 0o600)] as [(String, mode_t)] {
            chown(path, 4711, 4711)
            chmod(path, mode)
        }
        let server = try GaneshaServer(exporting: directory.path)
        defer { server.stop() }
        let session = try NFSSession.connectBlocking(to: NFSURL(server.url))
        defer { session.closeBlocking() }
        let inside = try session.performBlocking(.lookup(session.root, "folder")).handle
        let file = try session.performBlocking(.lookup(inside, "file")).handle
        let all = try ServiceUnit.value("CapabilityBoundingSet").split(separator: " ")
            .map(String.init)
        #expect(Set(all).isSuperset(of: ["CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"]))
        /// What a client gets that is the file's owner.
        func outcomes(_ capabilities: [String]) throws -> [AgentRefusal?] {
            let agent = try LocalIOBench.AgentProcess(
                beside: server.url, exportDirectory: directory.path,
                prefix: ServiceUnit.bounded(to: capabilities),
                arguments: ["--find-by", "handle"])
            defer { agent.stop() }
            let client = try TestClient(
                path: agent.socket.string, as: Credentials(uid: 4711, gid: 4711))
            try client.greet()
            try client.prove(port: Int(agent.programPort))
            return try [AgentAccess.read, .readWrite].map { access in
                try client.outcome(
                    AgentOpenRequest(
                        requestID: 1, handle: file, access: access,
                        exportPath: directory.path.string, pathHint: "folder/file",
                        wantsBuffered: true))
            }
        }
        #expect(try outcomes(all) == [nil, nil])
        let withoutOverride = try outcomes(all.filter { $0 != "CAP_DAC_OVERRIDE" })
        #expect(withoutOverride == [nil, .openFailed])
        let withoutSearch = try outcomes(all.filter { $0 != "CAP_DAC_READ_SEARCH" })
        #expect(withoutSearch.allSatisfy { $0 != nil }, "\(withoutSearch)")
    }

    @Test(.enabled(if: Requirement.systemdTools.isMet)) func aPassedSocketIsUsedAndLeft() throws {
        let agent = try AgentProcess()
        defer { agent.stop() }
        // The agent of the fixture has shown that the configuration is right: now without it.
        agent.process.signal(SIGTERM)
        #expect(agent.process.wait(timeout: .seconds(20)) == 0)
        let socket = agent.directory.path.string + "/passed.sock"
        let tool = try #require(ChildProcess.find("systemd-socket-activate"))
        func activate(_ socket: String) throws -> ChildProcess {
            try ChildProcess(
                tool,
                [
                    "--listen=\(socket)", AgentProcess.program, "agent", "--config",
                    agent.configurationPath,
                ], outputPath: agent.directory.path.string + "/activated")
        }
        let activated = try activate(socket)
        defer { activated.kill9() }
        // The first connection starts the agent, and is served.
        #expect(eventually { (try? TestClient(path: socket)) != nil })
        let client = try TestClient(path: socket)
        try client.greet()
        try client.prove(port: agent.port)
        let answer = try client.open(agent.request())
        #expect(answer.isOpened)
        answer.close()
        #expect(!FileManager.default.fileExists(atPath: agent.socketPath))
        activated.signal(SIGTERM)
        #expect(try client.receive() == .revoke(.all))
        #expect(client.isClosed())
        #expect(activated.wait(timeout: .seconds(20)) == 0)
        // The file is the service manager's.
        #expect(FileManager.default.fileExists(atPath: socket))
        // A TCP socket says nothing about who is at its other end.
        let port = try Port.unused()
        let wrong = try activate("127.0.0.1:\(port)")
        defer { wrong.kill9() }
        #expect(eventually { Port.answers(port) || !wrong.isRunning })
        #expect(wrong.wait(timeout: .seconds(20)) == 1)
        let log = try String(
            contentsOfFile: agent.directory.path.string + "/activated", encoding: .utf8)
        #expect(log.contains("is no listening Unix stream socket"), "\(log)")
    }
}

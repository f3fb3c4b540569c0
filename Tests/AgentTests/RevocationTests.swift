// What is taken back: when the server goes, the export goes, the permission goes, the agent ends.
import AgentProtocol
import Foundation
import LocalIOBench
import LocalIOServer
import LocalIOTesting
import NFSClient
import NFSTypes
import Testing

@testable import LocalIOAgent

@Suite(.serialized, .enabled(if: Requirement.root.isMet)) struct RevocationTests {
    static func fill(_ directory: String) throws {
        try AgentFixture.write("text", to: directory + "/file")
        chown(directory + "/file", 1000, 1000)
        chmod(directory + "/file", 0o600)
    }

    static let owner = Credentials(uid: 1000, gid: 1000)

    /// Waits for the next revocation.
    static func revocation(_ client: TestClient) throws -> AgentRevocation {
        while true {
            if case .revoke(let revocation) = try client.receive() { return revocation }
        }
    }

    @Test(.enabled(if: ganesha.isMet)) func theServerGoesAndComesBack() throws {
        let fixture = try AgentFixture(.ganesha, fill: Self.fill)
        defer { fixture.stop() }
        let client = try fixture.client()
        let request = try fixture.request("file")
        let answer = try client.open(request)
        #expect(answer.isOpened)
        defer { answer.close() }
        fixture.ganesha?.kill9()
        #expect(try Self.revocation(client) == .all)
        #expect(fixture.status("", "open_count") == 0)
        #expect(try client.outcome(request) == .serverGone)
        try fixture.ganesha?.restart()
        let isBack = try eventually { try client.outcome(request) == nil }
        #expect(isBack)
        #expect(fixture.status("counters", "server_losses") >= 1)
    }

    @Test(.enabled(if: ganesha.isMet)) func aServerThatHangsCountsAsGone() throws {
        let fixture = try AgentFixture(.ganesha, fill: Self.fill) {
            $0.intervals.serverTimeout = .milliseconds(500)
        }
        defer { fixture.stop() }
        let client = try fixture.client()
        let request = try fixture.request("file")
        let answer = try client.open(request)
        #expect(answer.isOpened)
        defer { answer.close() }
        let pid = fixture.ganesha?.processIdentifier ?? 0
        #expect(pid > 0 && kill(pid, SIGSTOP) == 0)
        defer { kill(pid, SIGCONT) }
        #expect(try Self.revocation(client) == .all)
        #expect(try client.outcome(request) == .serverGone)
        kill(pid, SIGCONT)
        let isBack = try eventually { try client.outcome(request) == nil }
        #expect(isBack)
    }

    @Test func permissionChangesOnAnOpenFile() throws {
        let fixture = try AgentFixture(fill: Self.fill)
        defer { fixture.stop() }
        let client = try fixture.client(as: Self.owner)
        let request = try fixture.request("file", .readWrite)
        let answer = try client.open(request)
        #expect(answer.isOpened)
        defer { answer.close() }
        chown(fixture.directory + "/file", 1001, 1001)
        #expect(try Self.revocation(client) == .handle(request.handle))
        #expect(try client.outcome(request) == .serverDenied)
        // One that keeps its ground is left alone.
        let other = try fixture.client(as: Credentials(uid: 1001, gid: 1001))
        #expect(try other.outcome(request) == nil)
    }

    @Test func theExportGoes() throws {
        let fixture = try AgentFixture(fill: Self.fill)
        defer { fixture.stop() }
        let client = try fixture.client()
        let request = try fixture.request("file")
        let answer = try client.open(request)
        defer { answer.close() }
        guard case .opened(let reply, _, _) = answer else {
            Issue.record("\(answer)")
            return
        }
        // The file moves to another export of another agent's configuration.
        var configuration = fixture.configuration
        configuration.exports = [ExportMapping(path: "/elsewhere", directory: "/var/tmp")]
        try fixture.agent.reload(configuration)
        #expect(try Self.revocation(client) == .export(reply.exportID))
        #expect(try client.outcome(request) == .unknownExport)
    }

    @Test func shutdownRevokesAndCloses() throws {
        let fixture = try AgentFixture(fill: Self.fill)
        defer { fixture.stop() }
        let client = try fixture.client()
        let answer = try client.open(fixture.request("file"))
        defer { answer.close() }
        fixture.agent.stop()
        #expect(try Self.revocation(client) == .all)
        #expect(client.isClosed())
        #expect(!FileManager.default.fileExists(atPath: fixture.configuration.socketPath))
    }

    @Test func endOfFileReleases() throws {
        let fixture = try AgentFixture(fill: Self.fill)
        defer { fixture.stop() }
        do {
            let client = try fixture.client()
            let answer = try client.open(fixture.request("file"))
            answer.close()
            #expect(fixture.status("", "open_count") == 1)
            client.socket.shutdown()
        }
        #expect(eventually { fixture.status("", "open_count") == 0 })
        #expect(eventually { fixture.status("", "client_count") == 0 })
    }

    @Test func anotherServerInPlaceOfOursIsNotTrusted() throws {
        // The agent maps the export to a directory that the server does not export.
        let elsewhere = try AgentFixture(fill: Self.fill)
        defer { elsewhere.stop() }
        let fixture = try AgentFixture(fill: Self.fill) { configuration in
            configuration.exports[0].directory = elsewhere.directory
        }
        defer { fixture.stop() }
        let client = try fixture.client()
        #expect(try client.outcome(fixture.request("file")) == .serverGone)
    }
}

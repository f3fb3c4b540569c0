// A grant is used again while nothing can have changed it, and not a moment longer.
import AgentProtocol
import Foundation
import Glibc
import LocalIOTesting
import NFSTypes
import Testing

@testable import LocalIOAgent

@Suite(.serialized) struct JudgementTests {
    private static let owner = Credentials(uid: 1000, gid: 1000)
    private static let other = Credentials(uid: 1001, gid: 1001)

    private static func fill(_ directory: String) throws {
        try AgentFixture.write("content", to: directory + "/file")
        chown(directory + "/file", 1000, 1000)
        chmod(directory + "/file", 0o640)
    }

    private static var servers: [AgentFixture.Server] {
        ganesha.isMet ? [.embedded, .ganesha] : [.embedded]
    }

    /// A fixture whose file has been left alone long enough; a grant there lasts `lifetime`.
    private static func rested(
        _ server: AgentFixture.Server, lifetime: Duration = .seconds(60)
    ) throws -> AgentFixture {
        let fixture = try AgentFixture(server, fill: fill) { $0.intervals.rejudge = lifetime }
        usleep(2_200_000)
        return fixture
    }

    /// Counted just after the answer has gone out: ask `eventually`.
    private static func unasked(_ fixture: AgentFixture) -> Int {
        fixture.status("counters", "opened_unasked")
    }

    @Test(arguments: servers) func theSameOpenAsksOnce(_ server: AgentFixture.Server) throws {
        let fixture = try Self.rested(server)
        defer { fixture.stop() }
        let client = try fixture.client(as: Self.owner)
        let request = try fixture.request("file", .readWrite)
        for _ in 0..<10 { #expect(try client.outcome(request) == nil) }
        #expect(eventually { Self.unasked(fixture) == 9 })
        // Another access is another question.
        #expect(try client.outcome(fixture.request("file", .read)) == nil)
        #expect(eventually { Self.unasked(fixture) == 9 })
    }

    @Test(arguments: servers) func anotherUserIsJudged(_ server: AgentFixture.Server) throws {
        let fixture = try Self.rested(server)
        defer { fixture.stop() }
        let request = try fixture.request("file", .read)
        let owner = try fixture.client(as: Self.owner)
        #expect(try owner.outcome(request) == nil)
        #expect(try owner.outcome(request) == nil)
        let other = try fixture.client(as: Self.other)
        #expect(try other.outcome(request) == .serverDenied)
        // A group more is another user.
        let member = try fixture.client(
            as: Credentials(uid: 1001, gid: 1001, groups: [1000]))
        #expect(try member.outcome(request) == nil)
        #expect(eventually { Self.unasked(fixture) == 1 })
    }

    /// What changes who may is seen by the very next open, however long a grant lasts.
    @Test(arguments: servers) func aChangeEndsIt(_ server: AgentFixture.Server) throws {
        let fixture = try Self.rested(server)
        defer { fixture.stop() }
        let path = fixture.directory + "/file"
        let client = try fixture.client(as: Credentials(uid: 1001, gid: 1000))
        let request = try fixture.request("file", .read)
        #expect(try client.outcome(request) == nil)
        #expect(try client.outcome(request) == nil)
        #expect(eventually { Self.unasked(fixture) == 1 })
        #expect(chmod(path, 0o600) == 0)
        #expect(try client.outcome(request) == .serverDenied)
        #expect(chmod(path, 0o640) == 0)
        // As it was, but too fresh to be kept.
        #expect(try client.outcome(request) == nil)
        #expect(try client.outcome(request) == nil)
        #expect(eventually { Self.unasked(fixture) == 1 })
        #expect(chown(path, 1000, 1002) == 0)
        #expect(try client.outcome(request) == .serverDenied)
    }

    @Test func itEndsByItself() throws {
        let fixture = try Self.rested(.embedded, lifetime: .milliseconds(300))
        defer { fixture.stop() }
        let client = try fixture.client(as: Self.owner)
        let request = try fixture.request("file", .read)
        #expect(try client.outcome(request) == nil)
        usleep(500_000)
        #expect(try client.outcome(request) == nil)
        #expect(eventually { Self.unasked(fixture) == 0 })
    }

    /// A file written to since is judged anew, and so is one that took another's name.
    @Test func dataAndReplacementsEndIt() throws {
        let fixture = try Self.rested(.embedded)
        defer { fixture.stop() }
        let client = try fixture.client(as: Self.owner)
        let request = try fixture.request("file", .read)
        #expect(try client.outcome(request) == nil)
        try AgentFixture.write("other content", to: fixture.directory + "/new")
        #expect(rename(fixture.directory + "/new", fixture.directory + "/file") == 0)
        // The handle names the old file, which is gone, or cannot be found by that path.
        #expect(try client.outcome(request) != nil)
        #expect(eventually { Self.unasked(fixture) == 0 })
    }
}

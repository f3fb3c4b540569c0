// What clients can make the agent hold, and what they cannot make it do.
import AgentProtocol
import CLinux
import Foundation
import LocalIOTesting
import NFSTypes
import Testing

@testable import LocalIOAgent

@Suite(.serialized) struct LimitTests {
    static func fill(_ directory: String) throws {
        try AgentFixture.write("text", to: directory + "/file")
    }

    static func send(_ bytes: [UInt8], _ client: TestClient) {
        _ = bytes.withUnsafeBytes {
            Foundation.send(
                client.socket.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
    }

    @Test func halfMessagesAndGiantLengths() throws {
        let fixture = try AgentFixture(fill: Self.fill)
        defer { fixture.stop() }
        let half = try fixture.client()
        Self.send([0, 0, 0, 100, 0, 8, 1, 2], half)
        for bytes: [UInt8] in [
            [255, 255, 255, 255], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1, 9],
            [0, 0, 0, 2, 0, 8], [0, 0, 0, 4, 0, 11, 0, 0],
        ] {
            let client = try fixture.client(proved: false)
            Self.send(bytes, client)
            if bytes.count > 4 || bytes[1] == 1 || bytes[0] == 255 || bytes == [0, 0, 0, 0] {
                #expect(client.isClosed(), "\(bytes)")
            }
        }
        #expect(fixture.status("counters", "bad_messages") == 6)
        // The others are served.
        let outcome = try fixture.client().outcome(fixture.request("file"))
        #expect(outcome == nil)
    }

    @Test func unknownMessagesAreAnswered() throws {
        let fixture = try AgentFixture(fill: Self.fill)
        defer { fixture.stop() }
        let client = try fixture.client()
        Self.send([0, 0, 0, 5, 0x7f, 0xff, 1, 2, 3], client)
        #expect(try client.receive() == .unknown(type: 0x7fff))
        #expect(try client.outcome(fixture.request("file")) == nil)
    }

    @Test func versionsThatDoNotMeet() throws {
        let fixture = try AgentFixture()
        defer { fixture.stop() }
        let client = try TestClient(path: fixture.configuration.socketPath)
        try client.socket.send(.hello(lowest: 2, highest: 9))
        #expect(try client.receive() == .helloReply(version: 0))
        #expect(client.isClosed())
        let silent = try TestClient(path: fixture.configuration.socketPath)
        try silent.socket.send(.status)
        #expect(silent.isClosed())
    }

    @Test func manyIdleConnections() throws {
        let fixture = try AgentFixture(fill: Self.fill) { configuration in
            configuration.limits.clients = 300
            configuration.limits.clientsPerUser = 200
            configuration.intervals.greeting = .milliseconds(300)
        }
        defer { fixture.stop() }
        do {
            let idle = (0..<1000).compactMap { _ in
                try? TestClient(path: fixture.configuration.socketPath)
            }
            #expect(idle.count > 200)
            // Those that never say hello make room for one that does.
            let served = eventually {
                guard let client = try? fixture.client(), let request = try? fixture.request("file")
                else { return false }
                return (try? client.outcome(request)) == .some(nil)
            }
            #expect(served)
            #expect(fixture.status("counters", "connections_refused") > 0)
            withExtendedLifetime(idle) {}
        }
    }

    @Test func aClientThatNeverReads() throws {
        let fixture = try AgentFixture(fill: Self.fill)
        defer { fixture.stop() }
        do {
            let client = try fixture.client()
            var size: Int32 = 1
            setsockopt(
                client.socket.descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(4))
            let request = try fixture.request("file")
            let flood = Box(false)
            let thread = Thread {
                for _ in 0..<20_000 {
                    do {
                        try client.socket.send(.status, timeout: .milliseconds(200))
                        try client.socket.send(.open(request), timeout: .milliseconds(200))
                    } catch { break }
                }
                flood.set(true)
            }
            thread.start()
            let other = try fixture.client()
            for _ in 0..<20 { #expect(try other.outcome(fixture.request("file")) == nil) }
            #expect(eventually { fixture.status("counters", "dropped_clients") >= 1 })
            #expect(eventually { flood.get() })
        }
    }

    @Test func opensAreBounded() throws {
        let fixture = try AgentFixture(fill: Self.fill) { $0.limits.opensPerClient = 3 }
        defer { fixture.stop() }
        let client = try fixture.client()
        var answers: [OpenAnswer] = []
        for _ in 0..<3 { answers.append(try client.open(fixture.request("file"))) }
        #expect(answers.count { $0.isOpened } == 3)
        #expect(try client.outcome(fixture.request("file")) == .tooManyOpens)
        if case .opened(let reply, _, _) = answers[0] {
            try client.socket.send(.release(openID: reply.openID))
        }
        #expect(try client.outcome(fixture.request("file")) == nil)
        for answer in answers { answer.close() }
    }
}

@Suite(.serialized) struct SocketFileTests {
    @Test func startedTwiceAndStaleFiles() throws {
        let fixture = try AgentFixture()
        defer { fixture.stop() }
        let second = Agent(fixture.configuration)
        let error = #expect(throws: AgentError.self) { try second.start() }
        #expect(error?.description.contains("already listens") == true)
        fixture.agent.stop()
        // A file that a killed agent left.
        let path = fixture.configuration.socketPath
        let left = clinux_unix_listen(path, 0o600, 1)
        #expect(left >= 0)
        close(left)
        let third = Agent(fixture.configuration)
        try third.start()
        third.stop()
        // A file that is no socket is nobody's to remove.
        try AgentFixture.write("precious", to: path)
        let fourth = Agent(fixture.configuration)
        let other = #expect(throws: AgentError.self) { try fourth.start() }
        #expect(other?.description.contains("is no socket") == true)
        #expect(FileManager.default.fileExists(atPath: path))
    }

    @Test func directoriesThatCannotBeWrittenAndLongPaths() throws {
        var configuration = AgentConfiguration()
        configuration.programPort = 0
        configuration.registersProgram = false
        configuration.socketPath = "/proc/agent.sock"
        let error = #expect(throws: AgentError.self) { try Agent(configuration).start() }
        #expect(error?.description.contains("cannot write in /proc") == true)
        configuration.socketPath = "/var/tmp/" + String(repeating: "x", count: 120)
        let long = #expect(throws: AgentError.self) { try Agent(configuration).start() }
        #expect(long?.description.contains("too long") == true)
        unlink(configuration.socketPath + ".lock")
    }
}

// The LOCALIO program's service side on hostile bytes: a short form of Tests/Fuzz/run.sh calls, and
// what an open port bears from connections that want nothing.
import AgentProtocol
import Foundation
import LocalIOTesting
import Logging
import Testing

@testable import LocalIOServer

@Suite struct CallFeedTests {
    static var corpus: [(name: String, bytes: [UInt8])] {
        get throws {
            var root = URL(fileURLWithPath: #filePath)
            for _ in 0..<2 { root.deleteLastPathComponent() }
            let directory = root.appendingPathComponent("Fuzz/corpus-calls")
            return try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted()
                .map { ($0, Array(try Data(contentsOf: directory.appendingPathComponent($0)))) }
        }
    }

    @Test func theCorpusIsAnsweredAsTheProtocolSays() throws {
        let feed = try #require(CallFeed())
        var outcomes: [String: CallFeed.Outcome] = [:]
        for (name, bytes) in try Self.corpus { outcomes[name] = feed.feed(bytes) }
        #expect(outcomes.count >= 20)
        for (name, outcome) in outcomes { #expect(outcome.complaint == nil, "\(name)") }
        let claiming = outcomes.filter { $0.value.claimed == 1 }.keys.sorted()
        #expect(
            claiming == [
                "credentials-400", "fragments", "odd-length", "stream", "stream-bytewise",
                "sys-name-255", "uuid", "uuid-sys", "uuid-sys-16-groups",
            ])
        #expect(outcomes["stream"] == CallFeed.Outcome(records: 3, replies: 3, claimed: 1))
        // Fragments without a byte could go on for ever: libtirpc ends the stream there.
        for name in ["long-mark", "too-long", "empty-fragments"] {
            #expect(outcomes[name] == CallFeed.Outcome(), "\(name)")
        }
        // A reply where a call belongs ends the connection unanswered.
        #expect(outcomes["reply"] == CallFeed.Outcome(records: 1))
    }

    @Test func mutatedCallsGetNoMoreThanAReply() throws {
        var generator = Seeded("mutatedCallsGetNoMoreThanAReply")
        let feed = try #require(CallFeed())
        let corpus = try Self.corpus.map(\.bytes)
        var replies = 0
        for _ in 0..<testOperations(20_000) {
            var bytes = corpus.randomElement(using: &generator) ?? []
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                Self.mutate(&bytes, &generator)
            }
            let outcome = feed.feed(bytes)
            replies += outcome.replies
            if let complaint = outcome.complaint { Issue.record("\(complaint): \(bytes)") }
        }
        #expect(replies > 0)
    }

    static func mutate(_ bytes: inout [UInt8], _ generator: inout Seeded) {
        guard !bytes.isEmpty else { return bytes.append(.random(in: 0...255, using: &generator)) }
        let index = Int.random(in: bytes.indices, using: &generator)
        switch Int.random(in: 0..<5, using: &generator) {
        case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1: bytes[index] = [0, 1, 127, 128, 255].randomElement(using: &generator) ?? 0
        case 2: bytes.remove(at: index)
        case 3: bytes.insert(.random(in: 0...255, using: &generator), at: index)
        default: bytes.append(contentsOf: bytes[index...].prefix(64))
        }
    }
}

@Suite struct ProgramServerTests {
    /// Idle connections take all that the port has; then their time is over.
    @Test func idleConnectionsMakeRoom() throws {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let server = try LocalIOProgramServer(
            nonces: NonceTable(), address: "127.0.0.1", port: 0, connections: 4,
            lifetime: .milliseconds(300), logger: logger)
        defer { server.stop() }
        let idle = try (0..<4).map { _ in try RawClient(port: server.port) }
        for client in idle.prefix(2) { client.send([0x80, 0]) }
        for client in idle { #expect(client.receive(1) == nil) }
        // The last one's thread may still be at its end.
        let isServed = try (0..<100).contains { _ in
            let client = try RawClient(port: server.port)
            client.send(RawClient.record(client.message(400122, 1, 0, [])))
            if client.receive(28) != nil { return true }
            usleep(20_000)
            return false
        }
        #expect(isServed)
    }

    @Test func callsOfThisProgramAreShort() throws {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let server = try LocalIOProgramServer(
            nonces: NonceTable(), address: "127.0.0.1", port: 0, logger: logger)
        defer { server.stop() }
        let client = try RawClient(port: server.port)
        client.send(RawClient.record([UInt8](repeating: 0, count: 1028)))
        #expect(client.receive(1) == nil)
    }
}

// The agent asked before the first I/O: where that is to be expected, once, and never to the harm
// of what would have come without it.
import AgentProtocol
import Glibc
import LocalIOBench
import LocalIOTesting
import NFSClient
import NFSTypes
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct OpenAheadTests {
    /// A client whose last four opens were followed by I/O.
    private struct Warm {
        let here: AgentClientTests.AgentSite
        let client: LocalIOClient
        var agent: ScriptedAgent { here.agent }

        init() throws {
            here = try AgentClientTests.AgentSite()
            client = try here.connect()
            let made = try client.openBlocking("file", .readWrite, options: [.create])
            let memory = TestMemory(4096)
            memory.bytes.initializeMemory(as: UInt8.self, repeating: 7)
            #expect(
                try made.writeBlocking(from: UnsafeRawBufferPointer(memory.bytes), at: 0) == 4096)
            try made.closeBlocking()
            for _ in 0..<3 { try readOnce(client.openBlocking("file")) }
            #expect(client.forecast.expectsIO)
            #expect(agent.opens == 4)
        }

        /// Reads, sees the right bytes, closes.
        func readOnce(_ file: LocalIOFile) throws {
            let memory = TestMemory(4096)
            #expect(try file.readBlocking(into: memory.bytes, at: 0) == 4096)
            #expect(memory.bytes.allSatisfy { $0 == 7 })
            try file.closeBlocking()
        }
    }

    @Test func aFileIsAskedForOnce() throws {
        let warm = try Warm()
        for turn in 5...20 {
            let file = try warm.client.openBlocking("file")
            #expect(poll(timeout: .seconds(5)) { warm.agent.opens == turn })
            #expect(file.currentRoute == nil)
            try warm.readOnce(file)
            #expect(warm.agent.opens == turn)
        }
        let statistics = warm.client.statistics()
        #expect(statistics.fallbacks.allSatisfy { $0.value == 0 }, "\(statistics.fallbacks)")
        #expect(statistics.roads[.rpc]?.operations ?? 0 == 0)
    }

    @Test func anOpenWithoutIOGivesTheFileBack() throws {
        let warm = try Warm()
        let before = ProcessUse.now().descriptors
        let file = try warm.client.openBlocking("file")
        try file.closeBlocking()
        let next = try warm.client.openBlocking("file")
        try next.closeBlocking()
        #expect(!warm.client.forecast.expectsIO)
        try warm.client.openBlocking("file").closeBlocking()
        // The releases go out with the next question.
        try warm.readOnce(warm.client.openBlocking("file"))
        #expect(warm.agent.opens == 6)
        #expect(poll(timeout: .seconds(5)) { warm.agent.released >= 5 })
        // Other suites open and close files meanwhile: the least counts.
        #expect(poll(timeout: .seconds(5)) { ProcessUse.now().descriptors <= before })
        // Four with I/O are needed again.
        for _ in 0..<3 { try warm.readOnce(warm.client.openBlocking("file")) }
        #expect(warm.client.forecast.expectsIO)
    }

    /// Else whoever executes the file next finds it open for writing.
    @Test func aWriterIsClosedAfterItsAnswer() throws {
        let warm = try Warm()
        warm.agent.change { $0.delay = 200_000 }
        let file = try warm.client.openBlocking("file", .readWrite)
        #expect(warm.agent.opens == 4)
        try file.closeBlocking()
        #expect(warm.agent.opens == 5)
    }

    @Test func anAnswerFromBeforeARevocationIsWorthNothing() throws {
        let warm = try Warm()
        let file = try warm.client.openBlocking("file")
        #expect(poll(timeout: .seconds(5)) { warm.agent.opens == 5 })
        let before = warm.client.lease.source.revocations
        warm.agent.revoke(.handle(file.handle))
        #expect(
            poll(timeout: .seconds(5)) { warm.client.lease.source.revocations > before })
        try warm.readOnce(file)
        #expect(warm.agent.opens == 6)
        #expect(warm.client.statistics().roads[.rpc]?.operations ?? 0 == 0)
    }

    @Test func anAgentThatDiesMeanwhileCostsTheLocalRoad() throws {
        let warm = try Warm()
        let file = try warm.client.openBlocking("file")
        #expect(poll(timeout: .seconds(5)) { warm.agent.opens == 5 })
        warm.agent.die()
        #expect(poll(timeout: .seconds(5)) { warm.client.locality != .local(.agent) })
        try warm.readOnce(file)
        #expect(warm.client.statistics().roads[.rpc]?.operations == 1)
    }

    @Test func aRefusalCountsAsIfAskedLater() throws {
        let warm = try Warm()
        warm.agent.change { $0.refusal = .serverDenied }
        try warm.readOnce(warm.client.openBlocking("file"))
        #expect(warm.client.statistics().fallbacks[.accessDenied] == 1)
    }

    /// The server is the judge, whatever the agent has said already.
    @Test func whatTheServerDoesNotGrantIsGivenBack() throws {
        let warm = try Warm()
        let session = warm.client.session
        let found = try session.performBlocking(.lookup(session.root, "file"))
        let attributes = try session.performBlocking(.getAttributes(found.handle))
        let ahead = warm.client.askAhead(found.handle, path: "file", .readWrite)
        #expect(poll(timeout: .seconds(5)) { warm.agent.opens == 5 })
        let file = try warm.client.open(
            handle: found.handle, attributes: attributes, granted: [.read], access: .readWrite,
            credentials: session.configuration.credentials, ahead: ahead
        ) { "file" }
        #expect(file.fallbackReason == .accessDenied)
        #expect(warm.agent.opens == 5)
        try file.closeBlocking()
        try warm.readOnce(warm.client.openBlocking("file"))
    }

    @Test func onlyAFewAreAskedAhead() throws {
        let warm = try Warm()
        let files = try (0..<30).map { _ in try warm.client.openBlocking("file") }
        #expect(poll(timeout: .seconds(5)) { warm.agent.opens == 4 + 8 })
        for file in files { try warm.readOnce(file) }
        #expect(warm.agent.opens == 4 + 30)
        #expect(warm.client.statistics().roads[.rpc]?.operations ?? 0 == 0)
    }
}

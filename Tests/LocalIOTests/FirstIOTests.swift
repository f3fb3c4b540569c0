// The local file is opened by the first I/O: what is only opened asks nobody, and the first I/O
// finds the file wherever it is by then.
import AgentProtocol
import DirectIO
import Glibc
import LocalIOBench
import LocalIOTesting
import NFSClient
import NFSTypes
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct FirstIOTests {
    private typealias AgentSite = AgentClientTests.AgentSite

    private func write(_ file: LocalIOFile, _ byte: UInt8) throws {
        let memory = TestMemory(4096)
        memory.bytes.initializeMemory(as: UInt8.self, repeating: byte)
        #expect(try file.writeBlocking(from: UnsafeRawBufferPointer(memory.bytes), at: 0) == 4096)
    }

    private func read(_ file: LocalIOFile) throws -> [UInt8] {
        let memory = TestMemory(4096)
        let count = try file.readBlocking(into: memory.bytes, at: 0)
        return Array(memory.bytes.prefix(count))
    }

    @Test func whatIsOnlyOpenedAsksNobody() throws {
        let here = try AgentSite()
        let client = try here.connect()
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(try file.attributesBlocking().size == 0)
        try file.truncateBlocking(to: 8192)
        #expect(try file.attributesBlocking().size == 8192)
        try file.commitBlocking()
        try file.closeBlocking()
        #expect(here.agent.opens == 0)
        // Nor does a closed file come by a local one afterwards.
        #expect(file.fallbackReason == .leaseRevoked)
        #expect(here.agent.opens == 0)
    }

    @Test func manyFirstIOsOpenItOnce() throws {
        let here = try AgentSite()
        let client = try here.connect()
        for round in 1...20 {
            let file = try client.openBlocking("file", .readWrite, options: [.create])
            let threads = (0..<8).compactMap { index in
                OwnedThread(name: "first-\(index)") {
                    do { try self.write(file, UInt8(round)) } catch { Issue.record(error) }
                }
            }
            for thread in threads { thread.join() }
            #expect(here.agent.opens == round)
            try file.closeBlocking()
        }
        #expect(client.statistics().fallbacks.allSatisfy { $0.value == 0 })
    }

    @Test func everyKindOfFirstIOIsLocal() async throws {
        let here = try AgentSite()
        let client = try here.connect()
        try write(client.openBlocking("file", .readWrite, options: [.create]), 7)

        let awaited = try await client.open("file", .readWrite)
        guard let buffer = AlignedBuffer(byteCount: 4096) else { throw BenchError("no memory") }
        let done = try await awaited.read(into: buffer, at: 0)
        #expect(done.byteCount == 4096)

        let channelled = try client.openBlocking("file", .readOnly)
        let memory = TestMemory(4096)
        try channelRead(client, channelled, memory)

        let appended = try client.openBlocking("file", .readWrite)
        let end = try appended.appendBlocking(from: UnsafeRawBufferPointer(memory.bytes))
        #expect(end == 4096)

        #expect(here.agent.opens == 4)
        let statistics = client.statistics()
        #expect(statistics.fallbacks.allSatisfy { $0.value == 0 }, "\(statistics.fallbacks)")
        #expect(statistics.roads[.rpc]?.operations ?? 0 == 0)
    }

    private func channelRead(
        _ client: LocalIOClient, _ file: LocalIOFile, _ memory: TestMemory
    ) throws {
        var channel = try IOChannel(client: client, depth: 4)
        for token in 0..<4 as Range<UInt64> {
            #expect(channel.submitRead(file, into: memory.bytes, at: 0, token: token) == .queued)
        }
        var results: [Int64] = []
        while channel.inFlight > 0 { channel.reap(minimum: 1) { results.append($1) } }
        #expect(results == [4096, 4096, 4096, 4096])
    }

    /// What happened to the lease between open and first I/O is as if it had happened before.
    @Test func theFirstIOTakesTheLeaseAsItIs() throws {
        let here = try AgentSite()
        let client = try here.connect()
        let denied = try client.openBlocking("denied", .readWrite, options: [.create])
        let later = try client.openBlocking("later", .readWrite, options: [.create])

        here.agent.change { $0.refusal = .serverDenied }
        try write(denied, 1)
        #expect(denied.fallbackReason == .accessDenied)
        #expect(client.statistics().fallbacks[.accessDenied] == 1)

        here.agent.change { $0.refusal = nil }
        here.agent.die()
        #expect(poll(timeout: .seconds(5)) { client.locality != .local(.agent) })
        // Never asked for, so it is not among those that the lease opens again.
        try here.restartAgent()
        #expect(poll(timeout: .seconds(10)) { client.locality == .local(.agent) })
        #expect(poll(timeout: .seconds(5)) { denied.fallbackReason == nil })
        #expect(here.agent.opens == 1)
        try write(later, 2)
        #expect(here.agent.opens == 2)
        #expect(later.fallbackReason == nil)
        try later.closeBlocking()
        #expect(try here.site.contents("later") == [UInt8](repeating: 2, count: 4096))
    }

    /// An agent that never answers holds up the first I/O for its time-out, not longer, and no
    /// thread of the asynchronous callers' pool.
    @Test func anAgentThatIsSilentCostsItsTimeout() async throws {
        let here = try AgentSite()
        let client = try here.connect()
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        here.agent.change { $0.answers = false }
        guard let buffer = AlignedBuffer(byteCount: 4096) else { throw BenchError("no memory") }
        let done = try await file.write(from: buffer, at: 0)
        #expect(done.byteCount == 4096)
        #expect(client.statistics().fallbacks[.agentRefused] == 1)
        here.agent.change { $0.answers = true }
        #expect(poll(timeout: .seconds(10)) { file.fallbackReason == nil })
    }

    /// Without an agent the file is found by its name: by the one that it has now.
    @Test(.enabled(if: Requirement.root.isMet))
    func aRenamedFileIsFoundByTheNameItHasByThen() throws {
        let site = try Site(.embedded)
        let client = try site.connect(.exportRoot(site.directory.path))
        let made = try client.openBlocking("old", .readWrite, options: [.create])
        try write(made, 3)
        try made.closeBlocking()
        let session = client.session
        let found = try session.performBlocking(.lookup(session.root, "old"))
        let attributes = try session.performBlocking(.getAttributes(found.handle))
        let name = Lock<NFSName>("old")
        let file = try client.open(
            handle: found.handle, attributes: attributes, granted: [.read, .modify, .extend],
            access: .readWrite, credentials: session.configuration.credentials
        ) { name.withLock { $0 } }
        _ = try session.performBlocking(.rename(from: session.root, "old", to: session.root, "new"))
        name.withLock { $0 = "new" }
        #expect(try read(file) == [UInt8](repeating: 3, count: 4096))
        #expect(file.fallbackReason == nil)
        #expect(client.statistics().roads[.rpc]?.operations ?? 0 == 0)
    }
}

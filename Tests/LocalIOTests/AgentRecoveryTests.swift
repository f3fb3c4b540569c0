// Agent and server die and come back in every order under a verifying load: nothing that a commit
// acknowledged is lost, no error reaches the application, and local I/O comes back.
import Glibc
import LocalIOBench
import LocalIOTesting
import Synchronization
import SystemPackage
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct AgentRecoveryTests {
    enum Step: String {
        case killAgent, endAgent, startAgent, killServer, startServer
    }

    static let orders: [[Step]] = [
        [.killAgent, .startAgent],
        [.endAgent, .startAgent],
        [.killServer, .startServer],
        [.killAgent, .killServer, .startAgent, .startServer],
        [.killAgent, .killServer, .startServer, .startAgent],
        [.killServer, .killAgent, .startServer, .startAgent],
        [.killServer, .killAgent, .startAgent, .startServer],
    ]

    @Test(.enabled(if: Requirement.root.isMet), arguments: ServerKind.available)
    func everyOrderOfDeathAndReturn(kind: ServerKind) throws {
        let seed = testSeed()
        print("agent recovery \(kind): LOCALIO_SEED=\(seed)")
        let here = try RealAgentSite(kind)
        let client = try here.connect()
        #expect(client.locality == .local(.agent), "\(client.probeReport)")
        let file = try client.openBlocking("records", .readWrite, options: [.create])
        let record = RestartTests.Record(seed: seed)
        let progress = RestartTests.Progress()
        let writer = try #require(
            OwnedThread(name: "writer") { RestartTests.write(record, to: file, progress) })
        for order in Self.orders {
            usleep(150_000)
            for (number, step) in order.enumerated() {
                try take(step, here)
                if number == 0 {
                    let isRemote = poll(timeout: .seconds(5)) { file.fallbackReason != nil }
                    #expect(isRemote, "\(order)")
                }
                if number + 1 < order.count { usleep(150_000) }
            }
            // From here on server and agent both answer: their fixtures have waited for that.
            let start = ContinuousClock.now
            let isBack = poll(timeout: .seconds(5)) { file.fallbackReason == nil }
            print("\(kind) \(order.map(\.rawValue)): local after \(ContinuousClock.now - start)")
            #expect(isBack, "\(order): \(file.fallbackReason.debugDescription)")
        }
        progress.mustStop.store(true, ordering: .releasing)
        writer.join()
        #expect(progress.failure.withLock { $0 } == nil)
        let committed = progress.committed.withLock { $0 }
        #expect(committed > 0)
        let contents = try here.site.contents("records")
        var there = ReferenceFile()
        there.write(contents, at: 0)
        for index in 0..<committed {
            let isThere = record.bytes(index).withUnsafeBytes {
                there.matches($0, at: record.offset(index))
            }
            #expect(isThere, "record \(index) of \(committed) is lost, seed \(seed)")
        }
        try file.closeBlocking()
    }

    private func take(_ step: Step, _ here: RealAgentSite) throws {
        switch step {
        case .killAgent: here.agent.kill9()
        case .endAgent: here.agent.terminate()
        case .startAgent: try here.agent.start()
        case .killServer: here.site.server.kill9()
        case .startServer: try here.site.server.restart()
        }
    }
}

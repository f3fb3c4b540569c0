// The client's side of the agent's socket: proof, identity of what is handed out, revocation.
import AgentProtocol
import Glibc
import LocalIOBench
import LocalIOTesting
import NFSClient
import NFSTypes
import SystemPackage
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct AgentClientTests {
    /// A server and a scripted agent beside it.
    final class AgentSite {
        let site: Site
        let sockets: TemporaryDirectory
        var agent: ScriptedAgent

        init(_ kind: ServerKind = .embedded) throws {
            site = try Site(kind)
            sockets = try TemporaryDirectory()
            agent = try ScriptedAgent(
                root: site.directory.path, socket: sockets.path.appending("agent.sock"))
        }

        deinit {
            agent.die()
            sockets.remove()
        }

        func connect(
            _ locality: LocalitySetting = .agent, policy: MisalignmentPolicy = .split,
            change: (inout ClientConfiguration) -> Void = { _ in }
        ) throws -> LocalIOClient {
            try site.connect(locality, policy: policy) {
                $0.agentSocket = sockets.path.appending("agent.sock")
                $0.agentTimeout = .seconds(1)
                change(&$0)
            }
        }

        func restartAgent() throws {
            agent = try ScriptedAgent(
                root: site.directory.path, socket: sockets.path.appending("agent.sock"))
        }
    }

    /// Whether the condition holds within 5 seconds.
    private func soon(_ condition: () -> Bool) -> Bool {
        for _ in 0..<250 {
            if condition() { return true }
            usleep(20_000)
        }
        return false
    }

    private func write(_ file: LocalIOFile, _ byte: UInt8 = 0x5a) throws {
        let memory = TestMemory(8192)
        memory.bytes.initializeMemory(as: UInt8.self, repeating: byte)
        let count = try file.writeBlocking(from: UnsafeRawBufferPointer(memory.bytes), at: 0)
        #expect(count == 8192)
    }

    @Test func anAgentMakesTheClientLocal() throws {
        let here = try AgentSite()
        let client = try here.connect()
        #expect(client.locality == .local(.agent), "\(client.probeReport)")
        let names = client.probeReport.steps.map(\.name)
        #expect(
            names == [
                "agent socket", "LOCALIO port", "LOCALIO connection", "LOCALIO connection",
                "register nonce", "UUID_IS_LOCAL", "confirm nonce",
            ])
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == nil)
        try write(file)
        #expect(client.statistics().roads[.local]?.operations == 1)
        try file.closeBlocking()
        #expect(soon { here.agent.released == 1 })
        #expect(try here.site.contents("file").count == 8192)
    }

    @Test(arguments: MisalignmentPolicy.allCases)
    func everyPolicyWorksThroughTheAgent(policy: MisalignmentPolicy) throws {
        let here = try AgentSite()
        let client = try here.connect(policy: policy)
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == nil)
        var bytes = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let written = try bytes.withUnsafeBytes { try file.writeBlocking(from: $0, at: 77) }
        #expect(written == bytes.count)
        try file.commitBlocking()
        #expect(Array(try here.site.contents("file")[77...]) == bytes)
        let expected = bytes
        let read = try bytes.withUnsafeMutableBytes { try file.readBlocking(into: $0, at: 77) }
        #expect(read == expected.count && bytes == expected)
    }

    @Test func anUnclaimedNonceIsRemote() throws {
        let here = try AgentSite()
        here.agent.change { $0.claims = false }
        let client = try here.connect(.automatic)
        // An agent is there: nobody takes its place.
        #expect(client.locality == .remote(.notClaimed))
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        try write(file)
        #expect(client.statistics().fallbacks == [.notClaimed: 1])
    }

    @Test func withoutAnAgentTheConfigurationDecides() throws {
        let here = try AgentSite()
        here.agent.die()
        #expect(try here.connect(.agent).locality == .remote(.noAgent))
        #expect(try here.connect(.automatic).locality == .local(.nonceFile))
        unlink(here.agent.socketPath)
        #expect(try here.connect(.agent).locality == .remote(.noAgent))
    }

    @Test func whatIsNoLocalIOServerIsToldApart() throws {
        let here = try AgentSite()
        let port = try Port.unused()
        let client = try here.connect { $0.programPort = UInt16(port) }
        #expect(client.locality == .remote(.programUnreachable))
    }

    @Test func theWrongFileIsNotUsed() throws {
        let here = try AgentSite()
        let other = here.site.directory.path.appending("other").string
        try Files.write("other", to: other)
        let client = try here.connect()
        here.agent.change { $0.substitute = other }
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == .fileDiffers)
        here.agent.change { $0.substitute = "/dev/null" }
        #expect(try client.openBlocking("file", .readOnly).fallbackReason != nil)
        // A read-only open must not hold more, a read-write one not less.
        here.agent.change {
            $0.substitute = nil
            $0.flags = O_RDWR
        }
        #expect(try client.openBlocking("file", .readOnly).fallbackReason == .localOpenFailed)
        here.agent.change { $0.flags = O_RDONLY }
        #expect(try client.openBlocking("file", .readWrite).fallbackReason == .localOpenFailed)
        try write(file)
        #expect(try here.site.contents("other").count == 5)
        #expect(soon { here.agent.released == here.agent.opens })
    }

    @Test func refusalsHaveTheirReasons() throws {
        let here = try AgentSite()
        let client = try here.connect()
        let expected: [(AgentRefusal, FallbackReason)] = [
            (.serverDenied, .accessDenied), (.readOnly, .accessDenied),
            (.cannotFind, .fileNotFound), (.differentFile, .fileDiffers),
            (.tooManyOpens, .agentRefused), (.serverGone, .leaseRevoked),
        ]
        for (refusal, reason) in expected {
            here.agent.change { $0.refusal = refusal }
            let file = try client.openBlocking("file", .readWrite, options: [.create])
            #expect(file.fallbackReason == reason)
            try file.closeBlocking()
        }
        // What may pass is tried again.
        here.agent.change { $0.refusal = .tooManyOpens }
        let file = try client.openBlocking("file", .readWrite)
        #expect(file.fallbackReason == .agentRefused)
        here.agent.change { $0.refusal = nil }
        #expect(soon { file.fallbackReason == nil })
    }

    @Test func anAgentThatDoesNotAnswerCostsOneTimeOut() throws {
        let here = try AgentSite()
        let client = try here.connect()
        here.agent.change { $0.answers = false }
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == .agentRefused)
        try write(file)
        here.agent.change { $0.answers = true }
        #expect(soon { file.fallbackReason == nil })
    }

    @Test func revocationsStopLocalIOAndItComesBack() throws {
        let here = try AgentSite()
        let client = try here.connect()
        let one = try client.openBlocking("one", .readWrite, options: [.create])
        let two = try client.openBlocking("two", .readWrite, options: [.create])
        #expect(one.fallbackReason == nil && two.fallbackReason == nil)
        let revocations: [AgentRevocation] = [.handle(one.handle), .export(7), .all]
        for revocation in revocations {
            here.agent.change { $0.refusal = .serverDenied }
            here.agent.revoke(revocation)
            #expect(soon { one.fallbackReason != nil }, "\(revocation)")
            if case .handle = revocation {
                #expect(two.fallbackReason == nil)
            } else {
                #expect(soon { two.fallbackReason != nil }, "\(revocation)")
            }
            try write(one, 1)
            // Denied is an answer; only another lease, or another open, asks again.
            here.agent.change { $0.refusal = nil }
            here.agent.revoke(.all)
            #expect(soon { one.fallbackReason == nil && two.fallbackReason == nil })
        }
        #expect(soon { here.agent.released > 0 })
        try write(one, 2)
        try one.closeBlocking()
        #expect(try here.site.contents("one") == [UInt8](repeating: 2, count: 8192))
    }

    @Test func anAgentThatDiesAndComesBackIsNoticed() throws {
        let here = try AgentSite()
        let client = try here.connect()
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        for _ in 0..<3 {
            #expect(soon { file.fallbackReason == nil })
            here.agent.die()
            #expect(soon { file.fallbackReason == .leaseRevoked })
            #expect(client.locality != .local(.agent))
            try write(file)
            try here.restartAgent()
            #expect(soon { client.locality == .local(.agent) })
        }
        #expect(soon { file.fallbackReason == nil })
    }

    @Test func anAgentThatStartsLaterIsNoticed() throws {
        let here = try AgentSite()
        here.agent.die()
        let client = try here.connect()
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == .noAgent)
        try here.restartAgent()
        #expect(soon { client.locality == .local(.agent) })
        #expect(soon { file.fallbackReason == nil })
    }

    /// An agent that does not prove the server local is asked again: it may have been starting.
    @Test func anAgentThatProvesNothingIsAskedAgain() throws {
        let here = try AgentSite()
        here.agent.change { $0.claims = false }
        let client = try here.connect()
        #expect(client.locality == .remote(.notClaimed))
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(soon { here.agent.confirmations >= 3 })
        #expect(file.fallbackReason == .notClaimed)
        here.agent.change { $0.claims = true }
        #expect(soon { file.fallbackReason == nil })
        #expect(client.locality == .local(.agent))
    }

    @Test func aProgramThatIsServedLaterIsFound() throws {
        let here = try AgentSite()
        let port = try Port.unused()
        let client = try here.connect { $0.programPort = UInt16(port) }
        #expect(client.locality == .remote(.programUnreachable))
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == .programUnreachable)
        // Another server answers the LOCALIO program there; the scripted agent believes it.
        let elsewhere = try TemporaryDirectory()
        let server = try ChildProcess(
            EmbeddedServerProcess.localiod(), ["serve", elsewhere.path.string, "--port", "\(port)"])
        defer {
            server.kill9()
            elsewhere.remove()
        }
        #expect(soon { file.fallbackReason == nil })
        #expect(client.locality == .local(.agent))
    }

    @Test func everyReasonHasItsOwnCounter() {
        for (number, reason) in FallbackReason.allCases.enumerated() {
            #expect(reason.index == number)
        }
    }
}

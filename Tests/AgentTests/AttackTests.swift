// What must not work: nonces, handles and paths that are not what they pretend.
import AgentProtocol
import Foundation
import LocalIOServer
import LocalIOTesting
import NFSClient
import NFSTypes
import Testing

@testable import LocalIOAgent

@Suite(.serialized) struct NonceAttackTests {
    @Test func provesOverBothRoads() throws {
        let fixture = try AgentFixture()
        defer { fixture.stop() }
        _ = try fixture.client()
        #expect(fixture.status("counters", "nonces_confirmed") == 1)
    }

    @Test func relayedFromAnotherAddressCountsNot() throws {
        let fixture = try AgentFixture()
        defer { fixture.stop() }
        let client = try fixture.client(proved: false)
        let nonce = Nonce.random()
        try client.register(nonce, address: "127.0.0.1")
        try LocalIOCall.uuidIsLocal(nonce, port: fixture.agent.programPort ?? 0, from: "127.0.0.2")
        #expect(try !client.confirm(nonce))
        #expect(fixture.status("claims", "other-address") == 1)
    }

    @Test func guessedReplayedAndForeignNoncesCountNot() throws {
        let fixture = try AgentFixture()
        defer { fixture.stop() }
        let port = fixture.agent.programPort ?? 0
        let (client, other) = (
            try fixture.client(proved: false), try fixture.client(proved: false)
        )
        // Guessed: nobody registered it.
        try LocalIOCall.uuidIsLocal(.random(), port: port)
        #expect(fixture.status("claims", "unknown") == 1)
        #expect(try !client.confirm(.random()))
        // Another client's.
        let nonce = Nonce.random()
        try client.register(nonce)
        try LocalIOCall.uuidIsLocal(nonce, port: port)
        #expect(try !other.confirm(nonce))
        #expect(try client.confirm(nonce))
        // Replayed: used up.
        try LocalIOCall.uuidIsLocal(nonce, port: port)
        #expect(try !client.confirm(nonce))
    }

    @Test func floodsAndBadAddressesAreRefused() throws {
        let fixture = try AgentFixture()
        defer { fixture.stop() }
        let client = try fixture.client(proved: false)
        for _ in 0..<fixture.configuration.limits.nonces.countPerOwner {
            guard case .registered = try client.register(.random()) else {
                Issue.record("refused below the limit")
                return
            }
        }
        let nonce = Nonce.random()
        #expect(
            try client.register(nonce) == .registerRefused(nonce: nonce, reason: .tooManyNonces))
        #expect(
            try client.register(nonce, address: "somewhere")
                == .registerRefused(nonce: nonce, reason: .badAddress))
        #expect(fixture.refusals(.tooManyNonces) == 1)
        // The connection is still good, and a new one has room of its own.
        _ = try fixture.client()
    }

    @Test func openNeedsTheProof() throws {
        let fixture = try AgentFixture(fill: { try AgentFixture.write("x", to: $0 + "/file") })
        defer { fixture.stop() }
        let client = try fixture.client(proved: false)
        #expect(try client.outcome(fixture.request("file")) == .notConfirmed)
    }

    @Test func malformedCallsOfTheProgramDoNoHarm() throws {
        let fixture = try AgentFixture()
        defer { fixture.stop() }
        let port = fixture.agent.programPort ?? 0
        let short = LocalIOCall.record(procedure: 1, [1, 2, 3, 4])
        let garbage = try LocalIOCall.exchange(short, port: port, from: "127.0.0.1")
        #expect(garbage.last == 4)  // GARBAGE_ARGS
        let foreign = LocalIOCall.record(procedure: 0, program: 100_003, [])
        let unavailable = try LocalIOCall.exchange(foreign, port: port, from: "127.0.0.1")
        #expect(unavailable.last == 1)  // PROG_UNAVAIL
        let huge = LocalIOCall.words([0xffff_ffff]) + [UInt8](repeating: 0, count: 64)
        _ = try LocalIOCall.exchange(Array(huge.prefix(12)), port: port, from: "127.0.0.1")
        _ = try fixture.client()
    }
}

@Suite(.serialized, .enabled(if: Requirement.root.isMet)) struct FileAttackTests {
    static func fill(_ directory: String) throws {
        try FileManager.default.createDirectory(
            atPath: directory + "/sub", withIntermediateDirectories: true)
        try AgentFixture.write("inside", to: directory + "/file")
        try AgentFixture.write("deeper", to: directory + "/sub/file")
        symlink("/etc/passwd", directory + "/link")
        symlink("sub", directory + "/way")
        mkfifo(directory + "/fifo", 0o666)
        mknod(directory + "/device", S_IFCHR | 0o666, 0x103)
    }

    static func fixtures(_ body: (AgentFixture) throws -> Void) throws {
        for server in [AgentFixture.Server.embedded, .ganesha] {
            if server == .ganesha, !ganesha.isMet { continue }
            let fixture = try AgentFixture(server, fill: fill)
            defer { fixture.stop() }
            try body(fixture)
        }
    }

    @Test func onlyRegularFiles() throws {
        try Self.fixtures { fixture in
            let client = try fixture.client()
            #expect(try client.outcome(fixture.request("file", .readWrite)) == nil)
            for name in ["sub", "link", "fifo", "device"] {
                let outcome = try client.outcome(fixture.request(name))
                #expect(
                    outcome == .notRegularFile || outcome == .serverDenied
                        || outcome == .badHandle, "\(name): \(String(describing: outcome))")
            }
        }
    }

    @Test func forgedAndForeignHandles() throws {
        try Self.fixtures { fixture in
            let client = try fixture.client()
            var request = try fixture.request("file")
            let good = request.handle.bytes
            for index in good.indices {
                var bytes = good
                bytes[index] ^= 0x5a
                request.handle = FileHandle(bytes)!
                request.requestID += 1
                let answer = try client.open(request)
                #expect(!answer.isOpened, "byte \(index) of \(request.handle)")
                answer.close()
            }
            for bytes in [[], [UInt8(1)], Array(good.dropLast()), good + [7]] {
                guard let handle = FileHandle(bytes) else { continue }
                request.handle = handle
                #expect(try client.outcome(request) != nil)
            }
            // Of an export that this agent does not map.
            request = try fixture.request("file")
            request.exportPath = "/elsewhere"
            #expect(try client.outcome(request) == .unknownExport)
        }
    }

    @Test func pathHintsStayBelowTheExport() throws {
        let fixture = try AgentFixture(fill: Self.fill) { $0.finding = .path }
        defer { fixture.stop() }
        let client = try fixture.client()
        #expect(try client.outcome(fixture.request("sub/file")) == nil)
        let hints: [(String, AgentRefusal)] = [
            ("../etc/passwd", .badPathHint), ("sub/../file", .badPathHint),
            ("/etc/passwd", .badPathHint), ("//file", .badPathHint), (".", .badPathHint),
            ("link", .differentFile), ("way/file", .badPathHint), ("missing", .cannotFind),
            ("sub/file", .differentFile), ("", .cannotFind), ("file/", .badPathHint),
        ]
        for (hint, reason) in hints {
            let outcome = try client.outcome(fixture.request("file", hint: hint))
            #expect(outcome == reason, "\(hint): \(String(describing: outcome))")
        }
    }

    @Test func renamesDuringOpensNeverGiveAnotherFile() throws {
        let fixture = try AgentFixture(fill: Self.fill) { $0.finding = .path }
        defer { fixture.stop() }
        let client = try fixture.client()
        let (one, two) = (fixture.directory + "/file", fixture.directory + "/sub/file")
        let isDone = Box(false)
        let swapper = Thread {
            while !isDone.get() {
                rename(one, one + "-")
                rename(two, one)
                rename(one + "-", two)
            }
        }
        let wanted = try fixture.request("file")
        let inode = try fixture.session.performBlocking(.getAttributes(wanted.handle)).fileID
        swapper.start()
        defer { isDone.set(true) }
        var opened = 0
        for number in 0..<300 {
            var request = wanted
            request.requestID = UInt64(number)
            let answer = try client.open(request)
            if case .opened(let reply, let direct, _) = answer {
                var status = stat()
                fstat(direct, &status)
                #expect(status.st_ino == inode && reply.attributes.fileID == inode)
                opened += 1
                try client.socket.send(.release(openID: reply.openID))
            }
            answer.close()
        }
        #expect(opened <= 300)
    }

    @Test func readOnlyAccessGetsAReadOnlyDescriptor() throws {
        try Self.fixtures { fixture in
            let client = try fixture.client()
            let answer = try client.open(fixture.request("file", .read, buffered: true))
            guard case .opened(let reply, let direct, let buffered?) = answer else {
                Issue.record("\(answer)")
                return
            }
            for descriptor in [direct, buffered] {
                let flags = fcntl(descriptor, F_GETFL)
                #expect(flags & O_ACCMODE == O_RDONLY && flags & O_NONBLOCK == 0)
                #expect(pwrite(descriptor, "x", 1, 0) == -1)
            }
            #expect(reply.isDirect && reply.hasBuffered && reply.attributes.size == 6)
            answer.close()
        }
    }
}

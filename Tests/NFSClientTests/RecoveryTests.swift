// What happens when the server dies, stalls, is not there, or the caller changes its mind.
import Glibc
import NFSTypes
import Testing
import Threads

@testable import NFSClient

extension AgainstGanesha {
    @Suite(.serialized)
    final class RecoveryTests {
        let ganesha: PrivateGanesha

        init() throws { ganesha = try PrivateGanesha() }

        func connect(_ configuration: SessionConfiguration = SessionConfiguration()) throws
            -> (NFSSession, FileHandle)
        {
            var configuration = configuration
            configuration.reconnectDelay = .milliseconds(5)
            configuration.reconnectDelayLimit = .milliseconds(50)
            let session = try NFSSession.connectBlocking(
                to: try ganesha.url, configuration: configuration)
            _ = try session.performBlocking(
                .create(session.root, "data", mode: .unchecked(SetAttributes(mode: 0o644))))
            let file = try session.performBlocking(.lookup(session.root, "data")).handle
            return (session, file)
        }

        /// TCP sockets of this process that were connected and are no more: what an incarnation
        /// that forgot to close would leave. Other suites run at the same time, so plain counts
        /// of descriptors say nothing here.
        func deadSockets() -> Set<Int32> {
            var dead: Set<Int32> = []
            for descriptor in Int32(3)..<4096 {
                var address = sockaddr_in()
                var length = socklen_t(MemoryLayout<sockaddr_in>.size)
                var isListening: Int32 = 0
                var optionLength = socklen_t(MemoryLayout<Int32>.size)
                let hasName = withUnsafeMutableBytes(of: &address) {
                    getsockname(
                        descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
                }
                guard hasName == 0, address.sin_family == sa_family_t(AF_INET),
                    address.sin_port != 0,
                    getsockopt(
                        descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &optionLength) == 0,
                    isListening == 0
                else { continue }
                let hasPeer = withUnsafeMutableBytes(of: &address) {
                    getpeername(
                        descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
                }
                if hasPeer != 0 && errno == ENOTCONN { dead.insert(descriptor) }
            }
            return dead
        }

        /// Whether the same dead socket stays for two seconds.
        func leaksSockets() -> Bool {
            var suspects = deadSockets()
            for _ in 0..<40 where !suspects.isEmpty {
                usleep(50_000)
                suspects.formIntersection(deadSockets())
            }
            return !suspects.isEmpty
        }

        @Test func hardRecoveryBringsEveryRequestThrough() throws {
            let (session, file) = try connect()
            defer { session.closeBlocking() }
            let count = 50
            let blocks = (0..<count).map { Pattern(byteCount: 65_536, seed: UInt64($0) + 1) }
            let written = Gathering(count: count)
            ganesha.suspend()
            for (index, block) in blocks.enumerated() {
                session.write(
                    file, offset: UInt64(index * 65_536),
                    from: UnsafeRawBufferPointer(block.buffer), stable: .fileSync
                ) { written.add($0.map(\.byteCount)) }
            }
            ganesha.kill()
            try ganesha.start()
            #expect(written.wait() == Array(repeating: .success(65_536), count: count))

            let targets = (0..<count).map { _ in Pattern(byteCount: 65_536, seed: 0) }
            let read = Gathering(count: count)
            ganesha.suspend()
            for (index, target) in targets.enumerated() {
                session.read(file, offset: UInt64(index * 65_536), into: target.buffer) {
                    read.add($0.map(\.byteCount))
                }
            }
            ganesha.kill()
            try ganesha.start()
            #expect(read.wait() == Array(repeating: .success(65_536), count: count))
            for index in 0..<count {
                #expect(targets[index].equals(blocks[index], byteCount: 65_536))
            }
            let statistics = session.statistics
            #expect(statistics.reconnects >= 2)
            #expect(statistics.retransmissions > 0)
            #expect(statistics.inFlight == 0)
        }

        @Test func softRecoveryGivesUp() throws {
            let (session, file) = try connect(SessionConfiguration(recovery: .soft(retries: 2)))
            defer { session.closeBlocking() }
            let targets = (0..<50).map { _ in Pattern(byteCount: 4096, seed: 0) }
            let answers = Gathering(count: 50)
            ganesha.suspend()
            for target in targets {
                session.read(file, offset: 0, into: target.buffer) {
                    answers.add($0.map(\.byteCount))
                }
            }
            ganesha.kill()
            let failures = answers.wait().filter { if case .failure = $0 { true } else { false } }
            #expect(failures.count == 50)
            let error = #expect(throws: RPCError.self) {
                try session.performBlocking(.getAttributes(file))
            }
            guard case .unreachable = error?.cause else {
                Issue.record("not unreachable: \(String(describing: error))")
                return
            }
            let nfsPort = try ganesha.nfsPort
            #expect(error?.description.contains("127.0.0.1:\(nfsPort)") == true)
            try ganesha.start()
            #expect(throws: Never.self) {
                for _ in 0..<100 {
                    if (try? session.performBlocking(.getAttributes(file))) != nil { break }
                }
                return try session.performBlocking(.getAttributes(file))
            }
        }

        @Test func softTimeoutOfAStalledServer() throws {
            var configuration = SessionConfiguration(connections: 1, recovery: .soft(retries: 1))
            configuration.requestTimeout = .milliseconds(100)
            let (session, file) = try connect(configuration)
            defer { session.closeBlocking() }
            ganesha.suspend()
            let error = #expect(throws: RPCError.self) {
                try session.performBlocking(.getAttributes(file))
            }
            #expect(error?.cause == .timedOut)
            #expect(session.statistics.retransmissions == 1)
            ganesha.resume()
            let attributes = try session.performBlocking(.getAttributes(file))
            #expect(attributes.type == .regular)
        }

        /// A call that is alone is sent by its caller; its deadline, a dead server and a close are
        /// the thread's business all the same.
        @Test func whatACallerSentIsWatchedOverToo() throws {
            var configuration = SessionConfiguration(connections: 1, recovery: .soft(retries: 0))
            configuration.requestTimeout = .seconds(4)
            let (session, file) = try connect(configuration)
            func call() throws { _ = try session.performBlocking(.getAttributes(file)) }
            func sent() -> UInt64 { session.statistics.callsSentByCaller }
            /// The thread is asleep after that, and its connection lent.
            func rest() { usleep(10_000) }
            var before = sent()
            for _ in 0..<200 { try call() }
            // Not all: the thread may not be asleep yet again.
            #expect(sent() - before > 50)

            ganesha.suspend()
            rest()
            before = sent()
            let stalled = #expect(throws: RPCError.self) { try call() }
            #expect(stalled?.cause == .timedOut)
            #expect(sent() == before + 1)
            ganesha.resume()
            for _ in 0..<20 { try call() }

            ganesha.suspend()
            rest()
            before = sent()
            let unanswered = Gathering(count: 1)
            session.start(.getAttributes(file)) { unanswered.add($0.map { _ in 0 }) }
            #expect(sent() == before + 1)
            ganesha.kill()
            guard case .failure = unanswered.wait().first else {
                Issue.record("it was answered")
                return
            }
            try ganesha.start()
            while (try? call()) == nil { usleep(10_000) }
            for _ in 0..<20 { try call() }

            ganesha.suspend()
            rest()
            let closed = Gathering(count: 1)
            session.start(.getAttributes(file)) { closed.add($0.map { _ in 0 }) }
            session.closeBlocking()
            ganesha.resume()
            guard case .failure(let error)? = closed.wait().first else {
                Issue.record("it was answered")
                return
            }
            #expect(error.cause == .closed)
        }

        /// Senders, cancellations and the thread take turns at one context.
        @Test func sendersAndTheThreadTakeTurns() throws {
            let (session, file) = try connect(SessionConfiguration(connections: 1))
            defer { session.closeBlocking() }
            let before = session.statistics.callsSentByCaller
            let ended = Gathering(count: 4 * 500)
            let threads = (0..<4).compactMap { index in
                OwnedThread(name: "caller-\(index)") {
                    for turn in 0..<500 {
                        if turn % 5 == index {
                            let id = session.start(.getAttributes(file)) {
                                ended.add($0.map { _ in 0 })
                            }
                            session.cancel(id)
                        } else {
                            let reply = Result { () throws(RPCError) in
                                try session.performBlocking(.getAttributes(file))
                            }
                            ended.add(reply.map { _ in 0 })
                        }
                        if turn % 50 == 0 { usleep(2000) }
                    }
                }
            }
            for thread in threads { thread.join() }
            let failures = ended.wait().filter { answer in
                if case .failure(let error) = answer { error.cause != .cancelled } else { false }
            }
            #expect(failures.isEmpty)
            #expect(session.statistics.inFlight == 0)
            #expect(session.statistics.callsSentByCaller > before)
        }

        @Test func aCallThatMayHaveHappenedIsNotRepeated() throws {
            let (session, _) = try connect()
            defer { session.closeBlocking() }
            ganesha.suspend()
            let answer = Gathering(count: 1)
            session.start(.makeDirectory(session.root, "d", SetAttributes(mode: 0o755))) {
                answer.add($0.map { _ in 0 })
            }
            usleep(20_000)
            ganesha.kill()
            guard case .failure(let error)? = answer.wait().first else {
                Issue.record("it was answered")
                return
            }
            #expect(error.cause == .connectionLost(mayHaveExecuted: true))
            // Made while no connection stands, so never sent: it goes out when the server is back.
            let later = Gathering(count: 1)
            session.start(.makeDirectory(session.root, "e", SetAttributes(mode: 0o755))) {
                later.add($0.map { _ in 0 })
            }
            try ganesha.start()
            #expect(later.wait() == [.success(0)])
        }

        @Test func observersHearAboutIdleConnections() throws {
            let (session, file) = try connect()
            defer { session.closeBlocking() }
            let log = EventLog()
            session.setConnectionObserver { log.add($0) }
            for _ in 1...3 {
                ganesha.kill()
                // Ganesha drops one or another connection while it starts, so only the state
                // counts, not the number of events.
                let isLost = log.wait { _ in !session.isConnected }
                #expect(isLost)
                try ganesha.start()
                let isRestored = log.wait { _ in
                    session.connectionStates.allSatisfy { $0 }
                }
                #expect(isRestored)
                _ = try session.performBlocking(.getAttributes(file))
            }
            for connection in 0..<2 {
                let lost = log.all.compactMap { event -> UInt64? in
                    guard case .lost(connection, let incarnation, _) = event else { return nil }
                    return incarnation
                }
                let restored = log.all.compactMap { event -> UInt64? in
                    guard case .restored(connection, let incarnation) = event else { return nil }
                    return incarnation
                }
                #expect(lost.count >= 3 && lost.first == 1 && lost == lost.sorted())
                #expect(restored.count >= 3 && restored.first == 2)
            }
            #expect(session.statistics.reconnects >= 6)
            #expect(!leaksSockets())
        }

        @Test func cancelledRequestsEndOnceAndLateRepliesTouchNothing() throws {
            let (session, file) = try connect(SessionConfiguration(connections: 1))
            defer { session.closeBlocking() }
            let block = Pattern(byteCount: 4096, seed: 9)
            _ = try session.writeBlocking(
                file, offset: 0, from: UnsafeRawBufferPointer(block.buffer), stable: .fileSync)
            let target = Pattern(byteCount: 4096, seed: 0)
            let large = Pattern(byteCount: 3 << 20, seed: 0)
            let answers = Gathering(count: 2)
            ganesha.suspend()
            let first = session.read(file, offset: 0, into: target.buffer) {
                answers.add($0.map(\.byteCount))
            }
            let second = session.read(file, offset: 0, into: large.buffer) {
                answers.add($0.map(\.byteCount))
            }
            usleep(20_000)
            session.cancel(first)
            session.cancel(second)
            session.cancel(first)
            let causes = answers.wait().map { result -> RPCError.Cause? in
                if case .failure(let error) = result { return error.cause }
                return nil
            }
            #expect(causes == [.cancelled, .cancelled])
            ganesha.resume()
            _ = try session.performBlocking(.getAttributes(file))
            #expect(target.equals(Pattern(byteCount: 4096, seed: 0), byteCount: 4096))
            #expect(answers.soFar == 2)
            #expect(session.statistics.inFlight == 0)
        }

        @Test func cancellingATaskCancelsItsCall() async throws {
            let (session, file) = try connect()
            ganesha.suspend()
            let task = Task { try await session.perform(.getAttributes(file)) }
            usleep(20_000)
            task.cancel()
            let error = await #expect(throws: RPCError.self) { try await task.value }
            #expect(error?.cause == .cancelled)
            ganesha.resume()
            await session.close()
        }

        @Test func closingFailsWhatIsPending() throws {
            let (session, file) = try connect()
            ganesha.suspend()
            let answers = Gathering(count: 3)
            for _ in 0..<3 {
                session.start(.getAttributes(file)) { answers.add($0.map { _ in 0 }) }
            }
            session.closeBlocking()
            ganesha.resume()
            let causes = answers.wait().map { result -> RPCError.Cause? in
                if case .failure(let error) = result { return error.cause }
                return nil
            }
            #expect(causes == [.closed, .closed, .closed])
            let error = #expect(throws: RPCError.self) { try session.performBlocking(.null) }
            #expect(error?.cause == .closed)
            session.closeBlocking()
        }

        @Test func aDeadPortIsNamed() throws {
            let port = unusedPort()
            let url = try NFSURL("nfs://127.0.0.1:\(port)/export")
            let error = #expect(throws: RPCError.self) { try NFSSession.connectBlocking(to: url) }
            #expect(error?.description.contains("127.0.0.1:\(port)") == true)
            #expect(error?.description.contains("refused") == true, "\(String(describing: error))")
            let nobody = try NFSURL("nfs://no-such-host.invalid/export")
            let unresolved = #expect(throws: RPCError.self) {
                try NFSSession.connectBlocking(to: nobody)
            }
            #expect(unresolved?.description.contains("no-such-host.invalid") == true)
        }
    }
}

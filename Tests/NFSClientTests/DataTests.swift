// Reading and writing against a real Ganesha: sizes, splits, ends of files, durability levels.
import Glibc
import NFSClient
import NFSTypes
import Testing

extension AgainstGanesha {
    @Suite(.serialized)
    final class DataTests {
        let ganesha: PrivateGanesha
        let session: NFSSession
        let file: FileHandle

        init() throws {
            ganesha = try PrivateGanesha()
            session = try NFSSession.connectBlocking(to: try ganesha.url)
            _ = try session.performBlocking(
                .create(session.root, "data", mode: .guarded(SetAttributes(mode: 0o644))))
            file = try session.performBlocking(.lookup(session.root, "data")).handle
        }

        deinit { session.closeBlocking() }

        @Test(arguments: [0, 1, 4095, 4096, 65_536, 1 << 20, (1 << 20) + 1, (5 << 20) + 123])
        func writesAndReadsBack(byteCount: Int) throws {
            let source = Pattern(byteCount: byteCount, seed: 7)
            let written = try session.writeBlocking(
                file, offset: 11, from: UnsafeRawBufferPointer(source.buffer), stable: .unstable)
            #expect(written.byteCount == byteCount)
            #expect(written.verifier != nil)
            let commit = try session.performBlocking(.commit(file))
            #expect(written.verifier == commit.verifier)
            #expect(written.committed >= .unstable)
            let target = Pattern(byteCount: byteCount + 100, seed: 0)
            let read = try session.readBlocking(file, offset: 11, into: target.buffer)
            #expect(read.byteCount == byteCount)
            #expect(read.isEndOfFile)
            #expect(source.equals(target, byteCount: byteCount))
            #expect(session.statistics.inFlight == 0)
        }

        @Test(arguments: StableHow.allCases)
        func durabilityIsAtLeastWhatWasAsked(stable: StableHow) throws {
            let source = Pattern(byteCount: 4096, seed: 1)
            let reply = try session.writeBlocking(
                file, offset: 0, from: UnsafeRawBufferPointer(source.buffer), stable: stable)
            #expect(reply.committed >= stable)
            #expect(reply.attributes?.size == 4096)
        }

        @Test func endsOfFiles() throws {
            let source = Pattern(byteCount: 100, seed: 1)
            _ = try session.writeBlocking(
                file, offset: 0, from: UnsafeRawBufferPointer(source.buffer), stable: .fileSync)
            let target = Pattern(byteCount: 50, seed: 0)
            let middle = try session.readBlocking(file, offset: 10, into: target.buffer)
            #expect(middle.byteCount == 50 && !middle.isEndOfFile)
            let end = try session.readBlocking(file, offset: 60, into: target.buffer)
            #expect(end.byteCount == 40 && end.isEndOfFile)
            let past = try session.readBlocking(file, offset: 1000, into: target.buffer)
            #expect(past.byteCount == 0 && past.isEndOfFile)
            let beyond = #expect(throws: RPCError.self) {
                try session.readBlocking(file, offset: .max, into: target.buffer)
            }
            #expect(beyond?.errno == EINVAL)
        }

        @Test func manyAtOnceKeepTheirBytes() throws {
            let seed = Pattern.seedOfRun
            print("seed \(seed)")
            let count = 200
            let blocks = (0..<count).map { Pattern(byteCount: 4096, seed: seed &+ UInt64($0)) }
            let writes = Gathering(count: count)
            for (index, block) in blocks.enumerated() {
                session.write(
                    file, offset: UInt64(index * 4096),
                    from: UnsafeRawBufferPointer(block.buffer), stable: .unstable
                ) { writes.add($0.map(\.byteCount)) }
            }
            #expect(writes.wait() == Array(repeating: .success(4096), count: count))
            let targets = (0..<count).map { _ in Pattern(byteCount: 4096, seed: 0) }
            let reads = Gathering(count: count)
            for (index, target) in targets.enumerated() {
                session.read(file, offset: UInt64(index * 4096), into: target.buffer) {
                    reads.add($0.map(\.byteCount))
                }
            }
            #expect(reads.wait() == Array(repeating: .success(4096), count: count))
            for index in 0..<count {
                #expect(targets[index].equals(blocks[index], byteCount: 4096))
            }
            #expect(session.statistics.bytesRead == UInt64(count * 4096))
            #expect(session.statistics.bytesWritten == UInt64(count * 4096))
        }

        @Test func tooManyPendingAreRefused() throws {
            var configuration = SessionConfiguration(connections: 1)
            configuration.pendingLimit = 4
            let small = try NFSSession.connectBlocking(
                to: try ganesha.url, configuration: configuration)
            defer { small.closeBlocking() }
            ganesha.suspend()
            let answers = Gathering(count: 6)
            for _ in 0..<6 {
                small.start(.getAttributes(small.root)) { answers.add($0.map { _ in 0 }) }
            }
            ganesha.resume()
            let causes = answers.wait().compactMap { result -> RPCError.Cause? in
                if case .failure(let error) = result { return error.cause }
                return nil
            }
            #expect(causes == [.busy, .busy])
        }
    }
}

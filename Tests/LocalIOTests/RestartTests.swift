// The server dies in the middle and comes back: nothing that a commit acknowledged is lost, and
// local I/O turns to RPC and returns.
import Glibc
import LocalIOBench
import LocalIOTesting
import NFSClient
import Synchronization
import SystemPackage
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct RestartTests {
    /// Every record has its own place and its own bytes, so that any later look can tell.
    struct Record {
        let seed: UInt64
        static let spacing = 13_000

        func bytes(_ index: Int) -> [UInt8] {
            var generator = SeededGenerator(seed: seed &+ UInt64(index))
            // Aligned, odd with a middle, and small ones in turn.
            let count = [4096, 12_345, 700][index % 3]
            return generator.bytes(count)
        }

        func offset(_ index: Int) -> Int {
            let start = index * Self.spacing
            return index % 3 == 0 ? (start + 4095) / 4096 * 4096 : start
        }
    }

    final class Progress: Sendable {
        let committed = Lock(0)
        let failure = Lock<String?>(nil)
        let mustStop = Atomic(false)
    }

    @Test(arguments: ServerKind.available, FileRoad.allCases)
    func killingTheServerLosesNothingCommitted(kind: ServerKind, road: FileRoad) throws {
        let seed = testSeed()
        print("restart \(kind) \(road): LOCALIO_SEED=\(seed)")
        let site = try Site(kind)
        let locality = road.locality
        let client = try site.connect(locality)
        let file = try road.open("records", client)
        let record = Record(seed: seed)
        let progress = Progress()
        let writer = try #require(
            OwnedThread(name: "writer") { Self.write(record, to: file, progress) })
        for _ in 0..<(road.isBuffered ? 2 : 3) {
            usleep(300_000)
            site.server.kill9()
            // Whether an I/O meets the revoked road depends on where the writer is just then.
            if locality == .automatic {
                #expect(poll(timeout: .seconds(5)) { file.fallbackReason == .leaseRevoked })
            }
            usleep(200_000)
            try site.server.restart()
        }
        usleep(300_000)
        progress.mustStop.store(true, ordering: .releasing)
        writer.join()
        #expect(progress.failure.withLock { $0 } == nil)
        let committed = progress.committed.withLock { $0 }
        #expect(committed > 0)
        if locality == .automatic {
            #expect(comesBack(file), "local I/O did not come back")
        }
        let contents = try site.contents("records")
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

    static func write(_ record: Record, to file: any RecordFile, _ progress: Progress) {
        var index = 0
        do {
            while !progress.mustStop.load(ordering: .acquiring) {
                for _ in 0..<7 {
                    let bytes = record.bytes(index)
                    let count = try bytes.withUnsafeBytes {
                        try file.write($0, at: UInt64(record.offset(index)))
                    }
                    if count != bytes.count { throw BenchError("short write of \(index)") }
                    index += 1
                }
                try file.commitBlocking()
                let done = index
                progress.committed.withLock { $0 = done }
                // Each record is an extent of its own: tens of thousands of them take longer to
                // remove, on a disk that discards, than the rest of the test.
                usleep(5_000)
            }
        } catch {
            progress.failure.withLock { $0 = "\(error)" }
        }
    }

    /// Whether the file's local road opens again within 5 seconds.
    private func comesBack(_ file: any RecordFile) -> Bool {
        for _ in 0..<100 {
            if file.fallbackReason == nil { return true }
            usleep(50_000)
        }
        return false
    }

    /// A server that loses what was not committed is given it again.
    @Test(arguments: [FileRoad.rpc, .bufferedRPC])
    func uncommittedBytesAreSentAgainAfterARestart(road: FileRoad) throws {
        let seed = testSeed()
        let site = try Site(.embedded, arguments: ["--fault-hold-uncommitted"])
        let client = try site.connect(.off)
        let file = try road.open("held", client)
        let record = Record(seed: seed)
        for index in 0..<50 {
            let bytes = record.bytes(index)
            let count = try bytes.withUnsafeBytes {
                try file.write($0, at: UInt64(record.offset(index)))
            }
            #expect(count == bytes.count)
        }
        // One place is written twice, so that only its newest bytes may come back.
        let newest = [UInt8](repeating: 7, count: 300)
        _ = try newest.withUnsafeBytes {
            try file.write($0, at: UInt64(record.offset(1) + 100))
        }
        // Written back, but not committed.
        if let buffered = file as? BufferedFile {
            try buffered.startWriteback()
            #expect(
                poll(timeout: .seconds(10)) {
                    let cache = client.statistics().cache
                    return cache?.dirtyBytes == 0 && cache?.writebackBytes == 0
                })
        }
        #expect(client.statistics().uncommittedBytes > 0)
        site.server.kill9()
        #expect(try site.contents("held").isEmpty, "the server was to hold the bytes back")
        try site.server.restart()
        try file.commitBlocking()
        #expect(client.statistics().resentWrites > 0)
        #expect(client.statistics().uncommittedBytes == 0)
        var expected = ReferenceFile()
        for index in 0..<50 { expected.write(record.bytes(index), at: record.offset(index)) }
        expected.write(newest, at: record.offset(1) + 100)
        #expect(try site.contents("held") == expected.bytes, "seed \(seed)")
    }

    /// A server that no longer answers, though its connection stands, revokes the lease too.
    @Test func aStoppedServerRevokesAndAContinuedOneGrantsAgain() throws {
        let site = try Site(.embedded)
        let client = try site.connect(.automatic) {
            $0.heartbeatInterval = .milliseconds(50)
            $0.heartbeatTimeout = .milliseconds(300)
        }
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == nil)
        kill(site.server.processIdentifier, SIGSTOP)
        var revoked = false
        for _ in 0..<100 where !revoked {
            usleep(50_000)
            revoked = file.fallbackReason == .leaseRevoked
        }
        kill(site.server.processIdentifier, SIGCONT)
        #expect(revoked)
        #expect(client.locality == .remote(.leaseRevoked) || client.locality == .local(.nonceFile))
        #expect(comesBack(file))
    }
}

/// A file however it is open, as these tests use it.
protocol RecordFile: Sendable {
    var fallbackReason: FallbackReason? { get }
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws -> Int
    func commitBlocking() throws(LocalIOError)
    func closeBlocking() throws(LocalIOError)
}

extension LocalIOFile: RecordFile {
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws -> Int {
        try writeBlocking(from: bytes, at: offset)
    }
}

extension BufferedFile: RecordFile {
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws -> Int {
        try writeBlocking(from: bytes, at: offset)
    }
}

/// Which way a test's file goes.
enum FileRoad: String, CaseIterable, Sendable {
    case local, rpc, bufferedLocal, bufferedRPC

    var isBuffered: Bool { self == .bufferedLocal || self == .bufferedRPC }

    var locality: LocalitySetting { self == .local || self == .bufferedLocal ? .automatic : .off }

    func open(_ path: String, _ client: LocalIOClient) throws -> any RecordFile {
        switch self {
        case .local, .rpc: try client.openBlocking(path, .readWrite, options: [.create])
        case .bufferedLocal, .bufferedRPC:
            try client.openBufferedBlocking(path, .readWrite, options: [.create])
        }
    }
}

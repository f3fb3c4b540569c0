// The page cache over real servers: random operations give what a plain file gives, in the cache,
// in the local file after a commit, and for whoever opens the file next.
import Foundation
import LocalIOBench
import LocalIOTesting
import NFSClient
import NFSTypes
import SystemPackage
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct BufferedTests {
    @Test(arguments: ServerKind.available, [LocalitySetting.automatic, .off])
    func randomOperationsMatchTheReference(
        kind: ServerKind, locality: LocalitySetting
    ) throws {
        let seed = testSeed()
        print("BufferedTests \(kind) \(locality): LOCALIO_SEED=\(seed)")
        let site = try Site(kind)
        var run = try BufferedRun(site: site, locality: locality, seed: seed)
        try run.perform(operations: testOperations(20_000))
        try run.finish()
    }

    /// Threads that write their own odd slices of shared pages, read each other's, and commit.
    @Test(arguments: [LocalitySetting.automatic, .off])
    func threadsShareTheCache(locality: LocalitySetting) throws {
        let seed = testSeed()
        print("threadsShareTheCache: LOCALIO_SEED=\(seed)")
        let site = try Site(.embedded)
        let client = try site.connect(locality, policy: .local) {
            $0.cache.byteCount = 1 << 20
            $0.cache.dirtyAge = .milliseconds(5)
        }
        let width = 150_001
        let rounds = max(testOperations(20_000) / 100, 10)
        let last = Lock<[Int: [UInt8]]>([:])
        var threads: [OwnedThread] = []
        for writer in 0..<4 {
            let thread = OwnedThread(name: "writer-\(writer)") {
                do {
                    let bytes = try Self.writeSlice(
                        of: client, writer, width, rounds, seed &+ UInt64(writer))
                    last.withLock { $0[writer] = bytes }
                } catch {
                    Issue.record("writer \(writer): \(error), seed \(seed)")
                }
            }
            threads.append(try #require(thread))
        }
        for thread in threads { thread.join() }
        let contents = try site.contents("shared")
        for (writer, mine) in last.withLock({ $0 }) {
            let start = writer * width
            let there = Array(contents[start..<min(start + width, contents.count)])
            let padded = there + [UInt8](repeating: 0, count: width - there.count)
            #expect(padded == mine, "writer \(writer) lost bytes, seed \(seed)")
        }
        #expect(last.withLock { $0.count } == 4)
        let cache = try #require(client.statistics().cache)
        #expect(cache.dirtyBytes == 0 && cache.writebackBytes == 0)
        #expect(cache.cachedBytes <= 1 << 20)
    }

    private static func writeSlice(
        of client: LocalIOClient, _ writer: Int, _ width: Int, _ rounds: Int, _ seed: UInt64
    ) throws -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        let file = try client.openBufferedBlocking("shared", .readWrite, options: [.create])
        var mine = [UInt8](repeating: 0, count: width)
        for _ in 0..<rounds {
            let start = Int.random(in: 0..<width, using: &generator)
            let count = Int.random(in: 1...min(width - start, 30_000), using: &generator)
            let bytes = generator.bytes(count)
            mine.replaceSubrange(start..<start + count, with: bytes)
            let offset = UInt64(writer * width + start)
            let written = try bytes.withUnsafeBytes {
                try file.writeBlocking(from: $0, at: offset)
            }
            #expect(written == count)
            var back = [UInt8](repeating: 0, count: count)
            let got = try back.withUnsafeMutableBytes {
                try file.readBlocking(into: $0, at: offset)
            }
            #expect(got == count && back == bytes, "seed \(seed)")
            if Int.random(in: 0..<10, using: &generator) == 0 { try file.commitBlocking() }
        }
        try file.closeBlocking()
        return mine
    }

    @Test func aFileIsOpenOneWayAtATime() throws {
        let site = try Site(.embedded)
        let client = try site.connect(.automatic)
        let buffered = try client.openBufferedBlocking("file", .readWrite, options: [.create])
        #expect {
            _ = try client.openBlocking("file", .readOnly)
        } throws: { ($0 as? LocalIOError)?.errno == .resourceBusy }
        try buffered.closeBlocking()
        let unbuffered = try client.openBlocking("file", .readWrite)
        #expect {
            _ = try client.openBufferedBlocking("file", .readOnly)
        } throws: { ($0 as? LocalIOError)?.errno == .resourceBusy }
        try unbuffered.closeBlocking()
    }

    /// What other clients have closed is seen at the next open, and nothing older.
    @Test(arguments: ServerKind.available)
    func anOpenSeesWhatOthersHaveClosed(kind: ServerKind) throws {
        let site = try Site(kind)
        let local = try site.connect(.automatic)
        let remote = try site.connect(.off)
        for round in 1...20 {
            let (writer, reader) = round % 2 == 0 ? (local, remote) : (remote, local)
            let bytes = [UInt8](repeating: UInt8(round), count: 10_000 + round * 777)
            let file = try writer.openBufferedBlocking(
                "shared", .readWrite, options: [.create, .truncate])
            _ = try bytes.withUnsafeBytes { try file.writeBlocking(from: $0, at: 0) }
            try file.closeBlocking()
            let other = try reader.openBufferedBlocking("shared", .readOnly)
            var back = [UInt8](repeating: 0, count: 40_000)
            let got = try back.withUnsafeMutableBytes { try other.readBlocking(into: $0, at: 0) }
            #expect(Array(back[..<got]) == bytes, "round \(round)")
            try other.closeBlocking()
        }
    }

    /// A file kept open without writing to it: what others wrote meanwhile is seen at the next
    /// open, although this client's own commit and close lie between.
    @Test func anIdleCommitDoesNotFreshenOldPages() throws {
        let site = try Site(.embedded)
        let local = try site.connect(.automatic)
        let remote = try site.connect(.off)
        func contents(_ client: LocalIOClient) throws -> [UInt8] {
            let file = try client.openBufferedBlocking("shared", .readOnly)
            var back = [UInt8](repeating: 0, count: 8192)
            let got = try back.withUnsafeMutableBytes { try file.readBlocking(into: $0, at: 0) }
            try file.closeBlocking()
            return Array(back[..<got])
        }
        func write(_ file: BufferedFile, _ byte: UInt8) throws {
            let bytes = [UInt8](repeating: byte, count: 8192)
            _ = try bytes.withUnsafeBytes { try file.writeBlocking(from: $0, at: 0) }
        }
        let kept = try local.openBufferedBlocking("shared", .readWrite, options: [.create])
        try write(kept, 1)
        try kept.commitBlocking()
        let other = try remote.openBufferedBlocking("shared", .readWrite)
        try write(other, 2)
        try other.closeBlocking()
        try kept.commitBlocking()
        try kept.closeBlocking()
        #expect(try contents(local) == [UInt8](repeating: 2, count: 8192))
    }

    /// Whole pages go direct: no page of the file is left in the kernel's page cache beside ours.
    @Test func writebackOfWholePagesGoesDirect() throws {
        let site = try Site(.embedded)
        let client = try site.connect(.automatic) { $0.cache.byteCount = 8 << 20 }
        let file = try client.openBufferedBlocking("file", .readWrite, options: [.create])
        let bytes = [UInt8](repeating: 7, count: 3 << 20)
        for round in 0..<4 {
            _ = try bytes.withUnsafeBytes {
                try file.writeBlocking(from: $0, at: UInt64(round) * 3 << 20)
            }
        }
        try file.closeBlocking()
        let statistics = client.statistics()
        #expect(statistics.roads[.local]?.bytes == 12 << 20)
        #expect(statistics.roads[.rpc]?.bytes == 0)
        #expect(statistics.fallbacks.isEmpty, "\(statistics.fallbacks)")
    }
}

/// Random operations on one buffered file in a cache much smaller than the file.
struct BufferedRun {
    private let site: Site
    private let locality: LocalitySetting
    private let seed: UInt64
    private var generator: SeededGenerator
    private var model = ReferenceFile()
    private let client: LocalIOClient
    private var file: BufferedFile
    private let memory: TestMemory
    private let payloads: PayloadPool
    private var step = 0

    private static let largest = 300_000
    private static let sizeLimit = 4 << 20

    init(site: Site, locality: LocalitySetting, seed: UInt64) throws {
        self.site = site
        self.locality = locality
        self.seed = seed
        generator = SeededGenerator(seed: seed)
        payloads = PayloadPool(seed: seed, largest: Self.largest)
        memory = TestMemory(Self.largest)
        client = try site.connect(locality, policy: .local) { $0.cache.byteCount = 1 << 20 }
        if locality != .off, case .remote = client.locality {
            throw BenchError("not local: \(client.probeReport)")
        }
        file = try client.openBufferedBlocking("file", .readWrite, options: [.create])
    }

    mutating func perform(operations: Int) throws {
        while step < operations {
            step += 1
            switch Int.random(in: 0..<1000, using: &generator) {
            case 0..<480: try write()
            case 480..<972: try read()
            // Rare, so that the file outgrows the cache.
            case 972..<975: try truncate()
            case 975..<990: try commit()
            case 990..<995:
                try file.closeBlocking()
                file = try client.openBufferedBlocking("file", .readWrite)
            default:
                let size = try file.attributesBlocking().size
                try check(Int(size) == model.size, "size \(size), expected \(model.size)")
            }
        }
    }

    private mutating func length() -> Int {
        switch Int.random(in: 0..<10, using: &generator) {
        case 0: Int.random(in: 1...Self.largest, using: &generator)
        case 1...3: Int.random(in: 1...16, using: &generator) * 4096
        default: Int.random(in: 1...9000, using: &generator)
        }
    }

    private mutating func offset(_ limit: Int) -> Int {
        let any = Int.random(in: 0...max(limit, 1), using: &generator)
        return Bool.random(using: &generator) ? any / 4096 * 4096 : any
    }

    private mutating func write() throws {
        let count = length()
        let offset = min(offset(model.size + 10_000), Self.sizeLimit)
        let source = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<count])
        payloads.fill(source, number: UInt64(step))
        let written = try file.writeBlocking(
            from: UnsafeRawBufferPointer(source), at: UInt64(offset))
        try check(written == count, "wrote \(written) of \(count) at \(offset)")
        model.write(UnsafeRawBufferPointer(source), at: offset)
        try verify(at: max(0, offset - 5000), byteCount: count + 10_000)
    }

    private mutating func read() throws {
        try verify(at: offset(model.size + 5000), byteCount: length())
    }

    private mutating func truncate() throws {
        let size = offset(min(model.size + 50_000, Self.sizeLimit))
        try file.truncateBlocking(to: UInt64(size))
        model.truncate(to: size)
        try verify(at: max(0, size - 6000), byteCount: 12_000)
    }

    /// After a commit the local file itself has every byte.
    private mutating func commit() throws {
        try file.commitBlocking()
        guard Int.random(in: 0..<10, using: &generator) == 0 else { return }
        try check(try site.contents("file") == model.bytes, "the file differs after a commit")
    }

    private func verify(at offset: Int, byteCount: Int) throws {
        let count = min(byteCount, Self.largest)
        let expected = model.readable(at: offset, byteCount: count)
        let target = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<count])
        let got = try file.readBlocking(into: target, at: UInt64(offset))
        let isSame =
            got == expected
            && model.matches(
                UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(target)[..<got]),
                at: offset)
        try check(isSame, "read of \(count) at \(offset): \(got) bytes, expected \(expected)")
    }

    private func check(_ holds: Bool, _ message: String) throws {
        guard !holds else { return }
        Issue.record("seed \(seed), step \(step), \(locality): \(message)")
        throw BenchError("the cache differs from the reference")
    }

    mutating func finish() throws {
        try file.closeBlocking()
        try check(try site.contents("file") == model.bytes, "the file differs at the end")
        let statistics = client.statistics()
        let cache = try #require(statistics.cache)
        #expect(cache.cachedBytes <= 1 << 20)
        #expect(cache.dirtyBytes == 0 && cache.writebackBytes == 0 && cache.droppedBytes == 0)
        // Few operations may not make the file larger than the cache.
        if step >= 10_000 { #expect(cache.evictions > 0, "seed \(seed)") }
        #expect((statistics.roads[.local]?.operations ?? 0 > 0) == (locality != .off))
    }
}

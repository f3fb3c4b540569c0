// Reads of what the kernel has in its page cache: the bytes a direct read would bring, nothing
// brought into the cache, and no look where none is wanted.
import Foundation
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@testable import LocalIO

@Suite(.serialized) struct CachedReadTests {
    private static let size = 4 << 20

    private static func coldFile(_ site: Site, _ bytes: [UInt8]) throws {
        try PageCacheProbe.writeCold(site.root.appending("file"), bytes)
    }

    private static func cachedPages(_ site: Site) throws -> Int {
        try PageCacheProbe.cachedPages(site.root.appending("file"), size)
    }

    @Test(arguments: ServerKind.available)
    func whatTheServerHasCachedIsCopied(kind: ServerKind) throws {
        let seed = testSeed()
        print("CachedReadTests: LOCALIO_SEED=\(seed)")
        var generator = SeededGenerator(seed: seed)
        let site = try Site(kind)
        var bytes = generator.bytes(Self.size + 1000)
        try Self.coldFile(site, bytes)
        let client = try site.connect(.automatic)
        let other = try site.connect(.off)
        let file = try client.openBlocking("file", .readWrite)
        let remote = try other.openBlocking("file", .readWrite)
        let memory = TestMemory(1 << 20)
        #expect(try site.contents("file") == bytes)
        for _ in 0..<400 {
            // What the other client writes through the server is seen once it has written.
            if Int.random(in: 0..<4, using: &generator) == 0 {
                let start = Int.random(in: 0..<Self.size, using: &generator)
                let new = generator.bytes(min(9000, bytes.count - start))
                _ = try new.withUnsafeBytes {
                    try remote.writeBlocking(from: $0, at: UInt64(start))
                }
                bytes.replaceSubrange(start..<start + new.count, with: new)
            }
            let page = Int.random(in: 0..<Self.size / 4096, using: &generator)
            let count = Int.random(in: 1...64, using: &generator) * 4096
            let end = min(page * 4096 + count, bytes.count)
            let got = try file.read(memory, count, at: page * 4096)
            try #require(got == Array(bytes[page * 4096..<end]), "seed \(seed), page \(page)")
        }
        let statistics = client.statistics()
        #expect(statistics.cachedReads > 300, "\(statistics.cachedReads)")
        #expect(statistics.roads[.local]?.operations == 400)
        #expect(statistics.fallbacks.isEmpty, "\(statistics.fallbacks)")
    }

    /// Every road to a read looks: channel, awaiting callers, the page cache of buffered files.
    @Test func everyKindOfReadLooks() async throws {
        let site = try Site(.embedded)
        var generator = SeededGenerator(seed: 3)
        let bytes = generator.bytes(Self.size)
        try Self.coldFile(site, bytes)
        #expect(try site.contents("file") == bytes)
        let client = try site.connect(.automatic)
        let file = try client.openBlocking("file", .readOnly)
        let memory = TestMemory(64 << 10)
        var channel = try IOChannel(client: client, depth: 4)
        let part = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<16384])
        #expect(channel.submitRead(file, into: part, at: 8192, token: 9) == .queued)
        channel.reap(minimum: 1) { token, result in
            #expect(token == 9 && result == 16384)
        }
        #expect(Array(part) == Array(bytes[8192..<24576]))
        #expect(client.statistics().cachedReads == 1)
        if let buffer = AlignedBuffer(byteCount: 16384) {
            let answer = try await file.read(into: buffer, at: 4096)
            #expect(answer.byteCount == 16384)
        }
        #expect(client.statistics().cachedReads == 2)
        try file.closeBlocking()
        let buffered = try client.openBufferedBlocking("file", .readOnly)
        #expect(try buffered.readBlocking(into: memory.bytes, at: 0) == 64 << 10)
        #expect(Array(memory.bytes) == Array(bytes[..<(64 << 10)]))
        #expect(client.statistics().cachedReads > 2)
        try buffered.closeBlocking()
    }

    /// A misaligned read of what is there needs neither the disk nor a bounce buffer.
    @Test func misalignedReadsLookToo() throws {
        let site = try Site(.embedded)
        var generator = SeededGenerator(seed: 5)
        let bytes = generator.bytes(Self.size)
        try Self.coldFile(site, bytes)
        #expect(try site.contents("file") == bytes)
        let client = try site.connect(.automatic, policy: .local) { $0.readsAhead = false }
        let file = try client.openBlocking("file", .readOnly)
        let memory = TestMemory(1 << 20)
        for turn in 0..<100 {
            let offset = turn * 7919 % (Self.size - 50_000)
            let isRight =
                try file.read(memory, 47_008, at: offset)
                == Array(bytes[offset..<offset + 47_008])
            try #require(isRight, "read at \(offset)")
        }
        #expect(client.statistics().cachedReads == 100)
    }

    @Test func aColdFileStaysCold() throws {
        let site = try Site(.embedded)
        var generator = SeededGenerator(seed: 4)
        let bytes = generator.bytes(Self.size)
        try Self.coldFile(site, bytes)
        let client = try site.connect(.automatic)
        let file = try client.openBlocking("file", .readOnly)
        let memory = TestMemory(1 << 20)
        let before = try Self.cachedPages(site)
        for page in 0..<200 {
            let offset = page * 4096 * 5
            #expect(
                try file.read(memory, 16384, at: offset)
                    == Array(bytes[offset..<offset + 16384]))
        }
        #expect(client.statistics().cachedReads == 0)
        #expect(try Self.cachedPages(site) <= before)
    }

    @Test(arguments: [AccessMode.readOnly, .readWrite])
    func switchedOffNobodyLooks(access: AccessMode) throws {
        let site = try Site(.embedded)
        try Self.coldFile(site, [UInt8](repeating: 1, count: Self.size))
        _ = try site.contents("file")
        let client = try site.connect(.automatic) { $0.readsPageCache = false }
        let file = try client.openBlocking("file", access)
        let memory = TestMemory(1 << 20)
        for page in 0..<50 { _ = try file.read(memory, 16384, at: page * 4096) }
        #expect(client.statistics().cachedReads == 0)
    }
}

// Misaligned reads that follow one another: through the page cache, with the bytes a direct read
// would bring; all others past it.
import Foundation
import LocalIOBench
import LocalIOTesting
import Synchronization
import SystemPackage
import Testing

@testable import LocalIO

@Suite struct ReadStreamDetectionTests {
    @Test func theThirdReadInARowIsAStream() {
        let streams = ReadStreams()
        let answers = (0..<5).map { streams.goesOn(offset: UInt64($0) * 47_008, byteCount: 47_008) }
        #expect(answers == [false, false, true, true, true])
        // Back to the start: a new one.
        #expect(!streams.goesOn(offset: 0, byteCount: 47_008))
    }

    @Test func readsHereAndThereAreNone() {
        let seed = testSeed()
        print("ReadStreamTests: LOCALIO_SEED=\(seed)")
        var generator = SeededGenerator(seed: seed)
        let streams = ReadStreams()
        for _ in 0..<10_000 {
            let offset = UInt64.random(in: 0..<1 << 40, using: &generator)
            #expect(!streams.goesOn(offset: offset, byteCount: 4196), "seed \(seed)")
        }
    }

    /// Steps of one size with a gap between: nothing follows anything.
    @Test func stridesAreNone() {
        let streams = ReadStreams()
        for step in 0..<1000 {
            #expect(!streams.goesOn(offset: UInt64(step) * 5000, byteCount: 4196))
        }
    }

    @Test func streamsAreToldApartAmongOtherReads() {
        let streams = ReadStreams()
        var missed = 0
        for step in 0..<100 {
            for stream in 0..<4 {
                let offset = UInt64(stream) << 32 + UInt64(step) * 1001
                if !streams.goesOn(offset: offset, byteCount: 1001) { missed += 1 }
            }
            #expect(!streams.goesOn(offset: 1 << 50 + UInt64(step) << 20, byteCount: 100))
        }
        #expect(missed == 4 * 2)
    }

    /// A read that comes before its turn, now and then, ends nothing.
    @Test func overtakingDoesNotEndIt() {
        let streams = ReadStreams()
        var order = (0..<200).map { UInt64($0) }
        for step in stride(from: 10, to: 190, by: 10) { order.swapAt(step, step + 1) }
        let missed = order.count { !streams.goesOn(offset: $0 * 1001, byteCount: 1001) }
        #expect(missed <= 2 + 18 * 3, "\(missed)")
    }

    @Test func thoseThatEndedMakeRoom() {
        let streams = ReadStreams()
        for stream in 0..<20 {
            let answers = (0..<30).map {
                streams.goesOn(offset: UInt64(stream) << 32 + UInt64($0) * 1001, byteCount: 1001)
            }
            #expect(answers.count { !$0 } <= 2, "stream \(stream)")
        }
    }
}

@Suite(.serialized) struct ReadStreamTests {
    private static let size = 8 << 20
    private static let step = 47_008

    private static func coldSite(
        _ kind: ServerKind, _ bytes: [UInt8]
    ) throws -> Site {
        let site = try Site(kind)
        try PageCacheProbe.writeCold(site.root.appending("file"), bytes)
        return site
    }

    @Test(arguments: ServerKind.available)
    func aStreamIsReadAhead(kind: ServerKind) throws {
        var generator = SeededGenerator(seed: 11)
        let bytes = generator.bytes(Self.size + 77)
        let site = try Self.coldSite(kind, bytes)
        let client = try site.connect(.automatic, policy: .local)
        let file = try client.openBlocking("file", .readOnly)
        let memory = TestMemory(1 << 20)
        for offset in stride(from: 0, to: bytes.count, by: Self.step) {
            let end = min(offset + Self.step, bytes.count)
            let isRight =
                try file.read(memory, Self.step, at: offset) == Array(bytes[offset..<end])
            try #require(isRight, "read at \(offset)")
        }
        #expect(try file.read(memory, 100, at: bytes.count).isEmpty)
        // All but the first reads left their pages there.
        let cached = try PageCacheProbe.cachedPages(site.root.appending("file"), Self.size)
        #expect(cached > (Self.size - 4 * Self.step) / 4096, "\(cached)")
        let statistics = client.statistics()
        #expect(statistics.roads[.rpc]?.operations ?? 0 == 0)
        #expect(statistics.fallbacks.keys.allSatisfy { $0 == .misaligned })
    }

    @Test(arguments: [true, false])
    func nothingElseIsBroughtIn(isStream: Bool) throws {
        let bytes = [UInt8](repeating: 5, count: Self.size)
        let site = try Self.coldSite(.embedded, bytes)
        // A stream with the switch off; reads here and there with it on.
        let client = try site.connect(.automatic, policy: .local) { $0.readsAhead = !isStream }
        let file = try client.openBlocking("file", .readOnly)
        let memory = TestMemory(1 << 20)
        let before = try PageCacheProbe.cachedPages(site.root.appending("file"), Self.size)
        for turn in 0..<150 {
            let place = isStream ? turn : turn * 37 % 150
            #expect(try file.read(memory, Self.step, at: place * Self.step).count > 0)
        }
        let after = try PageCacheProbe.cachedPages(site.root.appending("file"), Self.size)
        #expect(after <= before)
    }

    /// Aligned reads that follow one another stay direct.
    @Test func alignedReadsStayDirect() throws {
        let site = try Self.coldSite(.embedded, [UInt8](repeating: 5, count: Self.size))
        let client = try site.connect(.automatic, policy: .local)
        let file = try client.openBlocking("file", .readOnly)
        let memory = TestMemory(1 << 20)
        let before = try PageCacheProbe.cachedPages(site.root.appending("file"), Self.size)
        for turn in 0..<100 {
            #expect(try file.read(memory, 65536, at: turn * 65536).count == 65536)
        }
        let after = try PageCacheProbe.cachedPages(site.root.appending("file"), Self.size)
        #expect(after <= before)
    }

    /// What was read ahead is never older than what has been written since, by either road.
    @Test(arguments: ServerKind.available)
    func writesAreSeenAtOnce(kind: ServerKind) throws {
        let seed = testSeed()
        print("ReadStreamTests: LOCALIO_SEED=\(seed)")
        var generator = SeededGenerator(seed: seed)
        var bytes = generator.bytes(Self.size)
        let site = try Self.coldSite(kind, bytes)
        let client = try site.connect(.automatic, policy: .local)
        let other = try site.connect(.off)
        let file = try client.openBlocking("file", .readWrite)
        let remote = try other.openBlocking("file", .readWrite)
        let memory = TestMemory(1 << 20)
        for turn in 0..<3 {
            for offset in stride(from: turn, to: bytes.count - Self.step, by: Self.step) {
                // Into what has probably been read ahead by now, or just before.
                let start = min(
                    max(0, offset + Int.random(in: -100_000..<900_000, using: &generator)),
                    bytes.count - 20_480)
                let isDirect = Bool.random(using: &generator)
                let at = isDirect ? start / 4096 * 4096 : start
                let new = generator.bytes(isDirect ? 16384 : 9001)
                memory.bytes[..<new.count].copyBytes(from: new)
                let source = UnsafeRawBufferPointer(
                    rebasing: UnsafeRawBufferPointer(memory.bytes)[..<new.count])
                let writer = isDirect || Bool.random(using: &generator) ? file : remote
                #expect(try writer.writeBlocking(from: source, at: UInt64(at)) == new.count)
                bytes.replaceSubrange(at..<at + new.count, with: new)
                let got = try file.read(memory, Self.step, at: offset)
                let isRight = got == Array(bytes[offset..<offset + Self.step])
                try #require(isRight, "seed \(seed), turn \(turn), read at \(offset)")
            }
        }
        try file.closeBlocking()
        try remote.closeBlocking()
        let isKept = try site.contents("file") == bytes
        #expect(isKept)
    }

    /// Direct writes beside a stream, ahead of it and behind: none is lost, and no commit hears of
    /// an error that the kernel's meeting of the two has made.
    @Test(arguments: ServerKind.available)
    func directWritesBesideAStreamAreKept(kind: ServerKind) throws {
        let site = try Self.coldSite(kind, [UInt8](repeating: 0, count: Self.size))
        let client = try site.connect(.automatic, policy: .local)
        let file = try client.openBlocking("file", .readWrite)
        let stop = Atomic<Bool>(false)
        let wrong = Atomic<Int>(0)
        let pages = Self.size / 4096
        withExtendedLifetime(file) {
            let group = DispatchGroup()
            DispatchQueue.global().async(group: group) {
                let memory = TestMemory(1 << 20)
                while !stop.load(ordering: .relaxed) {
                    for offset in stride(from: 0, to: Self.size - Self.step, by: Self.step) {
                        guard let got = try? file.read(memory, Self.step, at: offset),
                            got.count == Self.step
                        else {
                            wrong.add(1, ordering: .relaxed)
                            continue
                        }
                    }
                }
            }
            let memory = TestMemory(4096)
            for round in 1...6 {
                for page in 0..<pages {
                    let place = page * 1031 % pages
                    memory.bytes.copyBytes(from: [UInt8](repeating: UInt8(round), count: 4096))
                    let written = try? file.writeBlocking(
                        from: UnsafeRawBufferPointer(memory.bytes), at: UInt64(place) * 4096)
                    if written != 4096 { wrong.add(1, ordering: .relaxed) }
                    if page % 512 == 0, (try? file.commitBlocking()) == nil {
                        wrong.add(1, ordering: .relaxed)
                    }
                }
            }
            stop.store(true, ordering: .relaxed)
            group.wait()
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
        try file.closeBlocking()
        let isKept = try site.contents("file").allSatisfy { $0 == 6 }
        #expect(isKept)
    }
}

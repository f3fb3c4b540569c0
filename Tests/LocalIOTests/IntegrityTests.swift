// Two roads, one model: random operations of odd sizes through every policy and through RPC give
// what a plain file gives, step by step and at the end.
import LocalIOBench
import LocalIOTesting
import NFSClient
import NFSTypes
import SystemPackage
import Testing

@testable import DirectIO
@testable import LocalIO

@Suite(.serialized) struct IntegrityTests {
    /// 4 MiB: small enough to reread, large enough for holes, splits and folios.
    static let sizeLimit = 4 << 20

    @Test(arguments: ServerKind.available)
    func randomOperationsMatchTheReference(kind: ServerKind) throws {
        let seed = testSeed()
        print("IntegrityTests \(kind): LOCALIO_SEED=\(seed)")
        let site = try Site(kind)
        var run = try IntegrityRun(site: site, seed: seed)
        try run.perform(operations: testOperations(100_000))
        try run.finish()
    }

    /// A device whose logical block is a page, and whose driver stores only a part of a block
    /// that lies across two pages of memory.
    @Test(.enabled(if: Requirement.xfsOnZRAM.isMet))
    func blocksOfAPageStayWhole() throws {
        let seed = testSeed()
        print("IntegrityTests zram: LOCALIO_SEED=\(seed)")
        let disk = try BlockFixture(.xfs, on: .zram, byteCount: 320 << 20)
        defer { disk.remove() }
        do {
            let site = try Site(.embedded, exporting: disk.path)
            var run = try IntegrityRun(site: site, seed: seed)
            try run.perform(operations: testOperations(100_000) / 5)
            try run.finish()
        }
    }

    /// Writers of neighbouring odd ranges share pages: no page may lose a neighbour's bytes.
    @Test(arguments: ServerKind.available, [MisalignmentPolicy.split, .local, .rpc])
    func neighboursOnOnePageDoNotHarmEachOther(
        kind: ServerKind, policy: MisalignmentPolicy
    ) async throws {
        let seed = testSeed()
        print("neighbours \(kind) \(policy): LOCALIO_SEED=\(seed)")
        let site = try Site(kind)
        let client = try site.connect(.automatic, policy: policy)
        let file = try await client.open("shared", .readWrite, options: [.create])
        let rounds = max(testOperations(100_000) / 1000, 10)
        let width = 37_777
        let last = try await withThrowingTaskGroup(of: (Int, [UInt8]).self) { group in
            for writer in 0..<6 {
                group.addTask {
                    var generator = SeededGenerator(seed: seed &+ UInt64(writer))
                    var mine = [UInt8](repeating: 0, count: width)
                    for _ in 0..<rounds {
                        let start = Int.random(in: 0..<width, using: &generator)
                        let count = Int.random(in: 1...(width - start), using: &generator)
                        let bytes = generator.bytes(count)
                        mine.replaceSubrange(start..<start + count, with: bytes)
                        try await write(bytes, to: file, at: writer * width + start)
                    }
                    return (writer, mine)
                }
            }
            return try await group.reduce(into: [Int: [UInt8]]()) { $0[$1.0] = $1.1 }
        }
        try await file.close()
        let contents = try site.contents("shared")
        for (writer, mine) in last {
            let start = writer * width
            let end = min(start + width, contents.count)
            let there = Array(contents[min(start, end)..<end])
            let padded = there + [UInt8](repeating: 0, count: width - there.count)
            #expect(padded == mine, "writer \(writer) lost bytes, seed \(seed)")
        }
    }
}

/// Writes bytes through the async form, from an aligned buffer at a random skew.
func write(_ bytes: [UInt8], to file: LocalIOFile, at offset: Int) async throws {
    guard var buffer = AlignedBuffer(byteCount: bytes.count) else { throw OutOfMemory() }
    buffer.withUnsafeMutableBytes { $0.copyBytes(from: bytes) }
    let result = try await file.write(from: buffer, byteCount: bytes.count, at: UInt64(offset))
    try #require(result.byteCount == bytes.count)
}

struct OutOfMemory: Error {}

/// One random run of operations over four roads.
struct IntegrityRun {
    private struct Road {
        let name: String
        let client: LocalIOClient
        let file: LocalIOFile
    }

    private let site: Site
    private let seed: UInt64
    private var generator: SeededGenerator
    private var model = ReferenceFile()
    private var roads: [Road] = []
    private let memory: TestMemory
    private let payloads: PayloadPool
    private var step = 0

    private static let largest = 400_000

    init(site: Site, seed: UInt64) throws {
        self.site = site
        self.seed = seed
        generator = SeededGenerator(seed: seed)
        payloads = PayloadPool(seed: seed, largest: Self.largest)
        memory = TestMemory(Self.largest + 8192)
        for policy in MisalignmentPolicy.allCases {
            let client = try site.connect(.automatic, policy: policy)
            guard case .local = client.locality else {
                throw BenchError("not local: \(client.probeReport)")
            }
            let file = try client.openBlocking("file", .readWrite, options: [.create])
            roads.append(Road(name: "\(policy)", client: client, file: file))
        }
        let client = try site.connect(.off)
        let file = try client.openBlocking("file", .readWrite)
        roads.append(Road(name: "remote", client: client, file: file))
    }

    /// Phases of a few operations on one road; a commit hands over to the next
    /// (close-to-open consistency promises no more between clients).
    mutating func perform(operations: Int) throws {
        while step < operations {
            let road = roads[Int.random(in: 0..<roads.count, using: &generator)]
            for _ in 0..<Int.random(in: 1...60, using: &generator) where step < operations {
                step += 1
                try operate(road)
            }
            try road.file.commitBlocking()
        }
    }

    private mutating func operate(_ road: Road) throws {
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<45: try write(road)
        case 45..<90: try read(road)
        case 90..<95: try append(road)
        case 95..<98: try truncate(road)
        default:
            let size = try road.file.attributesBlocking().size
            try check(Int(size) == model.size, road, "size \(size), expected \(model.size)")
        }
    }

    /// Mostly small and odd, sometimes large, sometimes aligned.
    private mutating func length() -> Int {
        switch Int.random(in: 0..<10, using: &generator) {
        case 0: Int.random(in: 1...Self.largest, using: &generator)
        case 1...3: Int.random(in: 1...16, using: &generator) * 4096
        case 4: Int.random(in: 1...64, using: &generator) * 512
        default: Int.random(in: 1...20_000, using: &generator)
        }
    }

    private mutating func offset(_ limit: Int) -> Int {
        let any = Int.random(in: 0...max(limit, 1), using: &generator)
        return switch Int.random(in: 0..<4, using: &generator) {
        case 0: any / 4096 * 4096
        case 1: any / 512 * 512
        default: any
        }
    }

    /// Where in memory: aligned more often than not.
    private mutating func skew() -> Int {
        Bool.random(using: &generator) ? 0 : Int.random(in: 0..<4096, using: &generator)
    }

    private mutating func write(_ road: Road) throws {
        let count = length()
        let offset = min(offset(model.size + 10_000), IntegrityTests.sizeLimit)
        let skew = skew()
        let source = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[skew..<skew + count])
        payloads.fill(source, number: UInt64(step))
        let written = try road.file.writeBlocking(
            from: UnsafeRawBufferPointer(source), at: UInt64(offset))
        try check(written == count, road, "wrote \(written) of \(count) at \(offset)")
        model.write(UnsafeRawBufferPointer(source), at: offset)
        try verify(road, at: max(0, offset - 5000), byteCount: count + 10_000)
    }

    private mutating func read(_ road: Road) throws {
        let count = length()
        try verify(road, at: offset(model.size + 5000), byteCount: count)
    }

    private mutating func append(_ road: Road) throws {
        guard model.size < IntegrityTests.sizeLimit else { return try truncate(road) }
        let count = length()
        let source = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<count])
        payloads.fill(source, number: UInt64(step))
        let offset = try road.file.appendBlocking(from: UnsafeRawBufferPointer(source))
        try check(Int(offset) == model.size, road, "appended at \(offset), not \(model.size)")
        model.write(UnsafeRawBufferPointer(source), at: model.size)
        try verify(road, at: Int(offset), byteCount: count + 100)
    }

    private mutating func truncate(_ road: Road) throws {
        let size = offset(min(model.size + 50_000, IntegrityTests.sizeLimit))
        try road.file.truncateBlocking(to: UInt64(size))
        model.truncate(to: size)
        try verify(road, at: max(0, size - 6000), byteCount: 12_000)
    }

    /// Reads a range and compares it with the model.
    private mutating func verify(_ road: Road, at offset: Int, byteCount: Int) throws {
        let count = min(byteCount, Self.largest)
        let skew = skew()
        let expected = model.readable(at: offset, byteCount: count)
        let target = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[skew..<skew + count])
        let got = try road.file.readBlocking(into: target, at: UInt64(offset))
        let isSame =
            got == expected
            && model.matches(
                UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(target)[..<got]),
                at: offset)
        try check(
            isSame, road,
            "read of \(count) at \(offset): \(got) bytes, expected \(expected)")
    }

    private func check(_ holds: Bool, _ road: Road, _ message: String) throws {
        guard !holds else { return }
        let fallbacks = road.client.statistics().fallbacks
        Issue.record("seed \(seed), step \(step), road \(road.name): \(message); \(fallbacks)")
        throw BenchError("the roads differ")
    }

    /// The whole file through every road, and directly.
    mutating func finish() throws {
        for road in roads { try road.file.commitBlocking() }
        for road in roads {
            var position = 0
            while position <= model.size {
                try verify(road, at: position, byteCount: Self.largest)
                position += Self.largest
            }
            // Few operations may have none that policy rpc sends the local road: this is one.
            let got = try road.file.read(memory, 4096, at: 0).count
            #expect(got == model.readable(at: 0, byteCount: 4096))
            let statistics = road.client.statistics()
            let local = statistics.roads[.local]?.operations ?? 0
            if road.name == "remote" {
                #expect(local == 0)
            } else {
                #expect(local > 0, "\(road.name) never went local")
            }
            try road.file.closeBlocking()
        }
        #expect(try site.contents("file") == model.bytes, "seed \(seed)")
    }
}

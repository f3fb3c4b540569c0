// Buffers are aligned, bounded, returned, and known to the ring by their index.
import DirectIO
import Foundation
import Glibc
import Testing

@Suite struct BufferPoolTests {
    static let small = [
        BufferPool.SizeClass(byteCount: 4096, slabs: 3),
        BufferPool.SizeClass(byteCount: 65536, slabs: 2),
    ]

    @Test func anExhaustedPoolAnswersNilAndRecovers() throws {
        let pool = try #require(BufferPool(classes: Self.small))
        func leaseAll() -> Int {
            var leased: [Box] = []
            while let buffer = pool.lease(byteCount: 100) { leased.append(Box(buffer)) }
            #expect(Set(leased.map(\.address)).count == leased.count)
            return leased.count
        }
        #expect(leaseAll() == 5)
        #expect(pool.statistics.leased == 0)
        #expect(pool.statistics.leasedPeak == 5)
        #expect(leaseAll() == 5)
        #expect(pool.statistics.exhausted == 2)
        let tooLarge = pool.lease(byteCount: 65537) == nil
        #expect(tooLarge)
    }

    final class Box {
        let buffer: AlignedBuffer
        let address: UInt
        init(_ buffer: consuming AlignedBuffer) {
            address = UInt(bitPattern: buffer.baseAddress)
            self.buffer = buffer
        }
    }

    /// Large memory begins at a huge page, can be used to its last byte, and goes as a whole.
    @Test(arguments: [2 << 20, (2 << 20) + 1, (5 << 20) + 4097])
    func largeMemoryIsAlignedToHugePagesAndGivenBack(byteCount: Int) throws {
        func virtualByteCount() throws -> Int {
            let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
            return try #require(text.split(separator: " ").first.flatMap { Int($0) }) * 4096
        }
        var buffer = try makeBuffer(byteCount)
        #expect(UInt(bitPattern: buffer.baseAddress) % (2 << 20) == 0)
        buffer.withUnsafeMutableBytes { bytes in
            #expect(bytes.count == byteCount)
            bytes[0] = 1
            bytes[byteCount - 1] = 2
        }
        // Other tests start threads meanwhile, but not for 4 GiB; 2 MiB left of each are 8 GiB.
        let before = try virtualByteCount()
        for _ in 0..<4000 { _ = try makeBuffer(byteCount) }
        #expect(try virtualByteCount() - before < 4 << 30)
    }

    /// The kernel is asked for huge pages from 1 MiB on, and the last one is whole or not taken.
    @Test(arguments: [
        (4096, 0), ((1 << 20) - 1, 0), (1 << 20, 2), ((1 << 20) + 1, 2), (2 << 20, 2),
        ((2 << 20) + 1, 2), (3 << 20, 4), ((3 << 20) + 1, 4), ((4 << 20) - 4096, 4),
    ])
    func buffersFromHalfAHugePageOnAskForThem(byteCount: Int, mebibytes: Int) throws {
        let buffer = try makeBuffer(byteCount)
        let address = UInt(bitPattern: buffer.baseAddress)
        let file = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
        let text = try #require(try file.readToEnd().map { String(decoding: $0, as: UTF8.self) })
        let lines = text.split(separator: "\n")
        var inside = false
        var flags: Substring?
        var end: UInt = 0
        for line in lines {
            let range = line.prefix { $0 != " " }.split(separator: "-")
                .compactMap { UInt($0, radix: 16) }
            if range.count == 2, line.contains(" ") {
                inside = range[0] <= address && address < range[1]
                if inside { end = range[1] }
            } else if inside, line.hasPrefix("VmFlags:") {
                flags = line
            }
        }
        let isAsked = try #require(flags).split(separator: " ").contains("hg")
        #expect(isAsked == (mebibytes > 0))
        if mebibytes > 0 {
            #expect(address % (2 << 20) == 0)
            #expect(end - address >= UInt(mebibytes) << 20)
        }
        #expect(buffer.byteCount == byteCount)
    }

    @Test func buffersAreAlignedAndKnowTheirIndex() throws {
        let pool = try #require(BufferPool(classes: Self.small))
        var first = try lease(4096, from: pool)
        let second = try lease(4097, from: pool)
        #expect(UInt(bitPattern: first.baseAddress) % 4096 == 0)
        #expect(first.bufferIndex == 0 && second.bufferIndex == 1)
        #expect(pool.bufferIndex(address: first.baseAddress + 100, byteCount: 3996) == 0)
        #expect(pool.bufferIndex(address: second.baseAddress, byteCount: 65536) == 1)
        #expect(pool.bufferIndex(address: second.baseAddress, byteCount: 1 << 20) == -1)
        let standalone = try makeBuffer(5000)
        #expect(pool.bufferIndex(address: standalone.baseAddress, byteCount: 5000) == -1)
        #expect(standalone.bufferIndex == -1 && standalone.byteCount == 5000)
        first.withUnsafeMutableBytes { $0[4095] = 7 }
        #expect(first.withBytes { $0.unsafeLoad(fromByteOffset: 4095, as: UInt8.self) } == 7)
    }

    @Test func lockingIsReportedAsItIs() throws {
        let pool = try #require(BufferPool(classes: Self.small))
        let statistics = pool.statistics
        #expect(statistics.isLocked == (statistics.lockErrno == 0))
        #expect(statistics.byteCount == 3 * 4096 + 2 * 65536)
    }

    @Test func badClassesAreRefused() {
        #expect(BufferPool(classes: []) == nil)
        #expect(BufferPool(classes: [.init(byteCount: 100, slabs: 1)]) == nil)
        #expect(BufferPool(classes: [.init(byteCount: 4096, slabs: 0)]) == nil)
        let nothing = AlignedBuffer(byteCount: 0) == nil
        #expect(nothing)
    }
}

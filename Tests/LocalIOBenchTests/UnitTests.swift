// The arithmetic and the data behind a report.
import LocalIOBench
import Testing

@Suite struct UnitTests {
    @Test func mediansAndSpreads() {
        #expect(Spread([3, 1, 2]).median == 2)
        #expect(Spread([4, 1, 3, 2]).median == 2.5)
        let one = Spread([7])
        #expect((one.median, one.minimum, one.maximum) == (7, 7, 7))
        #expect(Spread([8, 10, 14]).relative == 0.3)
        #expect(Spread([]).median == 0 && Spread([]).relative == 0)
        // One disturbed round does not count.
        #expect(Spread([100, 101, 99, 100, 1]).median == 100)
    }

    @Test func sizesParseAsFioWritesThem() {
        let good = [
            ("512", 512), ("4k", 4096), ("4K", 4096), ("4kib", 4096), ("1m", 1 << 20),
            ("2G", 2 << 30), ("1t", 1 << 40), ("0", 0),
        ]
        for (text, size) in good { #expect(ByteSize.parse(text) == size) }
        for text in ["", "k", "-4k", "4x", "4.5k", "99999999999t", "0x10", "4 k"] {
            #expect(ByteSize.parse(text) == nil)
        }
        #expect(ByteSize.text(4096) == "4k" && ByteSize.text(1000) == "1000")
        #expect(ByteSize.text(1536) == "1536" && ByteSize.text(64 << 20) == "64m")
    }

    @Test func timesParseAsFioWritesThem() {
        #expect(Period.parse("2") == .seconds(2))
        #expect(Period.parse("1.5s") == .milliseconds(1500))
        #expect(Period.parse("500ms") == .milliseconds(500))
        #expect(Period.parse("1m") == .seconds(60))
        for text in ["", "s", "-1s", "1.2.3s", "1y", "inf"] { #expect(Period.parse(text) == nil) }
    }

    @Test func decimalsRound() {
        #expect(decimal(1.005e3, places: 0) == "1005")
        #expect(decimal(0.05, places: 1) == "0.1")
        #expect(decimal(12.3456, places: 2) == "12.35")
        #expect(decimal(-1.5, places: 1) == "-1.5")
        #expect(decimal(.infinity, places: 1) == "-")
    }

    @Test func everyWrongByteOfABlockIsFound() {
        let pattern = BlockPattern(seed: 42)
        for size in [32, 100, 512, 4096, 4097] {
            let block = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
            defer { block.deallocate() }
            pattern.fill(block, offset: 8192, generation: 3)
            func fault(_ offset: UInt64 = 8192, _ generation: UInt32 = 3) -> String? {
                pattern.fault(
                    UnsafeRawBufferPointer(block), offset: offset, generation: generation)
            }
            #expect(fault() == nil)
            for index in 0..<size {
                block[index] ^= 0x10
                #expect(fault() != nil, "size \(size), byte \(index)")
                block[index] ^= 0x10
            }
            #expect(fault(4096)?.contains("belongs at offset 8192") == true)
            #expect(fault(8192, 4)?.contains("generation 3 instead of 4") == true)
        }
    }

    @Test func regionsTileTheGrid() {
        let grid = BlockGrid(fileSize: 1_000_100, blockSize: 4096, misalignment: 100)
        #expect(grid.blockCount == 244)
        #expect(grid.offset(of: 2) == 100 + 8192)
        for jobs in 1...7 {
            let regions = (0..<jobs).map { grid.region(job: $0, of: jobs) }
            #expect(regions.flatMap { Array($0) } == Array(0..<244))
        }
    }

    @Test func jsonIsEscaped() {
        let value = JSON.object([("a\"b", .string("line\nand \\ and \u{1}"))])
        #expect(value.text() == #"{"a\"b": "line\nand \\ and \u0001"}"#)
        #expect(JSON.number(.nan, places: 2).text() == "null")
    }

    @Test func ratiosNeedBothRoads() throws {
        func result(_ road: BenchRoad, _ iops: Double) -> BenchResult {
            let sample = RoundSample(
                iops: iops, bytesPerSecond: iops * 4096, p50: 1, p99: 2, p999: 3,
                cpuMicroseconds: 4)
            return BenchResult(
                point: WorkloadPoint(pattern: .randread, blockSize: 4096, depth: 1, jobs: 1),
                road: road, policy: "split", samples: [sample], fallbacks: [:], verified: true)
        }
        var report = BenchReport(
            host: .init(kernel: "k", processors: 2, fileSystem: "ext4", directIOUnit: 512),
            server: "embedded", seed: 1, fileSize: 4096, misalignment: 0, rounds: 1,
            results: [result(.raw, 200), result(.localio, 150), result(.rpc, 50)], context: nil,
            notes: [])
        #expect(report.ratios.first?.localioToRaw == 0.75)
        #expect(report.ratios.first?.localioToRPC == 3)
        report.results.removeFirst()
        #expect(report.ratios.first?.localioToRaw == nil)
    }
}

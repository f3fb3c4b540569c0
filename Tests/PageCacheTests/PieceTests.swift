// The small parts of the page cache against simple models: ranges, frames, throttle, read-ahead.
import LocalIOBench
import LocalIOTesting
import Testing

@testable import PageCache

@Suite struct ByteRangeTests {
    /// The same answers as sets of bytes give, for every pair of ranges of a small page.
    @Test func agreesWithSetsOfBytes() {
        let limit: UInt16 = 8
        var ranges: [ByteRange] = []
        for start in 0...limit {
            for end in start...limit { ranges.append(ByteRange(start: start, end: end)) }
        }
        func bytes(_ range: ByteRange) -> Set<UInt16> { Set(range.start..<range.end) }
        for first in ranges {
            #expect(first.count == bytes(first).count)
            #expect(first.isEmpty == bytes(first).isEmpty)
            for cut in 0...limit {
                #expect(bytes(first.clipped(to: cut)) == bytes(first).filter { $0 < cut })
            }
            for second in ranges {
                #expect(first.contains(second) == bytes(first).isSuperset(of: bytes(second)))
                let hull = first.hull(second)
                let both = bytes(first).union(bytes(second))
                #expect(bytes(hull).isSuperset(of: both))
                // Touching ranges have no gap: the hull is exactly their bytes.
                #expect(first.touches(second) == (bytes(hull) == both))
            }
        }
    }
}

@Suite struct FrameMapTests {
    @Test(arguments: [1, 63, 64, 65, 5000])
    func givesEveryFrameOnce(frameCount: Int) {
        var map = FrameMap(frameCount: frameCount)
        var taken = Set<Int32>()
        while let frame = map.allocate(near: -1) {
            #expect((0..<Int32(frameCount)).contains(frame))
            #expect(taken.insert(frame).inserted, "frame \(frame) was given twice")
        }
        #expect(taken.count == frameCount && map.freeCount == 0)
        for frame in taken { map.free(frame) }
        #expect(map.freeCount == frameCount)
    }

    /// Two streams that take turns grow next to themselves: their writes go out as long runs.
    @Test func streamsGrowNextToThemselves() {
        var map = FrameMap(frameCount: 1024)
        var last: [Int32] = [-1, -1]
        var breaks = 0
        for step in 0..<256 {
            let stream = step % 2
            guard let frame = map.allocate(near: last[stream] + (step < 2 ? 0 : 1)) else { break }
            if step >= 2, frame != last[stream] + 1 { breaks += 1 }
            last[stream] = frame
        }
        #expect(breaks <= 2, "\(breaks) breaks in two streams of 128 frames")
    }

    @Test func randomTurnsMatchASet() {
        let seed = testSeed()
        print("FrameMapTests: LOCALIO_SEED=\(seed)")
        var generator = SeededGenerator(seed: seed)
        var map = FrameMap(frameCount: 777)
        var taken: [Int32] = []
        for _ in 0..<20_000 {
            if Bool.random(using: &generator), taken.count < 777 {
                let wanted = Int32.random(in: -1...780, using: &generator)
                let isFree = map.isFree(wanted)
                guard let frame = map.allocate(near: wanted) else {
                    Issue.record("no frame though some are free, seed \(seed)")
                    return
                }
                #expect(!isFree || frame == wanted, "seed \(seed)")
                #expect(!taken.contains(frame), "seed \(seed)")
                taken.append(frame)
            } else if !taken.isEmpty {
                let index = Int.random(in: 0..<taken.count, using: &generator)
                map.free(taken.remove(at: index))
            }
            #expect(map.freeCount == 777 - taken.count, "seed \(seed)")
        }
    }
}

@Suite struct DirtyThrottleTests {
    @Test func nobodyPausesBelowTheFreeRun() {
        let throttle = DirtyThrottle(backgroundPages: 100, hardPages: 1000)
        #expect(throttle.pause(dirtiedPages: 16, totalPages: throttle.freeRun, writers: 1) == 0)
        #expect(throttle.pause(dirtiedPages: 0, totalPages: 1000, writers: 1) == 0)
        #expect(throttle.pause(dirtiedPages: 16, totalPages: throttle.freeRun + 1, writers: 1) > 0)
    }

    /// More dirty pages or more writers never make a pause shorter, and no pause is endless.
    @Test func pausesGrowTowardsTheLimit() {
        let throttle = DirtyThrottle(backgroundPages: 100, hardPages: 1000)
        for writers in [1, 3, 10] {
            var last: UInt64 = 0
            for total in stride(from: throttle.freeRun, through: 1000, by: 10) {
                let pause = throttle.pause(dirtiedPages: 16, totalPages: total, writers: writers)
                let more = throttle.pause(
                    dirtiedPages: 16, totalPages: total, writers: writers + 1)
                #expect(pause >= last && more >= pause)
                #expect(pause <= DirtyThrottle.longestPause)
                last = pause
            }
        }
    }

    /// In the middle of the range a writer is held to the drain rate itself.
    @Test func theMiddleIsTheDrainRate() {
        let throttle = DirtyThrottle(backgroundPages: 0, hardPages: 1000)
        let middle = (throttle.freeRun + 1000) / 2
        let pause = throttle.pause(dirtiedPages: 100, totalPages: middle, writers: 1)
        let expected = Double(100 * pageByteCount) / throttle.rate * 1e9
        #expect(abs(Double(pause) - expected) < expected * 0.01)
    }

    @Test func theRateFollowsTheDevice() {
        var throttle = DirtyThrottle(backgroundPages: 100, hardPages: 1000)
        var now: UInt64 = 1
        func drain(_ bytesPerSecond: Int, seconds: Int) {
            for _ in 0..<seconds * 100 {
                throttle.writebackStarted(now: now)
                now += 10_000_000
                throttle.writebackEnded(
                    byteCount: bytesPerSecond / 100, stillBusy: true, isBacklogged: true,
                    now: now)
            }
        }
        drain(10 << 20, seconds: 3)
        #expect(abs(throttle.rate - Double(10 << 20)) < Double(1 << 20))
        drain(400 << 20, seconds: 3)
        #expect(abs(throttle.rate - Double(400 << 20)) < Double(40 << 20))
        // Idle time is not drain time.
        throttle.writebackEnded(byteCount: 0, stillBusy: false, isBacklogged: true, now: now)
        now += 60_000_000_000
        throttle.writebackStarted(now: now)
        #expect(throttle.rate > Double(300 << 20))
        // One small write that took its time says nothing while nothing else waited.
        now += 90_000_000
        throttle.writebackEnded(byteCount: 4096, stillBusy: false, isBacklogged: false, now: now)
        #expect(throttle.rate > Double(300 << 20))
    }
}

@Suite struct ReadAheadTests {
    /// A sequential reader always finds its next pages asked for, each once, to the end.
    @Test(arguments: [1, 4, 256])
    func aSequentialReaderStaysBehindTheWindow(pages: UInt64) {
        var ahead = ReadAhead()
        var asked: UInt64 = 0
        for step in 0..<UInt64(200) {
            let end = (step + 1) * pages
            let range = ahead.advance(first: step * pages, end: end, limit: 1024)
            if !range.isEmpty {
                #expect(range.lowerBound >= asked, "pages asked for twice")
                #expect(range.lowerBound <= max(asked, end), "a gap in what was asked for")
                #expect(range.count <= 1024)
                asked = range.upperBound
            }
            #expect(asked > end, "step \(step): nothing is ahead of the reader")
        }
    }

    @Test func theWindowDoublesToItsLimit() {
        var ahead = ReadAhead()
        var largest = 0
        for index in 0..<UInt64(4000) {
            let range = ahead.advance(first: index, end: index + 1, limit: 512)
            largest = max(largest, range.count)
            #expect(range.isEmpty || Int(range.upperBound - index) <= 513)
        }
        #expect(largest >= 256)
    }

    @Test func randomReadsAskForNothing() {
        let seed = testSeed()
        print("ReadAheadTests: LOCALIO_SEED=\(seed)")
        var generator = SeededGenerator(seed: seed)
        var ahead = ReadAhead()
        var position: UInt64 = 1 << 20
        for _ in 0..<1000 {
            // Far enough from wherever the last read ended.
            position += UInt64.random(in: 10...1000, using: &generator)
            #expect(ahead.advance(first: position, end: position + 1, limit: 1024).isEmpty)
        }
    }

    @Test func withoutALimitThereIsNone() {
        var ahead = ReadAhead()
        for index in 0..<UInt64(100) {
            #expect(ahead.advance(first: index, end: index + 1, limit: 0).isEmpty)
        }
    }
}

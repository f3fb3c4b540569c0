// The range lock of a file, and the plain lock below it.
import Benchmark
import DirectIO
import Threads

func lockBenchmarks() {
    Benchmark(plain("lock: uncontended")) { benchmark in
        let lock = Lock(0)
        for _ in benchmark.scaledIterations { lock.withLock { $0 &+= 1 } }
        blackHole(lock.withLock { $0 })
    }
    for held in [0, 16, 64] {
        Benchmark(plain("range lock: acquire and release beside \(held)")) { benchmark in
            let ranges = RangeLock()
            var tokens: [RangeLock.Token] = []
            for index in 0..<held {
                let range = PageRange(offset: UInt64(index) << 13, byteCount: 4096)
                if let token = ranges.tryAcquire(range, .direct) { tokens.append(token) }
            }
            precondition(tokens.count == held, "\(tokens.count) of \(held) ranges are held")
            benchmark.startMeasurement()
            for index in benchmark.scaledIterations {
                // The odd pages, between those that are held.
                let offset = UInt64(index % 64) << 13 + 4096
                let token = ranges.tryAcquire(
                    PageRange(offset: offset, byteCount: 4096), .direct)
                if let token { ranges.release(token) }
            }
            benchmark.stopMeasurement()
            for token in tokens { ranges.release(token) }
        }
    }
}

// Requests through the engine and nothing behind it: /dev/null takes every write at once, so what
// remains is the request table, the ring and, in the queue, the hand-off to a worker and back.
import Benchmark
import DirectIO
import Glibc
import SystemPackage
import Threads

/// The engine, the device and a page, made once for each of these benchmarks.
@safe
private final class Stage: @unchecked Sendable {
    let engine: IOEngine
    let device: Descriptor
    let page: UnsafeMutableRawBufferPointer
    let done = Semaphore()

    init() throws {
        engine = try IOEngine()
        device = try Descriptor(path: "/dev/null", flags: O_RDWR)
        page = .allocate(byteCount: 4096, alignment: 4096)
    }

    deinit { page.deallocate() }

    func write(_ index: Int) -> IOOperation {
        .write(
            fd: device.raw, offset: UInt64(index) << 12,
            from: UnsafeRawBufferPointer(page))
    }

    var completion: IOCompletion {
        IOCompletion(
            function: { context, _, _ in
                guard let context else { return }
                Unmanaged<Stage>.fromOpaque(context).takeUnretainedValue().done.signal()
            }, context: Unmanaged.passUnretained(self).toOpaque(), token: 0)
    }
}

func queueBenchmarks() {
    Benchmark(plain("request table and ring: 16 at a time")) {
        (benchmark: Benchmark, stage: Stage) in
        var queue = try InlineQueue(engine: stage.engine, depth: 16)
        // The first use binds the ring to the thread and registers nothing afterwards.
        _ = queue.submit(stage.write(0), token: 0)
        queue.reap(minimum: 1, timeout: nil) { _, _ in }
        benchmark.startMeasurement()
        var left = benchmark.scaledIterations.count
        while left > 0 {
            let batch = min(left, 16)
            for index in 0..<batch { _ = queue.submit(stage.write(index), token: UInt64(index)) }
            while queue.inFlight > 0 {
                queue.reap(minimum: queue.inFlight, timeout: nil) { token, result in
                    blackHole(token &+ UInt64(bitPattern: result))
                }
            }
            left -= batch
        }
        benchmark.stopMeasurement()
    } setup: {
        try Stage()
    }

    for depth in [1, 16] {
        Benchmark(plain("queue hand-off: depth \(depth)")) { (benchmark: Benchmark, stage: Stage) in
            let completion = stage.completion
            var left = benchmark.scaledIterations.count
            while left > 0 {
                let batch = min(left, depth)
                for index in 0..<batch {
                    let accepted = stage.engine.enqueue(stage.write(index), completion)
                    precondition(accepted, "the queue is full")
                }
                for _ in 0..<batch { stage.done.wait() }
                left -= batch
            }
        } setup: {
            try Stage()
        }
    }
}

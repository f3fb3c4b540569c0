// What is measured, and how exactly: the list of the micro-benchmarks.
import Benchmark

let benchmarks: @Sendable () -> Void = {
    Benchmark.defaultConfiguration = .init(
        metrics: [.wallClock],
        warmupIterations: 3,
        // Each measurement repeats its body a thousand times; the report divides.
        scalingFactor: .kilo,
        maxDuration: .seconds(1),
        maxIterations: 10_000,
        // The median alone: higher percentiles belong to whatever else the machine does.
        thresholds: [.wallClock: .init(relative: [.p50: 60])])
    planBenchmarks()
    lockBenchmarks()
    codecBenchmarks()
    handleBenchmarks()
    queueBenchmarks()
    clientBenchmarks()
}

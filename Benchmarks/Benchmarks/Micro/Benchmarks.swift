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
        // Threshold files hold this percentile; much of it is whatever else the machine does.
        thresholds: [.wallClock: .init(relative: [.p90: 150])])
    planBenchmarks()
    lockBenchmarks()
    codecBenchmarks()
    handleBenchmarks()
    queueBenchmarks()
    clientBenchmarks()
}

/// A benchmark's name as its file in `Thresholds` has it: the tool writes that with underscores
/// for spaces and reads it back by the name as it is (ordo-one/benchmark 1.38).
func plain(_ name: String) -> String { name.split(separator: " ").joined(separator: "_") }

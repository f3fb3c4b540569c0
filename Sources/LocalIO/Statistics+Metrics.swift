// Hands a client's counters to the program's metrics system (swift-metrics).
internal import DirectIO
internal import Metrics

extension LocalIOClient {
    /// Publishes the counters as gauges of the program's metrics system; call it as often as the
    /// system collects. Cheap enough for once a second; no I/O waits for it.
    ///
    /// | label | dimensions | unit |
    /// |---|---|---|
    /// | `localio_operations` | `road` | I/Os since the client connected |
    /// | `localio_bytes` | `road` | bytes |
    /// | `localio_latency_nanoseconds` | `road`, `quantile` | nanoseconds |
    /// | `localio_fallbacks` | `reason` | segments |
    /// | `localio_queue_depth` | | requests waiting or in flight at the workers |
    /// | `localio_uncommitted_bytes` | | bytes kept until a COMMIT |
    /// | `localio_local` | | 1 while the local road is open, else 0 |
    public func publishMetrics(prefix: String = "localio") {
        let snapshot = statistics()
        func gauge(_ name: String, _ dimensions: [(String, String)] = [], _ value: Double) {
            Gauge(label: "\(prefix)_\(name)", dimensions: dimensions).record(value)
        }
        for (road, totals) in snapshot.roads {
            let dimensions = [("road", road.rawValue)]
            gauge("operations", dimensions, Double(totals.operations))
            gauge("bytes", dimensions, Double(totals.bytes))
            guard let latency = totals.latency else { continue }
            for (quantile, value) in [
                ("0.5", latency.p50), ("0.99", latency.p99), ("0.999", latency.p999),
            ] {
                gauge("latency_nanoseconds", dimensions + [("quantile", quantile)], Double(value))
            }
        }
        for reason in FallbackReason.allCases {
            gauge(
                "fallbacks", [("reason", reason.rawValue)],
                Double(snapshot.fallbacks[reason] ?? 0))
        }
        gauge("queue_depth", [], Double(snapshot.engine.queueDepth))
        gauge("uncommitted_bytes", [], Double(snapshot.uncommittedBytes))
        if case .local = locality { gauge("local", [], 1) } else { gauge("local", [], 0) }
    }
}

// What went which road, how fast and why: counters that every I/O path adds to and a snapshot
// that people and programs read.
public import DirectIO
public import PageCache
internal import Histogram
internal import Synchronization
internal import Threads

/// A snapshot of a client's counters. Later snapshots never count less.
public struct Statistics: Sendable {
    /// The road an I/O took.
    public enum Road: String, Sendable, Hashable, CaseIterable {
        case local
        case rpc
    }

    /// One road's totals.
    public struct RoadTotals: Sendable, Hashable {
        /// Reads and writes that ended on this road (an I/O that used both counts on both).
        public var operations: UInt64 = 0
        /// Bytes moved.
        public var bytes: UInt64 = 0
        /// Latency from submission to completion in nanoseconds; nil before the first I/O.
        public var latency: Latency?
    }

    /// Percentiles in nanoseconds.
    public struct Latency: Sendable, Hashable {
        public var p50: UInt64
        public var p99: UInt64
        public var p999: UInt64
        public var maximum: UInt64
    }

    public var roads: [Road: RoadTotals]
    /// Segments that went by RPC, by reason; reasons never met are absent.
    public var fallbacks: [FallbackReason: UInt64]
    /// Queue depth, backend and nested-I/O context of the engine.
    public var engine: EngineStatistics
    /// Reads of the local road that were copied from the page cache of this host's kernel.
    public var cachedReads: UInt64
    /// Bytes of UNSTABLE RPC writes kept until their COMMIT.
    public var uncommittedBytes: Int
    /// Times that an RPC write had to be sent again because the server's verifier changed.
    public var resentWrites: UInt64
    /// The page cache of buffered files; nil before the first was opened.
    public var cache: CacheStatistics?
}

/// The live counters behind `Statistics`. Any thread; one lock a road.
final class Counters: Sendable {
    private struct RoadState: ~Copyable {
        var operations: UInt64 = 0
        var bytes: UInt64 = 0
        // 1 ns to 1 h with two significant digits: fixed size, no allocation when recording.
        var latency = Histogram<UInt64>(
            lowestDiscernibleValue: 1, highestTrackableValue: 3_600_000_000_000,
            numberOfSignificantValueDigits: .two)

        mutating func add(_ byteCount: Int, _ nanoseconds: UInt64) {
            operations &+= 1
            bytes &+= UInt64(byteCount)
            _ = latency.record(max(nanoseconds, 1))
        }
    }

    private let local = Lock(RoadState())
    private let rpc = Lock(RoadState())
    // Its size is set here once: counting changes it in place.
    private let fallbacks = Lock([UInt64](repeating: 0, count: FallbackReason.allCases.count))
    private let resent = Atomic<UInt64>(0)
    private let cachedReads = Atomic<UInt64>(0)

    func record(_ road: Statistics.Road, byteCount: Int, nanoseconds: UInt64) {
        switch road {
        case .local: Self.add(local, byteCount, nanoseconds)
        case .rpc: Self.add(rpc, byteCount, nanoseconds)
        }
    }

    /// Counts many at once, which takes the lock once.
    /// - Parameter next: bytes and nanoseconds of each; those of 0 ns are passed over.
    @inline(__always)
    func recordLocal(count: Int, _ next: (Int) -> (byteCount: Int, nanoseconds: UInt64)) {
        local.withLock { state in
            for index in 0..<count {
                let (byteCount, nanoseconds) = next(index)
                if nanoseconds > 0 { state.add(byteCount, nanoseconds) }
            }
        }
    }

    private static func add(
        _ road: borrowing Lock<RoadState>, _ byteCount: Int, _ nanoseconds: UInt64
    ) {
        road.withLock { $0.add(byteCount, nanoseconds) }
    }

    func fallBack(_ reason: FallbackReason) {
        fallbacks.withLock { $0[reason.index] &+= 1 }
    }

    @inline(__always)
    func cachedRead() { cachedReads.add(1, ordering: .relaxed) }

    func resentWrite() { resent.add(1, ordering: .relaxed) }

    private static func totals(_ road: borrowing Lock<RoadState>) -> Statistics.RoadTotals {
        road.withLock { state in
            var totals = Statistics.RoadTotals(operations: state.operations, bytes: state.bytes)
            if state.operations > 0 {
                totals.latency = Statistics.Latency(
                    p50: state.latency.valueAtPercentile(50),
                    p99: state.latency.valueAtPercentile(99),
                    p999: state.latency.valueAtPercentile(99.9),
                    maximum: state.latency.max)
            }
            return totals
        }
    }

    func snapshot(
        engine: EngineStatistics, uncommittedBytes: Int, cache: CacheStatistics?
    ) -> Statistics {
        let counts = fallbacks.withLock { counts in
            FallbackReason.allCases.map { ($0, counts[$0.index]) }
        }
        return Statistics(
            roads: [.local: Self.totals(local), .rpc: Self.totals(rpc)],
            fallbacks: Dictionary(uniqueKeysWithValues: counts.filter { $0.1 > 0 }),
            engine: engine, cachedReads: cachedReads.load(ordering: .relaxed),
            uncommittedBytes: uncommittedBytes,
            resentWrites: resent.load(ordering: .relaxed), cache: cache)
    }
}

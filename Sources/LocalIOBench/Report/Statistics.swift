// Medians and spreads of a few rounds: no mean, since one disturbed round must not count.

/// The median of several rounds, with the smallest and the largest.
package struct Spread: Hashable, Sendable {
    package var median: Double
    package var minimum: Double
    package var maximum: Double

    /// - Parameter values: at least one; none gives zeros.
    package init(_ values: [Double]) {
        let sorted = values.sorted()
        guard let first = sorted.first, let last = sorted.last else {
            (median, minimum, maximum) = (0, 0, 0)
            return
        }
        let middle = sorted.count / 2
        median = sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        minimum = first
        maximum = last
    }

    /// Half the distance from the smallest to the largest as a share of the median.
    package var relative: Double { median > 0 ? (maximum - minimum) / 2 / median : 0 }
}

/// One round of one road at one point.
package struct RoundSample: Hashable, Sendable {
    package var iops: Double
    package var bytesPerSecond: Double
    /// Microseconds.
    package var p50: Double
    package var p99: Double
    package var p999: Double
    /// CPU time of this process per I/O, in microseconds.
    package var cpuMicroseconds: Double
    /// CPU time of the server's process per I/O, in microseconds; nil if it is not ours.
    package var serverCPUMicroseconds: Double?
    /// The most this process had resident meanwhile, the caches of all roads included.
    package var peakResidentBytes: Int
    /// Microseconds at each of `curvePercentiles`; empty where nobody looked.
    package var curve: [Double]

    /// Where a latency curve is looked at, in per cent.
    package static let curvePercentiles: [Double] = [
        1, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99,
    ]

    package init(
        iops: Double, bytesPerSecond: Double, p50: Double, p99: Double, p999: Double,
        cpuMicroseconds: Double, serverCPUMicroseconds: Double? = nil, peakResidentBytes: Int = 0,
        curve: [Double] = []
    ) {
        self.iops = iops
        self.bytesPerSecond = bytesPerSecond
        self.p50 = p50
        self.p99 = p99
        self.p999 = p999
        self.cpuMicroseconds = cpuMicroseconds
        self.serverCPUMicroseconds = serverCPUMicroseconds
        self.peakResidentBytes = peakResidentBytes
        self.curve = curve
    }
}

/// All rounds of one road at one point.
package struct BenchResult: Sendable {
    package var point: WorkloadPoint
    package var road: BenchRoad
    package var policy: String
    package var samples: [RoundSample]
    /// I/Os that took another way than the road's own, by reason.
    package var fallbacks: [String: Int]
    /// Afterwards every road read the whole file and found every block as last written.
    package var verified: Bool

    package init(
        point: WorkloadPoint, road: BenchRoad, policy: String, samples: [RoundSample],
        fallbacks: [String: Int], verified: Bool
    ) {
        self.point = point
        self.road = road
        self.policy = policy
        self.samples = samples
        self.fallbacks = fallbacks
        self.verified = verified
    }

    package func spread(_ value: (RoundSample) -> Double) -> Spread { Spread(samples.map(value)) }
    package var iops: Double { spread(\.iops).median }
    /// Of all rounds.
    package var peakResidentBytes: Int { samples.map(\.peakResidentBytes).max() ?? 0 }
    /// The median of the rounds that know it.
    package var serverCPU: Double? {
        let known = samples.compactMap(\.serverCPUMicroseconds)
        return known.isEmpty ? nil : Spread(known).median
    }
}

/// How the roads compare at one point; nil where a road did not run.
package struct BenchRatio: Hashable, Sendable {
    package var point: WorkloadPoint
    package var localioToRaw: Double?
    package var localioToRPC: Double?
    /// Of buffered runs.
    package var localioToDirect: Double?
}

/// One run: what was measured, where, and how it compares.
package struct BenchReport: Sendable {
    package struct Host: Sendable {
        package var kernel: String
        package var processors: Int
        package var fileSystem: String
        /// Bytes; nil without direct I/O.
        package var directIOUnit: Int?

        package init(kernel: String, processors: Int, fileSystem: String, directIOUnit: Int?) {
            self.kernel = kernel
            self.processors = processors
            self.fileSystem = fileSystem
            self.directIOUnit = directIOUnit
        }
    }

    package struct Context: Sendable {
        /// "active", or "degraded" with the reason in `ioFlusherReason`.
        package var ioFlusher: String
        package var ioFlusherReason: String?
        /// "io_uring" or "threads".
        package var engine: String
        /// "local", or why the client found the server remote.
        package var locality: String

        package init(
            ioFlusher: String, ioFlusherReason: String?, engine: String, locality: String
        ) {
            self.ioFlusher = ioFlusher
            self.ioFlusherReason = ioFlusherReason
            self.engine = engine
            self.locality = locality
        }
    }

    package var host: Host
    /// "embedded", "ganesha", or the URL.
    package var server: String
    package var seed: UInt64
    package var fileSize: Int
    package var misalignment: Int
    package var rounds: Int
    package var results: [BenchResult]
    /// nil: unbuffered.
    package var buffered: BufferedOptions?
    package var pageCache: PageCacheState
    /// nil if no localio road ran.
    package var context: Context?
    /// Lines about what was left out and why.
    package var notes: [String]

    package init(
        host: Host, server: String, seed: UInt64, fileSize: Int, misalignment: Int, rounds: Int,
        results: [BenchResult], buffered: BufferedOptions? = nil,
        pageCache: PageCacheState = .leave, context: Context?,
        notes: [String]
    ) {
        self.host = host
        self.server = server
        self.seed = seed
        self.fileSize = fileSize
        self.misalignment = misalignment
        self.rounds = rounds
        self.results = results
        self.buffered = buffered
        self.pageCache = pageCache
        self.context = context
        self.notes = notes
    }

    /// The measured points in order.
    package var points: [WorkloadPoint] {
        var seen = Set<WorkloadPoint>()
        return results.map(\.point).filter { seen.insert($0).inserted }
    }

    package func result(_ point: WorkloadPoint, _ road: BenchRoad) -> BenchResult? {
        results.first { $0.point == point && $0.road == road }
    }

    package var ratios: [BenchRatio] {
        points.map { point in
            BenchRatio(
                point: point, localioToRaw: ratio(point, .localio, .raw),
                localioToRPC: ratio(point, .localio, .rpc),
                localioToDirect: ratio(point, .localio, .direct))
        }
    }

    /// The medians of IOPS divided; nil unless both roads ran.
    package func ratio(_ point: WorkloadPoint, _ road: BenchRoad, _ other: BenchRoad) -> Double? {
        guard let above = result(point, road)?.iops, let below = result(point, other)?.iops,
            below > 0
        else { return nil }
        return above / below
    }
}

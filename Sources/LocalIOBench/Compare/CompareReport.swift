// What a comparison has measured: cells, the roads in each, and how they compare.

/// One road in one cell, over all rounds.
package struct CompareRoad: Hashable, Sendable {
    /// "localio", "raw", "rpc", "direct"; of mounts also the peers' names.
    package var name: String
    /// Operations a second, one for each round; rounds of all roads of a cell belong together.
    package var rates: [Double]
    package var bytesPerSecond: Double
    /// Microseconds at `RoundSample.curvePercentiles`; empty where nobody looked.
    package var curve: [Double]
    /// Microseconds of this process's CPU time per operation; nil where it says nothing.
    package var cpuMicroseconds: Double?
    /// Of the server's process.
    package var serverCPUMicroseconds: Double?
    /// I/Os that took another way than the road's own, by reason.
    package var fallbacks: [String: Int]

    package init(
        name: String, rates: [Double], bytesPerSecond: Double = 0, curve: [Double] = [],
        cpuMicroseconds: Double? = nil, serverCPUMicroseconds: Double? = nil,
        fallbacks: [String: Int] = [:]
    ) {
        self.name = name
        self.rates = rates
        self.bytesPerSecond = bytesPerSecond
        self.curve = curve
        self.cpuMicroseconds = cpuMicroseconds
        self.serverCPUMicroseconds = serverCPUMicroseconds
        self.fallbacks = fallbacks
    }

    package init(_ result: BenchResult) {
        self.init(
            name: result.road.rawValue, rates: result.samples.map(\.iops),
            bytesPerSecond: result.spread(\.bytesPerSecond).median,
            curve: RoundSample.curvePercentiles.indices.map { point in
                Spread(result.samples.map(\.curve).filter { $0.count > point }.map { $0[point] })
                    .median
            },
            cpuMicroseconds: result.spread(\.cpuMicroseconds).median,
            serverCPUMicroseconds: result.serverCPU, fallbacks: result.fallbacks)
    }

    package var spread: Spread { Spread(rates) }
}

/// One cell of the matrix: what was done, and each road that did it.
package struct CompareCell: Hashable, Sendable {
    /// One of `CompareSection.names`.
    package var section: String
    /// fio's `--rw`, or "open".
    package var rw: String
    /// Bytes; 0 where nothing is read or written.
    package var blockSize: Int
    package var depth: Int
    package var jobs: Int
    /// The policy for misaligned I/O; of mounts "direct" or "buffered", with "-passthrough" for a
    /// mount with that option; nil otherwise.
    package var policy: String?
    /// Files that the I/Os go to, and bytes of each; nil where that is not what varies.
    package var files: Int?
    package var fileByteCount: Int?
    package var roads: [CompareRoad]

    package init(
        section: String, rw: String, blockSize: Int, depth: Int, jobs: Int, policy: String? = nil,
        files: Int? = nil, fileByteCount: Int? = nil, roads: [CompareRoad]
    ) {
        self.files = files
        self.fileByteCount = fileByteCount
        self.section = section
        self.rw = rw
        self.blockSize = blockSize
        self.depth = depth
        self.jobs = jobs
        self.policy = policy
        self.roads = roads
    }

    /// "randread 4k, depth 16"; unique within its section.
    package var title: String {
        guard blockSize > 0 else { return rw }
        return "\(rw) \(ByteSize.text(blockSize)), depth \(depth)"
            + (jobs > 1 ? ", \(jobs) jobs" : "") + (policy.map { ", \($0)" } ?? "")
            + (files.map { $0 == 1 ? ", 1 file" : ", \($0) files" } ?? "")
            + (fileByteCount.map { ", file of \(ByteSize.text($0))" } ?? "")
    }

    /// What makes it the same cell in another run.
    package var key: String { "\(section): \(title)" }

    package func road(_ name: String) -> CompareRoad? { roads.first { $0.name == name } }

    /// localio over another road; nil unless both ran.
    package func ratio(over name: String) -> RatioInterval? {
        guard let above = road(CompareCell.subject), let below = road(name) else { return nil }
        return Bootstrap.ratio(above.rates, over: below.rates)
    }

    /// The road that is compared with the others.
    package static let subject = "localio"

    /// The roads that it is compared with here.
    package var others: [String] {
        road(CompareCell.subject) == nil
            ? [] : roads.map(\.name).filter { $0 != CompareCell.subject }
    }
}

/// One comparison from end to end.
package struct CompareReport: Sendable {
    package var host: BenchReport.Host
    package var isQuick: Bool
    /// As `--device` names it.
    package var device: String
    package var server: String
    package var seed: UInt64
    package var rounds: Int
    package var context: BenchReport.Context?
    package var cells: [CompareCell]
    package var bars: [BarResult]
    package var changes: [BaselineChange]
    package var notes: [String]
    /// User-space instructions of the client per I/O; empty where they were not counted.
    var instructions: [InstructionResult] = []

    package init(
        host: BenchReport.Host, isQuick: Bool, device: String, server: String, seed: UInt64,
        rounds: Int, context: BenchReport.Context? = nil, cells: [CompareCell] = [],
        notes: [String] = []
    ) {
        self.host = host
        self.isQuick = isQuick
        self.device = device
        self.server = server
        self.seed = seed
        self.rounds = rounds
        self.context = context
        self.cells = cells
        bars = []
        changes = []
        self.notes = notes
    }

    /// In the order measured.
    package var sections: [String] {
        var seen = Set<String>()
        return cells.map(\.section).filter { seen.insert($0).inserted }
    }

    /// Bars that were certainly missed: then the comparison has failed.
    package var missed: [BarResult] { bars.filter { $0.verdict == .missed } }
}

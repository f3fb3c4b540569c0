// What is measured: access patterns, sizes, depths and roads, in fio's vocabulary.

/// fio's `--rw`.
package enum AccessPattern: String, CaseIterable, Sendable {
    case read, write, randread, randwrite, randrw

    // Asked for each I/O: by cases, not by names.
    package var isRandom: Bool {
        switch self {
        case .read, .write: false
        case .randread, .randwrite, .randrw: true
        }
    }
    package var writes: Bool { self != .read && self != .randread }
    package var reads: Bool { self != .write && self != .randwrite }
    /// The block size where none is asked for.
    package var usualBlockSize: Int { isRandom ? 4096 : 1 << 20 }
}

/// The ways to the file's bytes that are compared.
package enum BenchRoad: String, CaseIterable, Sendable {
    /// io_uring with O_DIRECT on the file itself: what the machine can do. Buffered: pread and
    /// pwrite through the kernel's page cache.
    case raw
    /// Our client with local I/O on.
    case localio
    /// The same client with locality off: loopback NFS.
    case rpc
    /// localio through the submission queue and its workers, as writeback goes, instead of the
    /// caller's own ring.
    case queue
    /// Of buffered runs: io_uring with O_DIRECT and 16 in flight, whatever the depth.
    case direct

    /// Goes through a client of ours.
    package var isClient: Bool { self == .localio || self == .rpc || self == .queue }
    /// What `direct` keeps in flight.
    package static let directDepth = 16
}

/// One cell of the matrix; every road runs it.
package struct WorkloadPoint: Hashable, Sendable {
    package var pattern: AccessPattern
    /// Bytes per I/O.
    package var blockSize: Int
    /// I/Os in flight per job.
    package var depth: Int
    /// Threads, each with a part of the file of its own.
    package var jobs: Int

    package init(pattern: AccessPattern, blockSize: Int, depth: Int, jobs: Int) {
        self.pattern = pattern
        self.blockSize = blockSize
        self.depth = depth
        self.jobs = jobs
    }

    /// "randread 4k, depth 16".
    package var title: String {
        "\(pattern.rawValue) \(ByteSize.text(blockSize)), depth \(depth)"
            + (jobs > 1 ? ", \(jobs) jobs" : "")
    }
}

/// How the file is cut into blocks; all roads of one point share it.
package struct BlockGrid: Hashable, Sendable {
    /// Bytes before the first block.
    package var misalignment: Int
    package var blockSize: Int
    package var blockCount: Int

    /// As many whole blocks as the file holds after the misalignment.
    package init(fileSize: Int, blockSize: Int, misalignment: Int) {
        self.blockSize = blockSize
        self.misalignment = misalignment
        blockCount = max(0, fileSize - misalignment) / blockSize
    }

    package func offset(of block: Int) -> UInt64 { UInt64(misalignment + block * blockSize) }

    /// The blocks of one job of several.
    package func region(job: Int, of jobs: Int) -> Range<Int> {
        blockCount * job / jobs..<blockCount * (job + 1) / jobs
    }
}

/// SplitMix64: small, fast, and the same sequence everywhere for the same seed.
package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        return mix(state)
    }
}

/// Spreads every bit of the input over the whole output.
@inline(__always)
package func mix(_ value: UInt64) -> UInt64 {
    var word = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
    return word ^ (word >> 31)
}

/// The order in which roads take turns: each round begins with another one, so that none always
/// follows the same.
func turns(of count: Int, rounds: Int) -> [(round: Int, index: Int)] {
    (0..<rounds).flatMap { round in
        (0..<count).map { (round: round, index: ($0 + round) % count) }
    }
}

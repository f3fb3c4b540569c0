// What `localio-bench mount` does on each road, and how fio is told and asked.
internal import Glibc

/// The same workload on every road.
package enum MountCell: String, CaseIterable, Sendable {
    case bufferedWrite = "write-1m-buffered"
    case bufferedRead = "read-1m-buffered"
    case randomRead1 = "randread-4k-direct-1"
    case randomRead16 = "randread-4k-direct-16"
    case randomWrite1 = "randwrite-4k-direct-1"
    case randomWrite16 = "randwrite-4k-direct-16"
    case directRead = "read-1m-direct"
    case directWrite = "write-1m-direct"
    case bufferedRandomRead = "randread-4k-buffered"
    case bufferedRandomWrite = "randwrite-4k-buffered"

    var isBuffered: Bool {
        switch self {
        case .bufferedWrite, .bufferedRead, .bufferedRandomRead, .bufferedRandomWrite: true
        default: false
        }
    }
    var access: AccessPattern {
        switch self {
        case .bufferedWrite, .directWrite: .write
        case .bufferedRead, .directRead: .read
        case .randomRead1, .randomRead16, .bufferedRandomRead: .randread
        case .randomWrite1, .randomWrite16, .bufferedRandomWrite: .randwrite
        }
    }
    var isWrite: Bool { access.writes }
    var isDeep: Bool { self == .randomRead16 || self == .randomWrite16 }
    var blockSize: Int { access.usualBlockSize }
    /// What the figure counts: the sequential cells by bytes, the others by I/Os.
    var unit: String { access.isRandom ? "IOPS" : "MiB/s" }

    var title: String {
        let how =
            switch self {
            case .bufferedWrite: "buffered, with fsync"
            case .bufferedRead, .bufferedRandomRead: "buffered, cold"
            case .bufferedRandomWrite: "buffered, no fsync"
            default: "O_DIRECT, depth \(isDeep ? 16 : 1)" + (isWrite ? ", with fsync" : "")
            }
        return "\(ByteSize.text(blockSize)) \(access.rawValue), \(how)"
    }

    /// What the better of fuse-nfs and turbonfs reached on a mount of loopback NFS, as a share of
    /// the file system itself: measured once on another machine of this size, since Debian has
    /// neither. Left out is what turbonfs gains by answering direct writes and fsync from memory.
    var peerShare: Double {
        switch self {
        case .bufferedWrite: 0.13
        case .bufferedRead: 2.0
        case .randomRead1: 0.43
        case .randomRead16: 0.25
        case .randomWrite1: 0.58
        case .randomWrite16: 0.14
        case .directRead: 1.01
        case .directWrite: 0.09
        case .bufferedRandomRead: 0.39
        case .bufferedRandomWrite: 0.02
        }
    }

    /// What passthrough_ll with the writeback cache reached beside them, by the same measure; nil
    /// where it fails. Two mounts compare better across machines than a mount and the file system,
    /// whose own read-ahead differs.
    var peerPassthroughShare: Double? {
        switch self {
        case .bufferedWrite: 1.7
        case .bufferedRead: 2.25
        case .randomRead1: 0.78
        case .randomRead16: 0.76
        case .directRead: 0.61
        case .bufferedRandomRead: 0.66
        case .bufferedRandomWrite: 0.24
        case .randomWrite1, .randomWrite16, .directWrite: nil
        }
    }

    /// Whether a round ends, within its time, with an fsync: else a road whose server keeps in
    /// its memory what it was sent (UNSTABLE) would be compared with one that went to the disk.
    /// The buffered random writes are the kernel's cache alone, on every road.
    private var endsWithFsync: Bool { isWrite && self != .bufferedRandomWrite }

    /// fio's words for one round on a file that exists with its full size.
    func arguments(file: String, size: Int, runtime: Duration) -> [String] {
        var words = Fio.words(
            file: file, byteCount: size, blockSize: blockSize, access: access)
        if !isBuffered { words.append("--direct=1") }
        if endsWithFsync { words.append("--end_fsync=1") }
        guard access.isRandom else { return words + ["--ioengine=psync"] }
        // Not io_uring: for writes to one file of a FUSE mount it is no queue but one I/O after the
        // other (the kernel knows no parallel direct writes there and hashes them to one worker).
        let engine = isDeep ? ["--ioengine=libaio", "--iodepth=16"] : ["--ioengine=psync"]
        return words + engine + Fio.words(runtime: runtime)
    }

    /// The figure in fio's terse output, in MiB/s or IOPS.
    func figure(_ output: String) throws(BenchError) -> Double {
        let figures = try FioFigures(output, writes: isWrite)
        guard figures.error == 0 else { throw BenchError(errorText(figures.error)) }
        return access.isRandom ? figures.rate : figures.kibibytesPerSecond / 1024
    }
}

/// Ways to one file system.
package enum MountRoad: String, CaseIterable, Sendable {
    /// A directory of the file system itself.
    case plain
    case localio
    /// The same mount with the option `passthrough`.
    case passedThrough = "localio-passthrough"
    /// The same mount with locality off.
    case rpc
    /// libfuse's example with the kernel's writeback cache.
    case passthrough = "passthrough_ll"
    /// libnfs's own mount program, where it is installed; it is not in Debian.
    case fuseNFS = "fuse-nfs"

    /// Those that can be mounted on this machine.
    static var present: [MountRoad] {
        allCases.filter { road in
            switch road {
            case .fuseNFS: ChildProcess.find(MountRoad.fuseNFS.rawValue) != nil
            case .passedThrough: kernelPassesThrough
            default: true
            }
        }
    }

    /// Whether this kernel has FUSE passthrough: Linux 6.9.
    package static var kernelPassesThrough: Bool {
        let release = Files.text(at: "/proc/sys/kernel/osrelease") ?? ""
        let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        return !numbers.lexicographicallyPrecedes([6, 9])
    }

    /// The product's own mounts with local I/O, whose promises are looked at.
    static let subjects: [MountRoad] = [.localio, .passedThrough]
}

/// What the product promises of its mount.
package enum MountBar: CaseIterable, Sendable {
    case passthrough, directWrites, remote, peers, fuseNFS

    func text(_ cell: MountCell) -> String {
        switch self {
        case .passthrough: "≥ 0.9 of passthrough_ll"
        case .directWrites: "≥ 0.6 of plain"
        case .remote: "≥ 3 × rpc"
        case .fuseNFS: "above fuse-nfs"
        case .peers:
            "above fuse-nfs and turbonfs, once \(decimal(cell.peerShare, places: 2)) of plain"
        }
    }

    var other: MountRoad {
        switch self {
        case .passthrough: .passthrough
        case .directWrites, .peers: .plain
        case .remote: .rpc
        case .fuseNFS: .fuseNFS
        }
    }

    func factor(_ cell: MountCell) -> Double {
        switch self {
        case .passthrough: 0.9
        case .directWrites: 0.6
        case .remote: 3
        case .fuseNFS: 1
        case .peers: cell.peerShare
        }
    }

    /// passthrough_ll cannot write with O_DIRECT where the device wants memory in whole sectors, as
    /// its own is not: there the file system itself is the measure.
    func holds(_ cell: MountCell) -> Bool {
        switch self {
        case .passthrough:
            switch cell {
            case .bufferedWrite, .bufferedRead, .randomRead1, .randomRead16, .randomWrite1,
                .randomWrite16:
                true
            default: false
            }
        case .directWrites: cell == .randomWrite1 || cell == .randomWrite16
        case .remote: cell.isDeep
        case .peers, .fuseNFS: true
        }
    }
}

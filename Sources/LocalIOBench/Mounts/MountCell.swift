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

    var isBuffered: Bool { self == .bufferedWrite || self == .bufferedRead }
    var isWrite: Bool {
        self == .bufferedWrite || self == .randomWrite1 || self == .randomWrite16
    }
    var isDeep: Bool { self == .randomRead16 || self == .randomWrite16 }
    var blockSize: Int { isBuffered ? 1 << 20 : 4096 }
    var access: AccessPattern {
        switch self {
        case .bufferedWrite: .write
        case .bufferedRead: .read
        case .randomRead1, .randomRead16: .randread
        case .randomWrite1, .randomWrite16: .randwrite
        }
    }
    /// What the figure counts: the sequential cells by bytes, the others by I/Os.
    var unit: String { isBuffered ? "MiB/s" : "IOPS" }

    var title: String {
        switch self {
        case .bufferedWrite: "1m write, buffered, with fsync"
        case .bufferedRead: "1m read, buffered, cold"
        case .randomRead1: "4k randread, O_DIRECT, depth 1"
        case .randomRead16: "4k randread, O_DIRECT, depth 16"
        case .randomWrite1: "4k randwrite, O_DIRECT, depth 1"
        case .randomWrite16: "4k randwrite, O_DIRECT, depth 16"
        }
    }

    /// fio's words for one round on a file that exists with its full size.
    func arguments(file: String, size: Int, runtime: Duration) -> [String] {
        var words = [
            "--name=cell", "--filename=\(file)", "--size=\(size)", "--overwrite=1",
            "--fallocate=none", "--allow_file_create=0", "--minimal", "--terse-version=3",
            "--randrepeat=0", "--norandommap", "--thread",
        ]
        if isBuffered {
            words += ["--bs=1m", "--ioengine=psync", isWrite ? "--rw=write" : "--rw=read"]
            return isWrite ? words + ["--end_fsync=1"] : words
        }
        // Not io_uring: for writes to one file of a FUSE mount it is no queue but one I/O after the
        // other (the kernel knows no parallel direct writes there and hashes them to one worker).
        let engine = isDeep ? ["--ioengine=libaio", "--iodepth=16"] : ["--ioengine=psync"]
        words += ["--bs=4k", "--direct=1", isWrite ? "--rw=randwrite" : "--rw=randread"]
        return words + engine + [
            "--time_based", "--runtime=\(runtime.nanosecondCount / 1_000_000)ms",
        ]
    }

    /// The figure in fio's terse output (version 3, semicolons), in MiB/s or IOPS.
    func figure(_ output: String) throws(BenchError) -> Double {
        let line = output.split(separator: "\n").first { $0.hasPrefix("3;fio") }
        let fields = line?.split(separator: ";", omittingEmptySubsequences: false) ?? []
        // Of reads: KiB moved, KiB/s, IOPS from the sixth on; of writes from the 47th.
        let first = isWrite ? 46 : 5
        guard fields.count > first + 2, let error = Int(fields[4]),
            let bandwidth = Double(fields[first + 1]), let rate = Double(fields[first + 2])
        else {
            let said = output.split(separator: "\n").last.map(String.init) ?? "nothing"
            throw BenchError("fio: \(said)")
        }
        guard error == 0 else { throw BenchError(errorText(Int32(clamping: error))) }
        return isBuffered ? bandwidth / 1024 : rate
    }
}

/// Ways to one file system.
package enum MountRoad: String, CaseIterable, Sendable {
    /// A directory of the file system itself.
    case plain
    case localio
    /// The same mount with locality off.
    case rpc
    /// libfuse's example with the kernel's writeback cache.
    case passthrough = "passthrough_ll"
}

/// What the product promises of its mount.
package enum MountBar: CaseIterable, Sendable {
    case passthrough, directWrites, remote

    var text: String {
        switch self {
        case .passthrough: "≥ 0.9 of passthrough_ll"
        case .directWrites: "≥ 0.6 of plain"
        case .remote: "≥ 3 × rpc"
        }
    }

    var other: MountRoad {
        switch self {
        case .passthrough: .passthrough
        case .directWrites: .plain
        case .remote: .rpc
        }
    }

    var factor: Double {
        switch self {
        case .passthrough: 0.9
        case .directWrites: 0.6
        case .remote: 3
        }
    }

    /// passthrough_ll cannot write with O_DIRECT: there the file system itself is the measure.
    func holds(_ cell: MountCell) -> Bool {
        let isDirectWrite = cell.isWrite && !cell.isBuffered
        return switch self {
        case .passthrough: !isDirectWrite
        case .directWrites: isDirectWrite
        case .remote: cell.isDeep
        }
    }
}

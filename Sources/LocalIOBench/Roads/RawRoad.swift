// The raw road: io_uring and O_DIRECT on the file itself, the measure of all others.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import SystemPackage

/// Opens the file with O_DIRECT; each job gets a ring of its own.
final class RawSession: RoadSession {
    let road: BenchRoad
    let geometry: DirectGeometry
    private let descriptor: Descriptor
    private let path: FilePath

    /// - Parameter road: `raw`, or `direct` of a buffered run.
    init(path: FilePath, road: BenchRoad) throws(BenchError) {
        self.path = path
        self.road = road
        do {
            descriptor = try Descriptor(path: path, flags: O_RDWR | Descriptor.directFlag)
        } catch {
            throw BenchError("raw: cannot open \(path) with O_DIRECT: \(error)")
        }
        let status: FileStatus
        do {
            status = try FileStatus.of(descriptor)
        } catch {
            throw BenchError("\(path): \(error)")
        }
        guard let geometry = status.geometry else {
            throw BenchError(directIOMissing(path.removingLastComponent().string))
        }
        self.geometry = geometry
    }

    var fallbacks: [String: Int] { [:] }

    func run(_ job: Job) throws(BenchError) -> JobResult {
        var driver = try RawDriver(
            fd: descriptor.raw, geometry: geometry, depth: job.point.depth,
            blockSize: job.grid.blockSize, misaligned: job.grid.misalignment != 0)
        return try job.run(&driver, road: road)
    }

    func commit() throws(BenchError) {
        guard fdatasync(descriptor.raw) == 0 else {
            throw .system("raw: fdatasync of \(path)", errno: errno)
        }
    }

    func close() {}

    /// Why blocks of this size cannot be measured on this road, or nil.
    func refusal(blockSize: Int) -> String? {
        let unit = geometry.offsetAlignment
        if blockSize % unit == 0 && (blockSize % 4096 == 0 || 4096 % blockSize == 0) { return nil }
        return "--bs \(ByteSize.text(blockSize)): \(road.rawValue) uses O_DIRECT, which here "
            + "takes \(unit)-byte units that do not straddle 4096-byte pages; use 4k or a "
            + "multiple, or leave \(road.rawValue) out with --road localio,rpc"
    }
}

/// The line for a file system that cannot do direct I/O.
func directIOMissing(_ directory: String) -> String {
    "\(directory): this file system reports no direct I/O geometry (tmpfs has none), so raw and "
        + "localio cannot run there; use --directory on a disk, or --road rpc"
}

/// One ring. Misaligned reads read the aligned units around the block and copy out of them.
private struct RawDriver: RoadDriver, ~Copyable {
    private var ring: Ring
    private let fd: Int32
    private let unit: Int
    private var bounce: BounceMemory?

    init(
        fd: Int32, geometry: DirectGeometry, depth: Int, blockSize: Int, misaligned: Bool
    ) throws(BenchError) {
        self.fd = fd
        unit = max(geometry.offsetAlignment, geometry.readOffsetAlignment)
        bounce = misaligned ? try BounceMemory(slots: depth, blockSize: blockSize, unit: unit) : nil
        ring = try Self.makeRing(depth: depth)
    }

    private static func makeRing(depth: Int) throws(BenchError) -> Ring {
        do {
            let ring = try Ring(depth: depth)
            try ring.start()
            return ring
        } catch {
            throw BenchError("raw: the kernel refuses io_uring: \(error)")
        }
    }

    mutating func submit(
        slot: Int, isWrite: Bool, buffer: UnsafeMutableRawBufferPointer, offset: UInt64
    ) -> Bool {
        let operation: IOOperation
        if let widened = unsafe bounce?.widen(slot, target: buffer, offset: offset, fd: fd) {
            operation = widened
        } else if isWrite {
            operation = unsafe .write(
                fd: fd, offset: offset, from: UnsafeRawBufferPointer(buffer))
        } else {
            operation = unsafe .read(fd: fd, offset: offset, into: buffer)
        }
        return ring.prepare(operation, userData: UInt64(slot))
    }

    mutating func reap(timeout: Duration, _ body: (Int, Int) -> Void) -> Int {
        let status = ring.submitAndWait(
            minimum: 1, nanoseconds: Int64(timeout.nanosecondCount))
        if status < 0 && status != -ETIME && status != -EINTR { return Int(status) }
        return ring.reap { completion in
            let slot = Int(completion.userData)
            let outcome = bounce?.finish(slot, Int(completion.result)) ?? Int(completion.result)
            body(slot, outcome)
        }
    }

    mutating func abandon(inFlight: Int) -> Bool {
        var left = inFlight
        for _ in 0..<20 where left > 0 {
            let count = reap(timeout: .milliseconds(500)) { _, _ in }
            if count < 0 { return false }
            left -= count
        }
        return left <= 0
    }
}

/// Aligned buffers around misaligned blocks.
@safe
private struct BounceMemory: ~Copyable {
    private let address: UnsafeMutableRawPointer
    private let stride: Int
    private let unit: Int
    private let mapped: Int
    private var targets: [(target: UnsafeMutableRawBufferPointer, lead: Int)]

    init(slots: Int, blockSize: Int, unit: Int) throws(BenchError) {
        self.unit = unit
        stride = (blockSize + 2 * unit + 4095) / 4096 * 4096
        mapped = stride * slots
        guard let address = unsafe clinux_map_io_memory(mapped) else {
            throw BenchError("no memory for misaligned reads; lower --iodepth or --bs")
        }
        unsafe self.address = unsafe address
        let none = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
        unsafe targets = Array(repeating: (none, 0), count: slots)
    }

    deinit { unsafe clinux_unmap_memory(address, mapped) }

    /// The read of the aligned units that hold the block.
    mutating func widen(
        _ slot: Int, target: UnsafeMutableRawBufferPointer, offset: UInt64, fd: Int32
    ) -> IOOperation {
        let start = offset / UInt64(unit) * UInt64(unit)
        let lead = Int(offset - start)
        unsafe targets[slot] = (target, lead)
        let byteCount = (lead + target.count + unit - 1) / unit * unit
        return unsafe .read(
            fd: fd, offset: start,
            into: UnsafeMutableRawBufferPointer(
                start: address + slot * stride, count: byteCount))
    }

    /// Copies the block out; the bytes of it that were read, or the errno as it is.
    func finish(_ slot: Int, _ outcome: Int) -> Int {
        let (target, lead) = unsafe targets[slot]
        guard outcome > 0 else { return outcome }
        let count = min(target.count, max(0, outcome - lead))
        unsafe target.copyMemory(
            from: UnsafeRawBufferPointer(start: address + slot * stride + lead, count: count))
        return count
    }
}

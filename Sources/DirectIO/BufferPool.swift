// Page-aligned memory for direct I/O: mapped and locked at start, leased, never grown.
internal import CLinux
internal import CUring
internal import Threads

/// Page-aligned memory with one owner: its own mapping, or a lease that returns to its pool.
///
/// Its own mapping of 1 MiB or more is of huge pages where the system gives them: a direct I/O of
/// 1 MiB is then one piece for the device, not one for each of 256 pages, and may take half the
/// time. What such a buffer takes of memory is rounded up to 2 MiB where less than half of that
/// is lost.
@safe
public struct AlignedBuffer: ~Copyable, @unchecked Sendable {
    /// The first byte; aligned to 4096 at least.
    package let baseAddress: UnsafeMutableRawPointer
    /// What the owner may use.
    public let byteCount: Int
    /// The pool's registered buffer that holds this memory, or -1.
    package let bufferIndex: Int32
    private let pool: BufferPool?
    private let slab: Int32
    private let mappedByteCount: Int

    /// Maps zeroed memory of its own.
    /// - Returns: nil if the system has no memory left, or `byteCount` is not positive.
    public init?(byteCount: Int) {
        guard byteCount > 0, byteCount <= Int.max - Self.hugePage else { return nil }
        let mapped = Self.mappedByteCount(byteCount)
        guard let address = unsafe clinux_map_io_memory(mapped) else { return nil }
        unsafe baseAddress = unsafe address
        self.byteCount = byteCount
        bufferIndex = -1
        pool = nil
        slab = -1
        mappedByteCount = mapped
    }

    private static let hugePage = Int(clinux_huge_page_bytes)

    /// Whole pages; whole huge pages if at least half of the last one is wanted.
    private static func mappedByteCount(_ byteCount: Int) -> Int {
        let isNearlyWhole = (byteCount - 1) % hugePage >= hugePage / 2 - 1
        let unit = isNearlyWhole ? hugePage : 4096
        return (byteCount + unit - 1) / unit * unit
    }

    fileprivate init(
        leased address: UnsafeMutableRawPointer, byteCount: Int, bufferIndex: Int32,
        pool: BufferPool, slab: Int32
    ) {
        unsafe baseAddress = unsafe address
        self.byteCount = byteCount
        self.bufferIndex = bufferIndex
        self.pool = pool
        self.slab = slab
        mappedByteCount = 0
    }

    deinit {
        if let pool {
            pool.giveBack(slab: slab, sizeClass: Int(bufferIndex))
        } else {
            unsafe clinux_unmap_memory(baseAddress, mappedByteCount)
        }
    }

    /// All bytes, writable; valid as long as this value lives.
    package var mutableBytes: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: baseAddress, count: byteCount)
    }

    /// Reads the bytes in place.
    public borrowing func withUnsafeBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(UnsafeRawBufferPointer(start: baseAddress, count: byteCount))
    }

    /// Changes the bytes in place.
    public mutating func withUnsafeMutableBytes<Result, Failure: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(UnsafeMutableRawBufferPointer(start: baseAddress, count: byteCount))
    }

    /// Reads the bytes in place, bounds checked.
    public borrowing func withBytes<Result, Failure: Error>(
        _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let bytes = unsafe RawSpan(
            _unsafeStart: UnsafeRawPointer(baseAddress), byteCount: byteCount)
        return try body(bytes)
    }
}

/// A fixed amount of page-aligned memory, in slabs of a few sizes.
///
/// Mapped, touched and locked when made; it never grows, and leasing allocates nothing. Any
/// thread may lease; a buffer may be given back by another thread than leased it.
@safe
package final class BufferPool: @unchecked Sendable {
    /// So many slabs of one size.
    package struct SizeClass: Hashable, Sendable {
        /// Bytes of one slab, a multiple of 4096.
        package var byteCount: Int
        package var slabs: Int
        package init(byteCount: Int, slabs: Int) {
            self.byteCount = byteCount
            self.slabs = slabs
        }
    }

    /// What the pool holds and what it could not have.
    package struct Statistics: Hashable, Sendable {
        package var byteCount = 0
        /// mlock succeeded for all of it; otherwise `lockErrno` says why not.
        package var isLocked = false
        /// The errno of mlock, or 0 (ENOMEM and EPERM: RLIMIT_MEMLOCK is too small).
        package var lockErrno: Int32 = 0
        package var leased = 0
        package var leasedPeak = 0
        /// Leases refused because nothing fitting was free.
        package var exhausted = 0
    }

    @safe
    private struct Region {
        var address: UnsafeMutableRawPointer
        var sizeClass: SizeClass
        /// Indices of free slabs, a stack of `freeCount`.
        var free: UnsafeMutablePointer<Int32>
        var freeCount: Int
    }

    @safe
    private struct State: @unchecked Sendable {
        var regions: UnsafeMutablePointer<Region>
        var statistics: Statistics
    }

    private let regionCount: Int
    private let state: Lock<State>
    private let ranges: [(start: UInt, byteCount: Int)]

    /// Maps and locks everything.
    /// - Parameter classes: ascending by size; one class at most 1 GiB in total, 8 classes.
    /// - Returns: nil if the system has not the memory, or the classes break those rules.
    package init?(
        classes: [SizeClass] = [
            SizeClass(byteCount: 4 << 10, slabs: 256), SizeClass(byteCount: 64 << 10, slabs: 64),
            SizeClass(byteCount: 1 << 20, slabs: 16),
        ]
    ) {
        guard classes.count <= 8, !classes.isEmpty else { return nil }
        var last = 0
        for sizeClass in classes {
            guard sizeClass.slabs > 0, sizeClass.slabs < 1 << 20, sizeClass.byteCount > last,
                sizeClass.byteCount % 4096 == 0,
                sizeClass.byteCount <= (1 << 30) / sizeClass.slabs
            else { return nil }
            last = sizeClass.byteCount
        }
        let regions = UnsafeMutablePointer<Region>.allocate(capacity: classes.count)
        var ranges: [(start: UInt, byteCount: Int)] = []
        var statistics = Statistics()
        statistics.isLocked = true
        for (index, sizeClass) in classes.enumerated() {
            let byteCount = sizeClass.byteCount * sizeClass.slabs
            guard let address = unsafe clinux_map_io_memory(byteCount) else {
                unsafe Self.unmap(regions, index)
                return nil
            }
            // Touched first, so that no I/O meets a page fault where locking is refused.
            unsafe address.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
            let status = unsafe clinux_lock_memory(address, byteCount)
            if status < 0 {
                statistics.isLocked = false
                statistics.lockErrno = -status
            }
            let free = UnsafeMutablePointer<Int32>.allocate(capacity: sizeClass.slabs)
            for slab in 0..<sizeClass.slabs {
                unsafe (free + slab).initialize(to: Int32(sizeClass.slabs - 1 - slab))
            }
            unsafe (regions + index).initialize(
                to: Region(
                    address: address, sizeClass: sizeClass, free: free,
                    freeCount: sizeClass.slabs))
            ranges.append((UInt(bitPattern: address), byteCount))
            statistics.byteCount += byteCount
        }
        regionCount = classes.count
        self.ranges = ranges
        state = unsafe Lock(State(regions: regions, statistics: statistics))
    }

    deinit {
        let count = regionCount
        state.withLock { unsafe Self.unmap($0.regions, count) }
    }

    private static func unmap(_ regions: UnsafeMutablePointer<Region>, _ count: Int) {
        for index in 0..<count {
            let region = unsafe regions[index]
            unsafe clinux_unmap_memory(
                region.address, region.sizeClass.byteCount * region.sizeClass.slabs)
            unsafe region.free.deallocate()
        }
        unsafe regions.deallocate()
    }

    /// The smallest free slab that holds `byteCount`, or nil if none is free now.
    package func lease(byteCount: Int) -> AlignedBuffer? {
        guard byteCount > 0 else { return nil }
        var address: UnsafeMutableRawPointer?
        var found: Int32 = -1
        var slab: Int32 = -1
        state.withLock { state in
            for index in 0..<regionCount
            where unsafe state.regions[index].sizeClass.byteCount >= byteCount
                && state.regions[index].freeCount > 0
            {
                unsafe state.regions[index].freeCount -= 1
                let region = unsafe state.regions[index]
                slab = unsafe region.free[region.freeCount]
                unsafe address = unsafe region.address + Int(slab) * region.sizeClass.byteCount
                found = Int32(index)
                state.statistics.leased += 1
                state.statistics.leasedPeak = max(
                    state.statistics.leasedPeak, state.statistics.leased)
                return
            }
            state.statistics.exhausted += 1
        }
        guard let address = unsafe address else { return nil }
        return unsafe AlignedBuffer(
            leased: address, byteCount: byteCount, bufferIndex: found, pool: self, slab: slab)
    }

    fileprivate func giveBack(slab: Int32, sizeClass: Int) {
        state.withLock { state in
            let region = unsafe state.regions[sizeClass]
            unsafe region.free[region.freeCount] = slab
            unsafe state.regions[sizeClass].freeCount += 1
            state.statistics.leased -= 1
        }
    }

    package var statistics: Statistics { state.withLock { $0.statistics } }

    /// The registered buffer that holds all of these bytes, or -1.
    package func bufferIndex(address: UnsafeRawPointer?, byteCount: Int) -> Int32 {
        let start = UInt(bitPattern: address)
        for index in 0..<ranges.count {
            let range = ranges[index]
            let end = start &- range.start &+ UInt(byteCount)
            if start >= range.start && end <= UInt(range.byteCount) { return Int32(index) }
        }
        return -1
    }

    /// Start and length of every registered buffer, by index.
    var registrations: [(start: UInt, byteCount: Int)] { ranges }
}

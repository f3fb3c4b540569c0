// The files that a channel has I/O of in flight: each is held once for many I/Os, so that an I/O
// neither takes a lock for its route nor counts references.
internal import DirectIO

/// A file, its local side, and what the hot path asks of them.
@safe
struct ChannelFile: ~Copyable {
    let file: LocalIOFile
    let local: LocalFile
    /// Of the route that `local` is.
    let version: UInt64

    let geometry: DirectGeometry
    /// The local file's descriptor for direct I/O.
    let fd: Int32

    // Unmanaged: whoever uses them holds an I/O of this entry, and the entry holds the file.
    private let reader: Unmanaged<LocalFile>
    private let state: Unmanaged<FileState>
    private let ranges: Unmanaged<RangeLock>
    private let uncommitted: Unmanaged<UncommittedWrites>
    private let identity: UnsafeRawPointer

    init(_ file: LocalIOFile, _ local: LocalFile, version: UInt64) {
        self.file = file
        self.local = local
        self.version = version
        geometry = local.geometry
        fd = local.direct.raw
        unsafe reader = Unmanaged.passUnretained(local)
        unsafe state = Unmanaged.passUnretained(file.state)
        unsafe ranges = Unmanaged.passUnretained(file.state.ranges)
        unsafe uncommitted = Unmanaged.passUnretained(file.state.uncommitted)
        unsafe identity = Self.identity(file)
    }

    @inline(__always)
    private static func identity(_ file: LocalIOFile) -> UnsafeRawPointer {
        unsafe UnsafeRawPointer(Unmanaged.passUnretained(file).toOpaque())
    }

    /// Whether this is the file, by the route that it has now.
    @inline(__always)
    func serves(_ file: LocalIOFile) -> Bool {
        unsafe identity == Self.identity(file) && version == file.routeVersion
    }

    @inline(__always)
    func tryAcquire(_ range: PageRange) -> RangeLock.Token? {
        unsafe ranges._withUnsafeGuaranteedRef { $0.tryAcquire(range, .direct) }
    }

    @inline(__always)
    func release(_ token: RangeLock.Token) {
        unsafe ranges._withUnsafeGuaranteedRef { _ = $0.release(token) }
    }

    /// Counts newer writes that replaced kept bytes (`UncommittedWrites.replacements`).
    @inline(__always)
    var replacements: UInt64 {
        unsafe uncommitted._withUnsafeGuaranteedRef { $0.replacements }
    }

    @inline(__always)
    func readCached(
        _ address: UnsafeMutableRawPointer, _ byteCount: Int, _ offset: UInt64
    ) -> Int64? {
        unsafe reader._withUnsafeGuaranteedRef {
            unsafe $0.readCached(address, byteCount: byteCount, at: offset)
        }
    }

    @inline(__always)
    func writeEnded(_ offset: UInt64, _ byteCount: Int) {
        unsafe state._withUnsafeGuaranteedRef {
            $0.localWriteEnded(offset: offset, byteCount: byteCount, isStable: false)
        }
    }

    @inline(__always)
    var keepsNothing: Bool { unsafe uncommitted._withUnsafeGuaranteedRef { $0.isEmpty } }
}

/// The entries of one channel; its thread only. An entry lives while I/O of it is in flight, so
/// that a revoked file is closed as soon as its last I/O has ended.
@safe
struct ChannelFiles: ~Copyable {
    private let entries: UnsafeMutablePointer<ChannelFile>
    /// I/Os in flight of each entry; -1: there is no entry.
    private let counts: UnsafeMutablePointer<Int32>
    private let free: UnsafeMutablePointer<Int32>
    private var freeCount: Int
    private let capacity: Int
    /// The entry of the last submission, or -1: callers tend to stay with a file.
    private var latest = -1

    /// - Parameter capacity: I/Os in flight.
    init(capacity: Int) {
        self.capacity = capacity
        unsafe entries = .allocate(capacity: capacity)
        unsafe counts = .allocate(capacity: capacity)
        unsafe counts.initialize(repeating: -1, count: capacity)
        unsafe free = .allocate(capacity: capacity)
        for index in 0..<capacity {
            unsafe (free + index).initialize(to: Int32(capacity - 1 - index))
        }
        freeCount = capacity
    }

    deinit {
        for index in 0..<capacity where unsafe counts[index] >= 0 {
            unsafe (entries + index).deinitialize(count: 1)
        }
        unsafe entries.deallocate()
        unsafe counts.deallocate()
        unsafe free.deallocate()
    }

    /// The entry for an I/O of the file, or -1 if its I/O goes by RPC. There must be room for
    /// an I/O; `began` or `dropIfIdle` is to follow.
    @inline(__always)
    mutating func find(_ file: LocalIOFile) -> Int {
        if latest >= 0, unsafe entries[latest].serves(file) { return latest }
        return make(file)
    }

    private mutating func make(_ file: LocalIOFile) -> Int {
        let version = file.routeVersion
        guard case .local(let local) = file.route() else { return -1 }
        freeCount -= 1
        let index = unsafe Int(free[freeCount])
        unsafe (entries + index).initialize(to: ChannelFile(file, local, version: version))
        unsafe counts[index] = 0
        latest = index
        return index
    }

    subscript(index: Int) -> ChannelFile {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(entries + index) }
    }

    @inline(__always)
    func began(_ index: Int) { unsafe counts[index] += 1 }

    @inline(__always)
    mutating func ended(_ index: Int) {
        unsafe counts[index] -= 1
        dropIfIdle(index)
    }

    @inline(__always)
    mutating func dropIfIdle(_ index: Int) {
        if unsafe counts[index] == 0 { drop(index) }
    }

    private mutating func drop(_ index: Int) {
        unsafe (entries + index).deinitialize(count: 1)
        unsafe counts[index] = -1
        unsafe free[freeCount] = Int32(index)
        freeCount += 1
        if latest == index { latest = -1 }
    }
}

// What stands behind the page cache of a client: its pages' reads and writes go straight to the
// local file through the unbound submission queue, or by RPC where they cannot.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import NFSTypes
internal import PageCache
internal import SystemPackage
internal import Threads

/// The real world of a page cache. Any thread.
@safe
final class CacheBacking: CacheWorld, @unchecked Sendable {
    /// Where a thread of the cache waits.
    private final class Place: Sendable { let semaphore = Semaphore() }

    private let places: [Place]
    // Made at start: a page's way to the file and back allocates nothing.
    private let transfers: [PageTransfer]
    /// The open files behind each slot of the cache's table; several openers, several entries.
    private let backers: Lock<[[LocalIOFile]]>
    // Set once, before the first file is opened.
    private var cache: Unmanaged<PageCache<CacheBacking>>?

    init(_ configuration: PageCacheConfiguration) {
        places = (0..<max(configuration.waiters, 2)).map { _ in Place() }
        transfers = (0..<max(configuration.requests, 4)).map { _ in PageTransfer() }
        backers = Lock(Array(repeating: [], count: max(configuration.files, 1)))
        unsafe cache = nil
    }

    /// Says whose world this is; the cache outlives every I/O it starts.
    func attach(_ cache: PageCache<CacheBacking>) {
        unsafe self.cache = Unmanaged.passUnretained(cache)
        for transfer in transfers { transfer.backing = self }
    }

    /// Ends the mutual references.
    func detach() {
        for transfer in transfers { transfer.backing = nil }
        backers.withLock { backers in
            for slot in backers.indices { backers[slot] = [] }
        }
    }

    // MARK: - Files

    func opened(_ file: CacheFileID, _ backer: LocalIOFile) {
        backers.withLock { $0[Int(file.slot)].append(backer) }
    }

    func closed(_ file: CacheFileID, _ backer: LocalIOFile) {
        backers.withLock { $0[Int(file.slot)].removeAll { $0 === backer } }
    }

    private func backer(of file: CacheFileID, isWrite: Bool) -> LocalIOFile? {
        backers.withLock { backers in
            // By index: a loop over the array allocates in unoptimized builds (Swift 6.3).
            let slot = Int(file.slot)
            for index in 0..<backers[slot].count {
                let backer = backers[slot][index]
                if isWrite ? backer.access.canWrite : backer.access.canRead { return backer }
            }
            return nil
        }
    }

    // MARK: - CacheWorld

    func now() -> UInt64 { clinux_monotonic_nanoseconds() }

    func park(_ waiter: Int32, nanoseconds: UInt64?) {
        let semaphore = places[Int(waiter)]
        if let nanoseconds {
            _ = semaphore.semaphore.wait(
                timeout: .nanoseconds(Int64(clamping: nanoseconds)))
        } else {
            semaphore.semaphore.wait()
        }
    }

    func unpark(_ waiter: Int32) { places[Int(waiter)].semaphore.signal() }

    func reschedule() {}

    func start(_ io: PageIO) {
        guard let file = backer(of: io.file, isWrite: io.isWrite) else {
            return ended(io.request, -Int64(EBADF))
        }
        transfers[Int(io.request)].start(io, file)
    }

    func commit(_ file: CacheFileID) -> Int64 {
        guard let backer = backer(of: file, isWrite: true) else { return -Int64(EBADF) }
        do throws(LocalIOError) {
            try backer.flush()
            return 0
        } catch {
            return -Int64(error.errno.rawValue)
        }
    }

    func setSize(_ file: CacheFileID, _ size: UInt64) -> Int64 {
        guard let backer = backer(of: file, isWrite: true) else { return -Int64(EBADF) }
        do throws(LocalIOError) {
            try backer.truncateBlocking(to: size)
            return 0
        } catch {
            return -Int64(error.errno.rawValue)
        }
    }

    fileprivate func ended(_ request: Int32, _ result: Int64) {
        unsafe cache?._withUnsafeGuaranteedRef { $0.ended(request, result) }
    }
}

/// One request of the cache on its way; made once per place in the cache's request table.
@safe
private final class PageTransfer: @unchecked Sendable {
    // One step at a time touches these: start, grant, completion.
    var backing: CacheBacking?
    private var io: PageIO?
    private var file: LocalIOFile?
    private var local: LocalFile?
    private var token: RangeLock.Token?
    private var started: UInt64 = 0

    func start(_ io: PageIO, _ file: LocalIOFile) {
        let route = file.route()
        guard case .local(let local) = route,
            unsafe local.geometry.fits(
                offset: io.offset, byteCount: io.byteCount,
                address: UInt(bitPattern: io.address), isWrite: io.isWrite)
        else { return startLong(io, file, route) }
        started = clinux_monotonic_nanoseconds()
        self.io = io
        self.file = file
        self.local = local
        let waiter = unsafe IOCompletion(
            function: pageGranted, context: Unmanaged.passUnretained(self).toOpaque(), token: 0)
        let range = PageRange(offset: io.offset, byteCount: io.byteCount)
        switch file.state.ranges.acquire(range, .direct, waiter: waiter) {
        case .granted(let token): granted(token)
        case .waiting: return
        case .full:
            clear()
            startLong(io, file, route)
        }
    }

    /// Misaligned, or by RPC: cut into segments, each on its road.
    private func startLong(_ io: PageIO, _ file: LocalIOFile, _ route: Route) {
        let request = unsafe Transfer.Request(
            kind: io.isWrite ? .write : .read, offset: io.offset, address: io.address,
            byteCount: io.byteCount, stable: .unstable, holdsRange: false)
        let backing = backing
        Transfer(file: file, request: request, route: route) { result in
            backing?.ended(io.request, result)
        }.start()
    }

    fileprivate func granted(_ token: RangeLock.Token) {
        guard let io, let file, let local else { return }
        self.token = token
        let operation = unsafe IOOperation(
            kind: io.isWrite ? .write : .read, fd: local.direct.raw, offset: io.offset,
            address: io.address, byteCount: io.byteCount)
        let completion = unsafe IOCompletion(
            function: pageCompleted, context: Unmanaged.passUnretained(self).toOpaque(),
            token: 0)
        if !file.client.engine.enqueue(operation, completion) {
            file.state.ranges.release(token)
            clear()
            backing?.ended(io.request, -Int64(EBUSY))
        }
    }

    fileprivate func completed(_ result: Int64) {
        guard let io, let file, let token else { return }
        if io.isWrite, result > 0 {
            file.state.localWriteEnded(
                offset: io.offset, byteCount: Int(result), isStable: false)
        }
        file.state.ranges.release(token)
        if result >= 0 {
            file.client.counters.record(
                .local, byteCount: Int(result),
                nanoseconds: clinux_monotonic_nanoseconds() - started)
        }
        clear()
        if result < 0, Transfer.isMendedByRPC(Int32(truncatingIfNeeded: -result)) {
            if result == -Int64(EBADF) || result == -Int64(ESTALE) {
                file.setRoute(.remote(.localOpenFailed))
            }
            return startLong(io, file, .remote(.redriven))
        }
        // Last: the cache may use this place again at once.
        backing?.ended(io.request, result)
    }

    private func clear() {
        io = nil
        file = nil
        local = nil
        token = nil
    }
}

private func pageGranted(_ context: UnsafeMutableRawPointer?, _ word: UInt64, _ token: Int64) {
    guard let context = unsafe context else { return }
    unsafe Unmanaged<PageTransfer>.fromOpaque(context)._withUnsafeGuaranteedRef { transfer in
        transfer.granted(RangeLock.Token(rawValue: UInt64(bitPattern: token)))
    }
}

private func pageCompleted(
    _ context: UnsafeMutableRawPointer?, _ word: UInt64, _ result: Int64
) {
    guard let context = unsafe context else { return }
    unsafe Unmanaged<PageTransfer>.fromOpaque(context)._withUnsafeGuaranteedRef { transfer in
        transfer.completed(result)
    }
}

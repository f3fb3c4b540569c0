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
final class CacheBacking: CacheWorld, PageTransferOwner, @unchecked Sendable {
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
        for transfer in transfers { transfer.owner = self }
    }

    /// Ends the mutual references.
    func detach() {
        for transfer in transfers { transfer.owner = nil }
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

    func ended(_ request: Int32, _ result: Int64) {
        unsafe cache?._withUnsafeGuaranteedRef { $0.ended(request, result) }
    }
}

// The page cache's world in the simulator: virtual time, the scheduler's parking, and I/O by the
// product's own transfers over simulated files.
internal import Glibc
internal import LocalIO
internal import PageCache
internal import SystemPackage
internal import Threads

/// Touched with the baton held.
@safe
final class SimulatedWorld: CacheWorld, PageTransferOwner, @unchecked Sendable {
    private let scheduler: Scheduler
    /// By the cache's slot.
    private var files: [Int32: CheckedFile] = [:]
    /// By the cache's request, with what is in flight there.
    private var transfers: [(transfer: PageTransfer, io: (PageIO, CheckedFile)?)] = []
    /// Set once; taken away when the seed ends.
    var cache: PageCache<SimulatedWorld>?

    init(scheduler: Scheduler) { self.scheduler = scheduler }

    func opened(_ file: CacheFileID, _ checked: CheckedFile) { files[file.slot] = checked }

    package func now() -> UInt64 { scheduler.clock }
    package func park(_ waiter: Int32, nanoseconds: UInt64?) {
        scheduler.park(waiter, nanoseconds: nanoseconds)
    }
    package func unpark(_ waiter: Int32) { scheduler.unpark(waiter) }
    package func reschedule() { if scheduler.oneIn(4) { scheduler.yield() } }

    package func start(_ io: PageIO) {
        guard let checked = files[io.file.slot] else {
            return scheduler.fail("I/O of a file that was never opened")
        }
        scheduler.note(
            io.isWrite ? "cache writes" : "cache reads", checked.file.number, Int(io.offset),
            io.byteCount)
        let place = Int(io.request)
        while transfers.count <= place {
            let transfer = PageTransfer()
            transfer.owner = self
            transfers.append((transfer, nil))
        }
        transfers[place].io = (io, checked)
        transfers[place].transfer.start(io, checked.file)
    }

    package func ended(_ request: Int32, _ result: Int64) {
        guard let (io, checked) = transfers[Int(request)].io, let cache else {
            return scheduler.fail("I/O ended that was not started, or ended twice")
        }
        transfers[Int(request)].io = nil
        scheduler.note("cache I/O ended", checked.file.number, Int(io.offset), Int(result))
        if io.isWrite { checked.writeEnded(io, result) }
        if result < io.byteCount { checked.file.host.troubles += 1 }
        cache.ended(request, result)
    }

    /// Ends the mutual references.
    func detach() {
        cache = nil
        for (transfer, _) in transfers { transfer.owner = nil }
        transfers = []
    }

    package func commit(_ file: CacheFileID) -> Int64 {
        guard let checked = files[file.slot] else { return -Int64(EBADF) }
        scheduler.note("cache commits", checked.file.number)
        do throws(LocalIOError) {
            try checked.file.flush()
            return 0
        } catch {
            checked.errors.commitFailed(errno: error.errno.rawValue)
            scheduler.note("commit failed", checked.file.number, Int(error.errno.rawValue))
            return -Int64(error.errno.rawValue)
        }
    }

    package func setSize(_ file: CacheFileID, _ size: UInt64) -> Int64 {
        guard let checked = files[file.slot] else { return -Int64(EBADF) }
        do throws(LocalIOError) {
            try checked.file.setSize(to: size)
            checked.errors.cut(from: (Int(size) + 4095) / 4096)
            return 0
        } catch {
            return -Int64(error.errno.rawValue)
        }
    }
}

/// A simulated file with what is known of it. Touched with the baton held.
@safe
final class CheckedFile: @unchecked Sendable {
    let file: SimulatedFile
    let model: FileModel
    let isCached: Bool
    var errors = ErrorModel()
    /// Writers in a write, and whether a truncation keeps them off (the model's bytes have one
    /// writer at a time).
    var writers = 0
    var isCutting = false
    /// Opens of the cache.
    var openCount = 0
    /// Which task may write from here on, in order of the offsets.
    var regions: [(start: Int, owner: Int)] = []

    init(file: SimulatedFile, model: FileModel, isCached: Bool) {
        self.file = file
        self.model = model
        self.isCached = isCached
    }

    func writeEnded(_ io: PageIO, _ result: Int64) {
        let first = Int(io.offset) / 4096
        if result < 0 {
            let errno = Int32(truncatingIfNeeded: -result)
            switch errno {
            case EAGAIN, EBUSY, ENOMEM, EINTR, ECANCELED, ENOBUFS: return
            default:
                let end = (Int(io.offset) + io.byteCount + 4095) / 4096
                return errors.writeFailed(first..<end, errno: errno)
            }
        }
        let isWhole = result == io.byteCount
        let end =
            isWhole ? (Int(io.offset) + io.byteCount + 4095) / 4096 : first + Int(result) / 4096
        // Of several pages the first ones are written if the write was short; of one none is.
        if isWhole || io.byteCount > 4096 { errors.written(first..<max(first, end)) }
    }
}

// What the cache knows of each frame and each file: fixed records, linked by their numbers.
internal import NFSTypes

/// No frame, file, waiter or request.
let none: Int32 = -1

/// A frame's page. A record in no file is a free frame.
struct PageRecord: BitwiseCopyable {
    /// The list that the page's links belong to.
    enum List: UInt8, BitwiseCopyable {
        case none
        /// Clean: the two queues of the eviction policy.
        case small
        case main
        /// Dirty and to be written; dirty, and its write has failed.
        case dirty
        case failed
    }

    /// Page of the file: offset / 4096.
    var index: UInt64 = 0
    var file = Int32(-1)
    /// The next page in the same bucket of the page table.
    var bucketNext = Int32(-1)
    var previous = Int32(-1)
    var next = Int32(-1)
    /// All pages of the file.
    var filePrevious = Int32(-1)
    var fileNext = Int32(-1)
    /// Threads that wait for this page, linked in the waiters' table.
    var waiters = Int32(-1)
    /// Threads that are copying out of the page.
    var readers: UInt16 = 0
    // Bytes of the page, start and one past the end. `dirty` and `sent` lie inside `valid`.
    var valid = ByteRange()
    var dirty = ByteRange()
    /// What the write in flight carries.
    var sent = ByteRange()
    /// One thread is copying into the page.
    var isLocked = false
    /// The page is being read from the file.
    var isFilling = false
    var isWriteback = false
    /// Somebody waits until the page is clean.
    var isUrgent = false
    /// Its last write failed with an error that has been counted.
    var hasFailed = false
    var list = List.none
    /// The queue to go to when clean: pages seen again soon after their eviction go to `main`.
    var home = List.small
    /// Accesses since the page entered its queue, at most 3.
    var frequency: UInt8 = 0
    /// The file's flush epoch when the page became dirty.
    var epoch: UInt64 = 0
    /// Nanoseconds.
    var dirtiedAt: UInt64 = 0
}

/// Bytes `start..<end` of a page.
struct ByteRange: BitwiseCopyable, Equatable {
    var start: UInt16 = 0
    var end: UInt16 = 0

    static let page = ByteRange(start: 0, end: UInt16(pageByteCount))

    var isEmpty: Bool { start >= end }
    var count: Int { isEmpty ? 0 : Int(end - start) }

    func contains(_ other: ByteRange) -> Bool {
        other.isEmpty || (start <= other.start && other.end <= end)
    }

    /// Whether the two together are one range without a gap.
    func touches(_ other: ByteRange) -> Bool {
        isEmpty || other.isEmpty || (other.start <= end && start <= other.end)
    }

    func hull(_ other: ByteRange) -> ByteRange {
        if isEmpty { return other }
        if other.isEmpty { return self }
        return ByteRange(start: min(start, other.start), end: max(end, other.end))
    }

    func clipped(to limit: UInt16) -> ByteRange {
        ByteRange(start: min(start, limit), end: min(end, limit))
    }
}

/// Pages in order, linked by `previous` and `next`.
struct PageList: BitwiseCopyable {
    var head = Int32(-1)
    var tail = Int32(-1)
    var count = 0

    var isEmpty: Bool { head == none }

    mutating func append(_ frame: Int32, _ pages: borrowing FixedArray<PageRecord>) {
        insert(frame, after: tail, pages)
    }

    mutating func prepend(_ frame: Int32, _ pages: borrowing FixedArray<PageRecord>) {
        insert(frame, after: none, pages)
    }

    /// Inserts behind `other`, or at the head if that is `none`.
    mutating func insert(
        _ frame: Int32, after other: Int32, _ pages: borrowing FixedArray<PageRecord>
    ) {
        let following = other == none ? head : pages[other].next
        pages[frame].previous = other
        pages[frame].next = following
        if other == none { head = frame } else { pages[other].next = frame }
        if following == none { tail = frame } else { pages[following].previous = frame }
        count += 1
    }

    mutating func remove(_ frame: Int32, _ pages: borrowing FixedArray<PageRecord>) {
        let (previous, next) = (pages[frame].previous, pages[frame].next)
        if previous == none { head = next } else { pages[previous].next = next }
        if next == none { tail = previous } else { pages[next].previous = previous }
        pages[frame].previous = none
        pages[frame].next = none
        count -= 1
    }
}

/// A file that is open or has pages.
struct FileRecord: BitwiseCopyable {
    /// The owner's name for it; 0: the record is free.
    var key: UInt64 = 0
    var generation: UInt32 = 0
    var openCount = 0
    /// Bytes, what is dirty included.
    var size: UInt64 = 0
    /// `CacheState.changes` when this client last changed it.
    var changedAt: UInt64 = 0
    var stamp = StampWords()
    var firstPage = Int32(-1)
    var pageCount = 0
    var dirty = PageList()
    var failed = PageList()
    /// Pages and requests in writeback.
    var writebackPages = 0
    var requestsInFlight = 0
    /// Flushes begun; pages remember it from when they became dirty.
    var epoch: UInt64 = 1
    /// Threads in a flush that waits, and pages that somebody waits for.
    var flushers = 0
    var urgentPages = 0
    /// Counts reported kinds of failure; an opener compares it with what it has seen.
    var errorSequence: UInt64 = 0
    var lastErrno: Int32 = 0
    /// When the oldest failure that is still held happened; 0: none.
    var failedSince: UInt64 = 0
    /// Failed bytes may be given up after `errorHold` (no room), or never (no server).
    var mayDrop = false
    /// Not before this time, after a failure for a moment.
    var retryAt: UInt64 = 0
    var backOff: UInt64 = 0
    /// When what failed is tried again.
    var retryFailedAt: UInt64 = 0
    /// A truncation keeps everybody else out.
    var isExclusive = false
    var waiters = Int32(-1)
    var commitsStarted: UInt64 = 0
    var commitsDone: UInt64 = 0
    var isCommitting = false
    /// The result of the newest commits that have ended.
    var commitErrno: Int32 = 0
    /// The newest commit that failed.
    var commitFailed: UInt64 = 0
    /// Written since the last successful commit began.
    var needsCommit = false
    /// Written or cut by this cache since the stamp was taken: the file's new times are its own
    /// doing.
    var hasOwnChanges = false
    // The ring of files with dirty pages, and the list of closed files.
    var isInRing = false
    var ringPrevious = Int32(-1)
    var ringNext = Int32(-1)
    var closedAt: UInt64 = 0
}

/// `FileStamp` as trivial words.
struct StampWords: BitwiseCopyable, Equatable {
    var size: UInt64 = 0
    var modify: UInt64 = 0
    var change: UInt64 = 0

    init() {}
    init(_ stamp: FileStamp) {
        size = stamp.size
        modify = UInt64(stamp.modifyTime.seconds) << 32 | UInt64(stamp.modifyTime.nanoseconds)
        change = UInt64(stamp.changeTime.seconds) << 32 | UInt64(stamp.changeTime.nanoseconds)
    }
}

/// A read or write of neighbouring frames.
struct RequestRecord: BitwiseCopyable {
    var file = Int32(-1)
    var frame = Int32(-1)
    /// Frames.
    var count: Int32 = 0
    var isWrite = false
    var isSync = false
    var isInUse = false
    var offset: UInt64 = 0
    var byteCount = 0
    /// Where in the first frame the bytes start.
    var skip: UInt16 = 0
    /// The oldest epoch among its pages.
    var epoch: UInt64 = 0
    /// The next free or startable request.
    var next = Int32(-1)
}

/// A thread that waits.
struct WaiterRecord: BitwiseCopyable {
    var next = Int32(-1)
    /// The errno of the read that it waited for, or 0.
    var errno: Int32 = 0
    /// On a list, and not to go on yet.
    var isQueued = false
}

// Everything the cache knows, behind its one lock: pages, files, requests, waiters, and the few
// moves that the rest is made of. Nothing here waits, does I/O or allocates.

/// The state of a `PageCache`. One thread at a time, by the cache's lock.
struct CacheState: ~Copyable {
    let configuration: PageCacheConfiguration
    let pages: FixedArray<PageRecord>
    let files: FixedArray<FileRecord>
    let requests: FixedArray<RequestRecord>
    let waiters: FixedArray<WaiterRecord>
    private let buckets: FixedArray<Int32>
    var map: FrameMap
    var policy: EvictionPolicy
    var throttle: DirtyThrottle
    var statistics = CacheStatistics()

    private var freeRequest = none
    private var freeWaiter = none
    /// Requests to hand to the world, oldest first.
    private var startHead = none
    private var startTail = none
    /// Waiters to unpark.
    private var wokenHead = none

    /// Files with dirty pages, in turn.
    var ringHead = none
    /// Threads that wait for a free frame, for fewer dirty pages, for a free request.
    var frameWaiters = none
    var limitWaiters = none
    var requestWaiters = none

    var dirtyPages = 0
    var failedPages = 0
    var writebackPages = 0
    var readsInFlight = 0
    var writesInFlight = 0
    var writeBytesInFlight = 0
    /// Files in a flush that waits or with an urgent page.
    var hurriedFiles = 0
    /// The two files that were flushed last, and when.
    var latestFlushes = ((file: none, time: UInt64(0)), (file: none, time: UInt64(0)))
    /// The largest write for now: halved while the world is short of memory.
    var currentRequestPages: Int
    /// Writers seen lately, for sharing the drain rate.
    var activeWriters = 0
    var flusherSleeps = false
    var wakesFlusher = false
    var isStopped = false
    /// Counts writes and truncations of this client.
    var changes: UInt64 = 0
    var clock: UInt64 = 0

    init(_ configuration: PageCacheConfiguration) {
        self.configuration = configuration
        let frameCount = configuration.frameCount
        var bucketCount = 64
        while bucketCount < frameCount * 2 { bucketCount *= 2 }
        pages = FixedArray(PageRecord(), count: frameCount)
        files = FixedArray(FileRecord(), count: max(configuration.files, 1))
        requests = FixedArray(RequestRecord(), count: max(configuration.requests, 4))
        waiters = FixedArray(WaiterRecord(), count: max(configuration.waiters, 2))
        buckets = FixedArray(none, count: bucketCount)
        map = FrameMap(frameCount: frameCount)
        policy = EvictionPolicy(frameCount: frameCount)
        throttle = DirtyThrottle(
            backgroundPages: configuration.backgroundPages, hardPages: configuration.hardPages)
        currentRequestPages = configuration.maximumRequestPages
        for index in 0..<Int32(requests.count) {
            requests[index].next = freeRequest
            freeRequest = index
        }
        // Waiter 0 is the flusher's.
        for index in 1..<Int32(waiters.count) {
            waiters[index].next = freeWaiter
            freeWaiter = index
        }
        statistics.memoryLocked =
            pages.lock() && files.lock() && requests.lock() && waiters.lock() && buckets.lock()
    }

    /// Pages that are not on stable storage and not yet on their way there, and those that are.
    var unwrittenPages: Int { dirtyPages + failedPages + writebackPages }

    // MARK: - The page table

    private static func hash(_ file: Int32, _ index: UInt64) -> UInt64 {
        var word = index &* 0x9E37_79B9_7F4A_7C15 ^ (UInt64(UInt32(bitPattern: file)) << 40)
        word = (word ^ (word >> 31)) &* 0xD6E8_FEB8_6659_FD93
        return word ^ (word >> 32)
    }

    private func bucket(_ hash: UInt64) -> Int32 {
        Int32(truncatingIfNeeded: hash & UInt64(buckets.count - 1))
    }

    /// The frame that holds a page, or `none`.
    func lookUp(_ file: Int32, _ index: UInt64) -> Int32 {
        var frame = buckets[bucket(Self.hash(file, index))]
        while frame != none, pages[frame].index != index || pages[frame].file != file {
            frame = pages[frame].bucketNext
        }
        return frame
    }

    /// A frame for a page that is not there, clean and in no queue yet; `none` if every frame is
    /// in use.
    mutating func addPage(_ file: Int32, _ index: UInt64, near: Int32) -> Int32 {
        if map.freeCount == 0 { evict(64) }
        guard let frame = map.allocate(near: near) else { return none }
        let hash = Self.hash(file, index)
        pages[frame] = PageRecord()
        pages[frame].file = file
        pages[frame].index = index
        pages[frame].home = policy.home(hash: hash)
        let bucket = bucket(hash)
        pages[frame].bucketNext = buckets[bucket]
        buckets[bucket] = frame
        let first = files[file].firstPage
        pages[frame].fileNext = first
        if first != none { pages[first].filePrevious = frame }
        files[file].firstPage = frame
        files.update(file) { $0.pageCount += 1 }
        return frame
    }

    /// Takes a page that is in no list and in nobody's hands out of the cache.
    mutating func removePage(_ frame: Int32) {
        let page = pages[frame]
        let bucket = bucket(Self.hash(page.file, page.index))
        if buckets[bucket] == frame {
            buckets[bucket] = page.bucketNext
        } else {
            var other = buckets[bucket]
            while other != none, pages[other].bucketNext != frame {
                other = pages[other].bucketNext
            }
            if other != none { pages[other].bucketNext = page.bucketNext }
        }
        if page.filePrevious == none {
            files[page.file].firstPage = page.fileNext
        } else {
            pages[page.filePrevious].fileNext = page.fileNext
        }
        if page.fileNext != none { pages[page.fileNext].filePrevious = page.filePrevious }
        files.update(page.file) { $0.pageCount -= 1 }
        wakePage(frame)
        pages[frame].file = none
        map.free(frame)
        wakeFrameWaiters()
    }

    private mutating func evict(_ count: Int) {
        for _ in 0..<count {
            guard let frame = policy.victim(pages, hash: Self.hash)
            else { break }
            statistics.evictions += 1
            removePage(frame)
        }
        // Nothing clean is left: cleaning pages is urgent now.
        if map.freeCount == 0 { wakesFlusher = true }
    }

    /// Whether so many frames are dirty that new pages will soon find none.
    var isShortOfFrames: Bool {
        map.freeCount + policy.count < max(configuration.frameCount / 8, 16)
    }

    // MARK: - Waiting

    /// Puts the calling thread on a list of waiters; `none` if too many wait already.
    mutating func enlist(_ list: inout Int32) -> Int32 {
        let waiter = takeWaiter()
        if waiter != none {
            waiters[waiter].next = list
            waiters[waiter].isQueued = true
            list = waiter
        }
        return waiter
    }

    mutating func enlist(onPage frame: Int32) -> Int32 {
        var list = pages[frame].waiters
        let waiter = enlist(&list)
        pages[frame].waiters = list
        return waiter
    }

    mutating func enlist(onFile file: Int32) -> Int32 {
        var list = files[file].waiters
        let waiter = enlist(&list)
        files[file].waiters = list
        return waiter
    }

    mutating func enlistForFrame() -> Int32 {
        var list = frameWaiters
        defer { frameWaiters = list }
        return enlist(&list)
    }

    mutating func enlistForLimit() -> Int32 {
        var list = limitWaiters
        defer { limitWaiters = list }
        return enlist(&list)
    }

    mutating func enlistForRequest() -> Int32 {
        var list = requestWaiters
        defer { requestWaiters = list }
        return enlist(&list)
    }

    mutating func takeWaiter() -> Int32 {
        let waiter = freeWaiter
        guard waiter != none else { return none }
        freeWaiter = waiters[waiter].next
        waiters[waiter] = WaiterRecord()
        return waiter
    }

    mutating func giveBack(waiter: Int32) {
        waiters[waiter].next = freeWaiter
        freeWaiter = waiter
    }

    /// Moves all of a list to those to be unparked.
    private mutating func wake(list: Int32, errno: Int32 = 0) {
        var waiter = list
        while waiter != none {
            let next = waiters[waiter].next
            waiters[waiter].errno = errno
            waiters[waiter].next = wokenHead
            wokenHead = waiter
            waiter = next
        }
    }

    mutating func wakePage(_ frame: Int32, errno: Int32 = 0) {
        wake(list: pages[frame].waiters, errno: errno)
        pages[frame].waiters = none
    }

    mutating func wakeFile(_ file: Int32) {
        wake(list: files[file].waiters)
        files[file].waiters = none
    }

    mutating func wakeFrameWaiters() {
        wake(list: frameWaiters)
        frameWaiters = none
    }

    mutating func wakeLimitWaiters() {
        wake(list: limitWaiters)
        limitWaiters = none
    }

    private mutating func wakeRequestWaiters() {
        wake(list: requestWaiters)
        requestWaiters = none
    }

    /// The next thread to unpark, or `none`.
    mutating func takeWoken() -> Int32 {
        let waiter = wokenHead
        guard waiter != none else { return none }
        wokenHead = waiters[waiter].next
        waiters[waiter].isQueued = false
        return waiter
    }

    var hasWoken: Bool { wokenHead != none }
    var hasStartable: Bool { startHead != none }

    // MARK: - Requests

    var hasFreeRequest: Bool { freeRequest != none }

    /// Reads leave a quarter of the requests to writeback, which frees the memory reads want.
    var mayStartRead: Bool {
        freeRequest != none && readsInFlight < max(requests.count * 3 / 4, 1)
    }

    mutating func takeRequest(_ record: RequestRecord) -> Int32 {
        let request = freeRequest
        freeRequest = requests[request].next
        requests[request] = record
        requests[request].isInUse = true
        requests[request].next = none
        if startTail == none { startHead = request } else { requests[startTail].next = request }
        startTail = request
        return request
    }

    mutating func takeStartable() -> Int32 {
        let request = startHead
        guard request != none else { return none }
        startHead = requests[request].next
        if startHead == none { startTail = none }
        requests[request].next = none
        return request
    }

    mutating func giveBack(request: Int32) {
        requests[request] = RequestRecord()
        requests[request].next = freeRequest
        freeRequest = request
        wakeRequestWaiters()
    }
}

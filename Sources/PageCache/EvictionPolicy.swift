// Which clean page goes first: S3-FIFO (Yang et al., "FIFO queues are all you need for cache
// eviction", SOSP 2023). A small queue takes new pages and lets most of them go quickly, so that a
// scan does not empty the main queue; a page that returns soon after goes to the main queue.

/// The hash of a page that was evicted, and when. Not private: the compiler (6.3) loses the type of
/// a generic's private argument across files.
struct Ghost: BitwiseCopyable {
    var tag: UInt64 = 0
    var time: UInt64 = 0
}

/// The two queues, and a lossy memory of what has left the small one.
struct EvictionPolicy: ~Copyable {
    private(set) var small = PageList()
    private(set) var main = PageList()
    private let ghosts: FixedArray<Ghost>
    private var clock: UInt64 = 0
    private let smallTarget: Int
    private let memory: UInt64

    init(frameCount: Int) {
        smallTarget = max(frameCount / 10, 1)
        memory = UInt64(frameCount)
        var ghostCount = 64
        while ghostCount < frameCount { ghostCount *= 2 }
        ghosts = FixedArray(Ghost(), count: ghostCount)
    }

    var count: Int { small.count + main.count }

    /// The queue for a page that was not in the cache.
    borrowing func home(hash: UInt64) -> PageRecord.List {
        let ghost = ghosts[slot(hash)]
        return ghost.tag == hash && clock &- ghost.time < memory && ghost.time > 0
            ? .main : .small
    }

    /// A page has become clean.
    mutating func insert(_ frame: Int32, _ pages: borrowing FixedArray<PageRecord>) {
        pages[frame].list = pages[frame].home
        if pages[frame].home == .main {
            main.append(frame, pages)
        } else {
            small.append(frame, pages)
        }
    }

    /// A page is no longer clean, or no longer there.
    mutating func remove(_ frame: Int32, _ pages: borrowing FixedArray<PageRecord>) {
        switch pages[frame].list {
        case .small: small.remove(frame, pages)
        case .main: main.remove(frame, pages)
        case .none, .dirty, .failed: return
        }
        pages[frame].list = .none
    }

    /// Takes the page that is to go out of its queue; nil if every clean page is in use.
    mutating func victim(
        _ pages: borrowing FixedArray<PageRecord>, hash: (Int32, UInt64) -> UInt64
    ) -> Int32? {
        // Every pass either frees a page or takes one from a frequency of at most 3.
        var attempts = count * 4 + 4
        while attempts > 0 {
            attempts -= 1
            if small.count > smallTarget || main.isEmpty, !small.isEmpty {
                let frame = small.head
                if Self.isBusy(pages[frame]) {
                    small.remove(frame, pages)
                    small.append(frame, pages)
                    continue
                }
                small.remove(frame, pages)
                if pages[frame].frequency > 1 {
                    pages[frame].frequency = 0
                    pages[frame].home = .main
                    insert(frame, pages)
                    continue
                }
                pages[frame].list = .none
                remember(hash(pages[frame].file, pages[frame].index))
                return frame
            }
            guard !main.isEmpty else { return nil }
            let frame = main.head
            main.remove(frame, pages)
            if pages[frame].frequency > 0 || Self.isBusy(pages[frame]) {
                if pages[frame].frequency > 0 { pages[frame].frequency -= 1 }
                main.append(frame, pages)
                continue
            }
            pages[frame].list = .none
            return frame
        }
        return nil
    }

    private static func isBusy(_ page: PageRecord) -> Bool {
        page.readers > 0 || page.isLocked || page.isFilling || page.isWriteback
    }

    private mutating func remember(_ hash: UInt64) {
        clock &+= 1
        ghosts[slot(hash)] = Ghost(tag: hash, time: clock)
    }

    private borrowing func slot(_ hash: UInt64) -> Int32 {
        Int32(truncatingIfNeeded: (hash >> 20) & UInt64(ghosts.count - 1))
    }
}

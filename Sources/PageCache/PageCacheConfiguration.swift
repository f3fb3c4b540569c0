// How much the page cache may hold, and when it writes.

/// Sizes in bytes, times in nanoseconds. Everything is allocated at start from these numbers.
package struct PageCacheConfiguration: Hashable, Sendable {
    /// A fault planted for the simulator to find; nothing else sets one.
    package enum Canary: String, CaseIterable, Hashable, Sendable {
        case none
        /// Queues dirty pages without setting writeback first.
        case skipsWriteback
        /// Forgets that a page whose write failed is still dirty.
        case dropsRedirty
    }

    /// The pages' memory.
    package var byteCount = 64 << 20
    /// The largest single write or read.
    package var maximumRequestByteCount = 1 << 20
    /// Requests in flight at once; reads leave a quarter of them to writes.
    package var requests = 64
    /// Files that have pages or are open.
    package var files = 1024
    /// Threads that may wait at once.
    package var waiters = 1024
    /// Dirty bytes from which writeback starts by itself; nil: a quarter of the memory.
    package var backgroundByteCount: Int?
    /// Dirty bytes at which writers stop; nil: six tenths of the memory.
    package var hardByteCount: Int?
    /// A page dirty for so long is written whatever the load.
    package var dirtyAge: UInt64 = 5_000_000_000
    /// How long bytes that the file system had no room for stay, to be tried again.
    package var errorHold: UInt64 = 30_000_000_000
    /// How much unasked-for writeback may be in flight while other files are flushed, as time at
    /// the measured drain rate. An fsync waits for it more than once: for its data, for the
    /// journal, for the device's cache.
    package var latencyTarget: UInt64 = 5_000_000
    /// The same while nobody flushes anything: a deep queue is a fast one.
    package var quietLatencyTarget: UInt64 = 160_000_000
    /// Writers wait for a page in writeback instead of changing it under the device: RAID, zram
    /// and checksumming file systems read a page twice.
    package var stablePages = true
    /// Bytes read ahead of a sequential reader at most.
    package var readAheadByteCount = 8 << 20
    package var canary = Canary.none

    package init() {}

    var frameCount: Int { max(byteCount / pageByteCount, 64) }
    var backgroundPages: Int {
        max((backgroundByteCount ?? frameCount * pageByteCount / 4) / pageByteCount, 1)
    }
    var hardPages: Int {
        let wanted = (hardByteCount ?? frameCount * pageByteCount / 10 * 6) / pageByteCount
        return min(max(wanted, backgroundPages + 1, 8), frameCount * 9 / 10)
    }
    var maximumRequestPages: Int {
        min(max(maximumRequestByteCount / pageByteCount, 1), frameCount / 4)
    }
}

/// The unit of caching and of direct I/O to a page (SegmentPlan cuts at the same borders).
package let pageByteCount = 4096

/// Counts since the cache was made, and what it holds now.
public struct CacheStatistics: Hashable, Sendable {
    /// Pages found with the bytes that a read wanted.
    public var hits: UInt64 = 0
    /// Pages that a read had to wait for.
    public var misses: UInt64 = 0
    /// Pages read ahead of a sequential reader.
    public var readAhead: UInt64 = 0
    public var evictions: UInt64 = 0
    /// Bytes held in pages.
    public var cachedBytes = 0
    /// Bytes of pages that wait to be written, and of those being written.
    public var dirtyBytes = 0
    public var writebackBytes = 0
    /// Bytes and requests that writeback has completed.
    public var writtenBytes: UInt64 = 0
    public var writtenRequests: UInt64 = 0
    /// Writes that failed for a moment and were queued again.
    public var redirtied: UInt64 = 0
    /// Writes that failed with an error that an fsync or close reports.
    public var writeErrors: UInt64 = 0
    /// Bytes given up after their error had been held and reported.
    public var droppedBytes: UInt64 = 0
    /// Nanoseconds that writers were slowed, and how often they met the hard limit.
    public var throttledNanoseconds: UInt64 = 0
    public var hardStops: UInt64 = 0
    /// Commits done, and fsyncs that shared another's.
    public var commits: UInt64 = 0
    public var sharedCommits: UInt64 = 0
    /// The measured rate at which dirty bytes drain, bytes a second.
    public var drainRate: UInt64 = 0
    /// Whether the pages are locked in memory.
    public var memoryLocked = false
}

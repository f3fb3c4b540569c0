// What the cache needs of the world around it: time, waiting, and somebody who does the I/O.
package import NFSTypes

/// A file in the cache's table. Stale numbers are noticed by their generation.
package struct CacheFileID: Hashable, Sendable {
    package let slot: Int32
    package let generation: UInt32

    package init(slot: Int32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// One read or write of whole frames on its way.
@safe
package struct PageIO: @unchecked Sendable {
    /// What `PageCache.ended` is to be called with.
    package let request: Int32
    package let file: CacheFileID
    package let isWrite: Bool
    /// Bytes from the start of the file.
    package let offset: UInt64
    /// In the cache's memory; page-aligned if `offset` is.
    package let address: UnsafeMutableRawPointer
    package let byteCount: Int
    /// Somebody waits for it in a flush.
    package let isSync: Bool

    package init(
        request: Int32, file: CacheFileID, isWrite: Bool, offset: UInt64,
        address: UnsafeMutableRawPointer, byteCount: Int, isSync: Bool
    ) {
        self.request = request
        self.file = file
        self.isWrite = isWrite
        self.offset = offset
        unsafe self.address = unsafe address
        self.byteCount = byteCount
        self.isSync = isSync
    }
}

/// Time, waiting and I/O, so that the same cache runs over real files and under the simulator.
///
/// The cache holds no lock of its own when it calls any of these.
package protocol CacheWorld: AnyObject, Sendable {
    /// Monotonic nanoseconds.
    func now() -> UInt64
    /// Suspends the calling thread until `unpark(waiter)`, which may have come before, or until
    /// `nanoseconds` have passed. Spurious returns are fine.
    func park(_ waiter: Int32, nanoseconds: UInt64?)
    func unpark(_ waiter: Int32)
    /// A point between two critical sections where other threads may run.
    func reschedule()
    /// Starts a read or write without waiting for anything. `PageCache.ended` is called exactly
    /// once for it, possibly before this returns, with bytes moved or a negative errno.
    func start(_ io: PageIO)
    /// Makes everything written so far durable, by whichever road; blocks.
    /// - Returns: 0 or a negative errno.
    func commit(_ file: CacheFileID) -> Int64
    /// Sets the size in bytes; blocks. None of the file's pages is in flight.
    /// - Returns: 0 or a negative errno.
    func setSize(_ file: CacheFileID, _ size: UInt64) -> Int64
}

/// What an open compares to know whether the file is still what the cache holds of it
/// (close-to-open: RFC 1813, section 4.11, and fs/nfs/inode.c).
package struct FileStamp: Hashable, Sendable {
    package var size: UInt64
    package var modifyTime: FileTime
    package var changeTime: FileTime

    package init(size: UInt64, modifyTime: FileTime, changeTime: FileTime) {
        self.size = size
        self.modifyTime = modifyTime
        self.changeTime = changeTime
    }
}

/// Why a cached operation failed.
package struct CacheError: Error, Hashable, Sendable {
    package let errno: Int32
    package init(errno: Int32) { self.errno = errno }
}

/// What one opener of a file remembers between its calls.
///
/// One thread at a time; the cache itself may be used by many.
package struct CacheOpenState: Sendable {
    /// The file's error sequence when this opener last looked (lib/errseq.c's idea).
    var seenErrors: UInt64
    var readAhead = ReadAhead()
    /// Pages dirtied that this opener has not yet been slowed for.
    var unpaidPages = 0

    /// Takes over what a call with a copy of this has learned.
    package mutating func merge(_ copy: CacheOpenState) {
        seenErrors = max(seenErrors, copy.seenErrors)
        readAhead = copy.readAhead
        unpaidPages = copy.unpaidPages
    }
}

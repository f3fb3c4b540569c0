// What transfers and commits need of the open file they work for: its road, the local queue, the
// server's procedures. An open file of a client is one; the simulator's is the other.
package import DirectIO
package import Logging
package import NFSClient
package import NFSTypes

/// An open file as `Transfer`, `SegmentRun` and the commit path see it.
///
/// The fast road (an aligned I/O of a channel or of a blocking call) knows the concrete file and
/// never comes through here. Any thread may call anything; completions come exactly once, on any
/// thread, possibly before the call has returned, and must not wait. Nothing here may wait except
/// what says so. Offsets and counts are bytes; local results are bytes or a negative errno.
package protocol TransferFile: AnyObject, Sendable {
    var path: String { get }
    var access: AccessMode { get }
    /// What all opens of the file share.
    var state: FileState { get }
    var misalignment: MisalignmentPolicy { get }
    /// Whether misaligned reads that follow one another go through the page cache.
    var readsAhead: Bool { get }
    var budget: UncommittedBudget { get }
    var logger: Logger { get }

    /// Where a segment goes right now. Waits if no I/O has asked before: whoever starts one sees
    /// to it.
    func route() -> Route
    /// Whether that is known, so that asking does not wait.
    var hasRoute: Bool { get }
    /// New I/O takes this road from now on; what is in flight ends on its own.
    func setRoute(_ route: Route)

    // MARK: the local road

    /// Queues an operation on the local file; false if the queue is full: then the completion
    /// will not be called.
    func enqueue(_ operation: IOOperation, _ completion: IOCompletion) -> Bool
    /// Aligned memory for bounced I/O; nil if there is none at all.
    var bouncePool: BufferPool? { get }
    /// Whether buffered edges ask the kernel to drop their pages (RWF_DONTCACHE).
    var usesDontCache: Bool { get }
    func dontCacheIsRefused()
    /// fdatasync(2); waits.
    func syncLocal(_ local: LocalFile) -> Int64
    /// statx(2): the attributes at this moment, or nil if it failed.
    func localAttributes(_ local: LocalFile) -> FileAttributes?

    // MARK: the RPC road

    /// READ; the memory belongs to the call until its completion.
    func readRemote(
        offset: UInt64, into target: UnsafeMutableRawBufferPointer,
        completion: @escaping @Sendable (Result<ReadReply, RPCError>) -> Void)
    /// WRITE, all of it or an error; the memory belongs to the call until its completion.
    func writeRemote(
        offset: UInt64, from source: UnsafeRawBufferPointer, stable: StableHow,
        completion: @escaping @Sendable (Result<WriteReply, RPCError>) -> Void)
    /// SETATTR of the modify time, which makes a server that caches attributes look again.
    func touchRemote(completion: @escaping @Sendable (Result<Void, RPCError>) -> Void)
    /// COMMIT of the whole file; waits.
    func commitRemote() throws(RPCError) -> CommitReply
    /// GETATTR; waits.
    func remoteAttributes() throws(RPCError) -> FileAttributes
    /// SETATTR; waits.
    func setRemoteAttributes(_ attributes: SetAttributes) throws(RPCError)

    // MARK: bookkeeping and other threads

    func fallBack(_ reason: FallbackReason)
    /// A segment has ended well; `started` is `clinux_monotonic_nanoseconds` of its transfer.
    func record(_ road: Statistics.Road, byteCount: Int, started: UInt64)
    func countResentWrite()
    /// A local read was copied from the kernel's page cache.
    func countCachedRead()
    /// A fault planted for the simulator to find: segments that go through the server's page
    /// cache do not keep direct I/O off their pages. False everywhere else.
    var sharesPages: Bool { get }
    /// Runs work that waits on a control thread; false if there is none any more.
    func runControlWork(_ work: @escaping @Sendable () -> Void) -> Bool
    /// The same on a commit thread.
    func runCommitWork(_ work: @escaping @Sendable () -> Void) -> Bool
}

extension TransferFile {
    package var hasRoute: Bool { true }
    package var readsAhead: Bool { true }
    package var sharesPages: Bool { false }
    package func countCachedRead() {}
}

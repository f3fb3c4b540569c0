// Many reads and writes in flight from one thread: submitted inline by their caller, reaped by
// their caller, with no hand-off to another thread on the local road.
internal import Glibc
internal import SystemPackage

/// A caller-owned queue of reads and writes, in the manner of one io_uring.
///
/// One thread at a time uses a channel, and after the first submission only that thread; make
/// one per thread. Up to `depth` I/Os are in flight; a full channel answers `.busy`. Memory
/// handed to a submission belongs to it until its token has been reaped. On the local road an
/// aligned I/O allocates nothing.
///
/// A submission holds its pages of the file until its token is reaped: reap what is in flight
/// before the same thread commits, truncates, appends to or closes the file, and keep reaping
/// while others use it. Dropping the channel waits for what is in flight; drop it before the
/// client closes.
@safe
public struct IOChannel: ~Copyable {
    /// What became of a submission.
    public enum Submission: Sendable, Hashable {
        /// In flight; its token will be reaped.
        case queued
        /// `depth` I/Os are in flight already: reap first. Nothing was started.
        case busy
    }

    private let core: UnsafeMutablePointer<ChannelCore>
    /// The most I/Os in flight.
    public let depth: Int

    /// - Parameter depth: 1 to 4096.
    /// - Throws: `.usage` for another depth, `.local` if the system has no ring to give.
    public init(client: LocalIOClient, depth: Int) throws(LocalIOError) {
        guard (1...4096).contains(depth) else {
            throw LocalIOError(
                .usage, errno: EINVAL, "channel depth \(depth): must be 1 to 4096")
        }
        let made: ChannelCore
        do throws(Errno) {
            made = try ChannelCore(client: client, depth: depth)
        } catch {
            throw LocalIOError(
                .local, errno: error.rawValue, "a channel of depth \(depth): \(error)")
        }
        self.depth = depth
        unsafe core = .allocate(capacity: 1)
        unsafe core.initialize(to: made)
    }

    deinit {
        while unsafe core.pointee.inFlight > 0 {
            _ = unsafe core.pointee.reap(minimum: 1, timeout: nil) { _, _ in }
        }
        unsafe core.deinitialize(count: 1)
        unsafe core.deallocate()
    }

    /// I/Os submitted and not yet reaped.
    public var inFlight: Int { unsafe core.pointee.inFlight }

    /// Starts a read into `buffer` from `offset`; it goes out at the next `flush` or `reap`.
    /// A file's first I/O opens its local file, and waits for that.
    public mutating func submitRead(
        _ file: LocalIOFile, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64,
        token: UInt64
    ) -> Submission {
        unsafe core.pointee.submit(file, false, buffer.baseAddress, buffer.count, offset, token)
    }

    /// Starts a write of `buffer` at `offset`; it goes out at the next `flush` or `reap`.
    public mutating func submitWrite(
        _ file: LocalIOFile, from buffer: UnsafeRawBufferPointer, at offset: UInt64,
        token: UInt64
    ) -> Submission {
        unsafe core.pointee.submit(
            file, true, UnsafeMutableRawPointer(mutating: buffer.baseAddress), buffer.count,
            offset, token)
    }

    /// Sends everything submitted so far on its way, with one system call.
    public mutating func flush() { unsafe core.pointee.flush() }

    /// Delivers completed I/Os, after flushing; sleeps until there are `minimum` of them. At a
    /// great depth it may leave some that are complete for the next call, so that the caller's
    /// next I/Os keep the device busy.
    ///
    /// - Parameters:
    ///   - minimum: 0 to look without sleeping; more than are in flight counts as all of them.
    ///   - timeout: nil to wait as long as it takes.
    ///   - body: gets each token with the bytes moved or a negative errno. It must not use the
    ///     channel.
    /// - Returns: how many were delivered.
    @discardableResult
    public mutating func reap(
        minimum: Int, timeout: Duration? = nil,
        _ body: (_ token: UInt64, _ result: Int64) -> Void
    ) -> Int {
        unsafe core.pointee.reap(minimum: minimum, timeout: timeout, body)
    }
}

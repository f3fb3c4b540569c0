// Front-end I/O: submitted by the thread that waits for it, many in flight, without blocking.
package import SystemPackage

/// A caller's own queue: its ring, its table of requests, its mailbox. One thread at a time
/// may use it, and once it was used, only that thread.
///
/// Each operation is first tried so that it cannot block; what the kernel refuses with EAGAIN
/// goes to the engine's queue and comes back through the mailbox. Nothing is allocated per I/O.
/// Where io_uring is refused, everything goes by the engine.
@safe
package struct InlineQueue: ~Copyable, @unchecked Sendable {
    package enum Submission: Hashable, Sendable {
        case queued
        /// The table (or the engine's queue) is full: reap first.
        case busy
    }

    private let core: UnsafeMutablePointer<InlineCore>
    /// Where other threads hand results to `reap`.
    package let mailbox: CompletionMailbox

    /// - Parameters:
    ///   - depth: requests in flight.
    ///   - mailboxCapacity: results from other threads not yet reaped, besides those requests.
    /// - Throws: EMFILE or ENOMEM.
    package init(engine: IOEngine, depth: Int, mailboxCapacity: Int = 256) throws(Errno) {
        let depth = min(max(depth, 1), 4096)
        guard let mailbox = CompletionMailbox(capacity: depth + max(mailboxCapacity, 1)) else {
            throw Errno.tooManyOpenFiles
        }
        guard let table = RequestTable(capacity: depth) else { throw Errno.noMemory }
        self.mailbox = mailbox
        unsafe core = .allocate(capacity: 1)
        unsafe core.initialize(to: InlineCore(engine: engine, mailbox: mailbox, table: table))
    }

    /// Waits for what is in flight, whose memory must live until then.
    deinit {
        var never = Deadline(nil)
        while unsafe core.pointee.inFlight > 0 {
            _ = unsafe core.pointee.reap(minimum: 1, deadline: &never) { _, _ in }
        }
        unsafe core.deinitialize(count: 1)
        unsafe core.deallocate()
    }

    /// Requests submitted and not yet reaped.
    package var inFlight: Int { unsafe core.pointee.inFlight }

    /// Operations of this queue go by its own ring, not by the engine's threads.
    package var usesRing: Bool { unsafe core.pointee.usesRing }

    /// The engine's pool is registered with this queue's ring (known after the first use).
    package var buffersRegistered: Bool { unsafe core.pointee.registered }

    /// Takes an operation; the kernel sees it at the next `flush` or `reap`.
    /// - Parameter token: comes back with the result in `reap`.
    package mutating func submit(_ operation: IOOperation, token: UInt64) -> Submission {
        unsafe core.pointee.submit(operation, token: token)
    }

    /// Shows everything submitted to the kernel, in one system call.
    package mutating func flush() { unsafe core.pointee.flush() }

    /// Flushes, waits until `minimum` results are there or `timeout` has passed, and gives results
    /// (bytes or a negative errno) to `body`: of this queue's requests and of the mailbox; at a
    /// great depth not always all that are there, so that the device has work meanwhile. Waits for
    /// ever if nothing is in flight and nobody posts.
    /// - Returns: how many results there were.
    @discardableResult
    package mutating func reap(
        minimum: Int, timeout: Duration? = nil, _ body: (_ token: UInt64, _ result: Int64) -> Void
    ) -> Int {
        var deadline = Deadline(timeout)
        return reap(minimum: minimum, deadline: &deadline, body)
    }

    /// The same for one of several sleeps until one end.
    package mutating func reap(
        minimum: Int, deadline: inout Deadline, _ body: (_ token: UInt64, _ result: Int64) -> Void
    ) -> Int {
        unsafe core.pointee.reap(minimum: minimum, deadline: &deadline, body)
    }

    /// Tries to cancel the requests with this token; they still complete, with -ECANCELED or
    /// with their result, and own their memory until then.
    package mutating func cancel(token: UInt64) { unsafe core.pointee.cancel(token: token) }
}

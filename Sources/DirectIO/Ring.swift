// One io_uring, as close to liburing as Swift can be: the engine's tool and the bench's raw road.
internal import CUring
package import SystemPackage

/// A completion as the kernel gave it.
package struct RingCompletion: Sendable {
    package var userData: UInt64
    /// Bytes or a negative errno.
    package var result: Int32
    /// A multishot request stays armed.
    package var more: Bool
}

/// An io_uring with one owner. Nothing is allocated per I/O.
///
/// Make it anywhere, call `start` on the thread that will use it, and use it only there.
@safe
package struct Ring: ~Copyable, @unchecked Sendable {
    private let handle: OpaquePointer

    /// Asks the kernel for a ring.
    /// - Parameters:
    ///   - depth: submissions that fit between two submits, and about as many in flight.
    ///   - ownedByOneThread: SINGLE_ISSUER and DEFER_TASKRUN where the kernel has them; then
    ///     every call comes from the thread that called `start`.
    /// - Throws: EPERM or ENOSYS where io_uring is refused, ENOMEM under RLIMIT_MEMLOCK.
    package init(depth: Int, ownedByOneThread: Bool = true) throws(Errno) {
        var error: Int32 = 0
        guard
            let handle = unsafe curing_create(
                UInt32(clamping: max(depth, 1)), ownedByOneThread, &error)
        else { throw Errno(rawValue: -error) }
        unsafe self.handle = unsafe handle
    }

    /// Binds the ring to the calling thread; once, before the first submission.
    package func start() throws(Errno) {
        let status = unsafe curing_start(handle)
        guard status >= 0 else { throw Errno(rawValue: -status) }
    }

    deinit { unsafe curing_destroy(handle) }

    /// DEFER_TASKRUN is on.
    package var isDeferred: Bool { unsafe curing_is_deferred(handle) }

    /// Registers a pool's memory, so that its pages are pinned once and not per I/O.
    /// - Throws: ENOMEM under RLIMIT_MEMLOCK.
    package func register(_ pool: BufferPool) throws(Errno) {
        let buffers = unsafe pool.registrations.map { range in
            unsafe curing_buffer(
                address: UnsafeMutableRawPointer(bitPattern: range.start),
                byte_count: range.byteCount)
        }
        let status = unsafe buffers.withUnsafeBufferPointer { buffers in
            unsafe curing_register_buffers(handle, buffers.baseAddress, UInt32(buffers.count))
        }
        guard status >= 0 else { throw Errno(rawValue: -status) }
    }

    /// Prepares one operation.
    /// - Returns: false if the submission queue is full: submit first.
    @inline(__always)
    package mutating func prepare(_ operation: IOOperation, userData: UInt64) -> Bool {
        // The kernel cuts a transfer at 0x7ffff000 bytes; so do we, and then continue.
        let byteCount = UInt32(truncatingIfNeeded: min(max(operation.byteCount, 0), 0x7fff_f000))
        switch operation.kind {
        case .read:
            return unsafe curing_prepare_read(
                handle, operation.fd, operation.address, byteCount, operation.offset,
                operation.bufferIndex, operation.flags, userData)
        case .write:
            return unsafe curing_prepare_write(
                handle, operation.fd, operation.address, byteCount, operation.offset,
                operation.bufferIndex, operation.flags, userData)
        case .dataSync, .sync:
            return unsafe curing_prepare_fsync(
                handle, operation.fd, operation.kind == .dataSync, userData)
        }
    }

    /// Watches a doorbell: a completion for each wake-up until one comes without `more`.
    package mutating func preparePoll(fd: Int32, userData: UInt64) -> Bool {
        unsafe curing_prepare_poll(handle, fd, userData)
    }

    /// Asks for the cancellation of the request with `target` as its user data.
    package mutating func prepareCancel(target: UInt64, userData: UInt64) -> Bool {
        unsafe curing_prepare_cancel(handle, target, userData)
    }

    /// Prepared and not yet shown to the kernel.
    package var unsubmitted: Int { unsafe Int(curing_unsubmitted(handle)) }
    /// Room for that many more.
    package var space: Int { unsafe Int(curing_space(handle)) }

    /// Shows the prepared operations to the kernel: how many it took, or a negative errno.
    @inline(__always)
    package mutating func submit() -> Int32 { unsafe curing_submit(handle) }

    /// Submits and waits for `minimum` completions, in one system call.
    /// - Parameter nanoseconds: negative waits as long as it takes.
    /// - Returns: zero or more, or a negative errno; -ETIME after the time-out.
    @inline(__always)
    package mutating func submitAndWait(minimum: Int, nanoseconds: Int64 = -1) -> Int32 {
        unsafe curing_submit_and_wait(handle, UInt32(clamping: minimum), nanoseconds)
    }

    /// At most so many completions are taken in one go.
    package static let reapLimit = 32

    /// Takes up to `limit` completions that are there, `reapLimit` at most; gives each to `body`,
    /// which must not use the ring.
    /// - Returns: how many it took; if as many as it may, perhaps more are there.
    @inline(__always)
    package mutating func reap(
        limit: Int = Self.reapLimit, _ body: (RingCompletion) -> Void
    ) -> Int {
        unsafe withUnsafeTemporaryAllocation(
            of: curing_completion.self, capacity: Self.reapLimit
        ) { buffer in
            let count = unsafe Int(
                curing_reap(handle, buffer.baseAddress, UInt32(min(limit, Self.reapLimit))))
            for index in 0..<count {
                let completion = unsafe buffer[index]
                body(
                    RingCompletion(
                        userData: completion.user_data, result: completion.result,
                        more: completion.more))
            }
            return count
        }
    }
}

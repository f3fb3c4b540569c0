// A lock that Thread Sanitizer can see: Synchronization's Mutex sleeps on a futex inside the
// (uninstrumented) standard library, so every use of it looks like a race there.
internal import CLinux
internal import Glibc

/// A value that one thread at a time may touch; blocks while another does.
///
/// Not recursive. Hold it for a few instructions only, and never across a call that waits: debug
/// builds stop at a wait with a lock held, and at two locks that are taken in both orders
/// anywhere in the process (locks made at one place of the source count as one).
@safe
package struct Lock<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let value: UnsafeMutablePointer<Value>
    #if DEBUG
        private let lockClass: Int32
    #endif

    package init(
        _ initial: consuming sending Value, file: StaticString = #fileID, line: Int32 = #line
    ) {
        #if DEBUG
            lockClass = LockOrder.lockClass(file, line)
        #endif
        unsafe mutex = .allocate(capacity: 1)
        unsafe value = .allocate(capacity: 1)
        unsafe value.initialize(to: initial)
        let status = unsafe pthread_mutex_init(mutex, nil)
        precondition(status == 0, "pthread_mutex_init failed with errno \(status)")
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
        unsafe value.deinitialize(count: 1)
        unsafe value.deallocate()
    }

    /// Runs `body` with the lock held.
    @inline(__always)
    package func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        #if DEBUG
            LockOrder.acquiring(lockClass)
            defer { LockOrder.released(lockClass) }
        #endif
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return try unsafe body(&value.pointee)
    }
}

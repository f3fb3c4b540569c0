internal import CLinux
internal import Glibc

/// A counting semaphore (sem_init(3)): `signal` never blocks and never allocates, so that a
/// completing thread may wake a blocked caller with it.
@safe
package struct Semaphore: ~Copyable, @unchecked Sendable {
    private let handle: UnsafeMutablePointer<sem_t>

    package init(_ initial: Int = 0) {
        unsafe handle = .allocate(capacity: 1)
        unsafe sem_init(handle, 0, UInt32(initial))
    }

    deinit {
        unsafe sem_destroy(handle)
        unsafe handle.deallocate()
    }

    /// Adds one and wakes a waiter.
    package func signal() { unsafe sem_post(handle) }

    /// Takes one, waiting for it as long as it takes.
    package func wait() {
        LockOrder.aboutToWait()
        while unsafe sem_wait(handle) != 0 {}
    }

    /// Takes one, or answers false after `timeout`.
    package func wait(timeout: Duration) -> Bool {
        LockOrder.aboutToWait()
        let (seconds, attoseconds) = timeout.components
        let nanoseconds = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
        return unsafe clinux_semaphore_wait(handle, nanoseconds)
    }
}

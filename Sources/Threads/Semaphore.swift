internal import CLinux
internal import Glibc

/// A counting semaphore (sem_init(3)): `signal` never blocks and never allocates, so that a
/// completing thread may wake a blocked caller with it.
///
/// On a thread of the simulator (`ThreadSimulator`) waiting takes virtual time.
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
    package func signal() {
        unsafe sem_post(handle)
        if let simulator = SimulatedThread.simulator { simulator.signalled(name) }
    }

    /// Takes one, waiting for it as long as it takes.
    package func wait() {
        LockOrder.aboutToWait()
        if let simulator = SimulatedThread.simulator {
            while unsafe sem_trywait(handle) != 0 { simulator.wait(for: name, nanoseconds: nil) }
            return
        }
        waitForReal()
    }

    /// Takes one, or answers false after `timeout`.
    package func wait(timeout: Duration) -> Bool {
        LockOrder.aboutToWait()
        let (seconds, attoseconds) = timeout.components
        let nanoseconds = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
        guard let simulator = SimulatedThread.simulator else {
            return unsafe clinux_semaphore_wait(handle, nanoseconds)
        }
        if unsafe sem_trywait(handle) == 0 { return true }
        simulator.wait(for: name, nanoseconds: UInt64(max(nanoseconds, 0)))
        return unsafe sem_trywait(handle) == 0
    }

    private var name: UInt { unsafe UInt(bitPattern: handle) }

    /// `signal` and `wait` for the simulator itself, which must wait really.
    package func signalForReal() { unsafe sem_post(handle) }
    package func waitForReal() {
        while unsafe sem_wait(handle) != 0 {}
    }
}

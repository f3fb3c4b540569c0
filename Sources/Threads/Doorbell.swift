internal import CLinux
internal import Glibc

/// An eventfd that wakes a thread which sleeps in poll, epoll or io_uring.
package struct Doorbell: ~Copyable, Sendable {
    /// The eventfd itself, for the sleeper to watch. Non-blocking.
    package let descriptor: Int32

    /// - Returns: nil if the process has no descriptor left.
    package init?() {
        let descriptor = clinux_eventfd(true)
        guard descriptor >= 0 else { return nil }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Wakes the sleeper, now or when it next looks. Any thread; never blocks.
    package func ring() { _ = clinux_eventfd_ring(descriptor) }

    /// Forgets the rings so far; called by the sleeper.
    package func drain() { _ = clinux_eventfd_drain(descriptor) }
}

internal import CLinux
internal import Glibc

/// A named POSIX thread that runs one body and is joined by its owner.
///
/// Rings and RPC contexts live on such threads: they must outlive every task and must never be
/// borrowed from a pool (io_uring cancels what an exiting submitter left in flight).
@safe
package final class OwnedThread: @unchecked Sendable {
    private final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    private let handle: pthread_t
    private let joined = Lock(false)

    /// Starts the thread; the name shows in `ps -L` cut to 15 bytes.
    /// - Returns: nil if the system has no more threads to give.
    package init?(name: String, body: @escaping @Sendable () -> Void) {
        let start = unsafe Unmanaged.passRetained(Start(name: name, body: body))
        var thread = pthread_t()
        let status = unsafe pthread_create(&thread, nil, runOwnedThread, start.toOpaque())
        if status != 0 {
            unsafe start.release()
            return nil
        }
        handle = thread
    }

    fileprivate static func run(_ raw: UnsafeMutableRawPointer) {
        let start = unsafe Unmanaged<Start>.fromOpaque(raw).takeRetainedValue()
        unsafe clinux_set_thread_name(start.name)
        start.body()
    }

    /// Waits until the body has returned. Later calls return at once.
    package func join() {
        let first = joined.withLock { joined in
            defer { joined = true }
            return !joined
        }
        if first { pthread_join(handle, nil) }
    }
}

private func runOwnedThread(_ raw: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let raw = unsafe raw else { return nil }
    unsafe OwnedThread.run(raw)
    return nil
}

// SIGINT and SIGTERM end a run in order: loops stop, servers and files go, the status says why.
internal import CLinux
internal import Glibc
internal import Synchronization
internal import Threads

/// Whether a stop signal has arrived.
package enum StopFlag {
    private final class Shared: Sendable {
        let signal = Atomic<Int32>(0)
        let watcher = Lock(OwnedThread?.none)
    }

    private static let shared = Shared()

    /// The signal, or 0.
    package static var signal: Int32 { shared.signal.load(ordering: .relaxed) }

    /// Throws if a stop signal has arrived.
    package static func check() throws(BenchError) {
        let number = signal
        guard number != 0 else { return }
        let name = number == SIGINT ? "SIGINT" : "SIGTERM"
        throw BenchError("stopped by \(name)", kind: .stopped(signal: number))
    }

    /// Takes over SIGINT and SIGTERM. Called first thing on the main thread, so that every later
    /// thread inherits the blocked signals. A run that has not ended `grace` after the first
    /// signal, or gets a second, is cleaned up after and ended from here.
    package static func install(grace: Duration = .seconds(10)) {
        clinux_block_stop_signals()
        let watcher = OwnedThread(name: "signals") {
            let number = clinux_wait_stop_signal()
            shared.signal.store(number, ordering: .relaxed)
            let second = OwnedThread(name: "second-signal") {
                _ = clinux_wait_stop_signal()
                Cleanup.runAll()
                _exit(128 + number)
            }
            _ = second
            usleep(UInt32(grace.nanosecondCount / 1000))
            Cleanup.runAll()
            _exit(128 + number)
        }
        shared.watcher.withLock { $0 = watcher }
    }
}

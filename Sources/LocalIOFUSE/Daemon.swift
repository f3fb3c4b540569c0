// What a mount program does with itself, for a program that may not see the C fence.
internal import CLinux
internal import CLocalIOFUSE
internal import Glibc
internal import Threads

/// The process around a mount.
public enum Daemon {
    /// Blocks SIGINT and SIGTERM here and in every thread started later, for `unmountOnSignal`.
    public static func blockSignals() { clinux_block_stop_signals() }

    /// Goes on in the background; the process that called ends when `isReady` is called here.
    /// Before any thread is started.
    public static func enterBackground() throws(MountFailure) {
        let result = clfuse_daemonize()
        guard result == 0 else {
            throw MountFailure("cannot go to the background (errno \(-result)); mount with -f")
        }
    }

    /// Tells the process that waits for this one. On success the standard streams go, but for
    /// standard error if it is the log.
    public static func isReady(succeeded: Bool, keepsStandardError: Bool) {
        clfuse_daemon_ready(succeeded ? 0 : 1, keepsStandardError)
    }

    /// Unmounts at the first SIGINT or SIGTERM; at the second, of a mount still in use, ends.
    public static func unmountOnSignal(_ mount: Mount) {
        _ = OwnedThread(name: "lio-signals") {
            _ = clinux_wait_stop_signal()
            mount.unmount()
            _ = clinux_wait_stop_signal()
            exit(1)
        }
    }

    /// One line to syslog(3); `priority` as there.
    public static func syslog(priority: Int32, _ line: String) {
        unsafe line.withCString { unsafe clfuse_syslog(priority, $0) }
    }

    /// An absolute path without symbolic links, also of a mount whose server is gone.
    public static func resolved(_ path: String) -> String? {
        guard let text = unsafe realpath(path, nil) else {
            return errno == ENOTCONN && path.hasPrefix("/") ? path : nil
        }
        defer { unsafe free(text) }
        return unsafe String(cString: text)
    }
}

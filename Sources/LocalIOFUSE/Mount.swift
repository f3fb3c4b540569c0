// A mount from its beginning to its end: context, client, session, threads, unmounting.
internal import CLinux
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
public import Logging
internal import NFSClient
internal import NFSTypes
internal import Threads

/// Why a mount could not be made: one line that says what was wrong and what would be right.
public struct MountFailure: Error, Sendable, CustomStringConvertible {
    public let description: String
    package init(_ description: String) { self.description = description }
}

/// An NFS export mounted through FUSE.
@safe
public final class Mount: @unchecked Sendable {
    private let core: MountCore
    private let session: OpaquePointer
    private let logger: Logger
    private let threads: [OwnedThread]

    /// Connects, mounts and starts to serve. Blocks until the mount answers.
    ///
    /// To be called before the process has other threads, because the nested-I/O context is
    /// inherited by those that are started later.
    public static func start(
        _ configuration: MountConfiguration, logger: Logger
    ) throws(MountFailure) -> Mount {
        let context = configuration.nestedIO ? enterContext(logger) : ContextReport()
        _ = clfuse_raise_file_limit()
        if unsafe clfuse_is_stale(configuration.mountPoint) {
            logger.notice("\(configuration.mountPoint): unmounting what a dead mount left")
            _ = unsafe clfuse_unmount(configuration.mountPoint, true)
        }
        let client: LocalIOClient
        let root: FileAttributes
        do throws(LocalIOError) {
            client = try LocalIOClient.connectBlocking(
                to: configuration.url, configuration: configuration.client, logger: logger)
        } catch {
            throw MountFailure("\(configuration.url): \(error)")
        }
        do throws(RPCError) {
            root = try client.session.performBlocking(.getAttributes(client.session.root))
        } catch {
            client.closeBlocking()
            throw MountFailure("\(configuration.url): \(error)")
        }
        let core = MountCore(
            configuration: configuration, client: client, root: root, logger: logger)
        core.facts.withLock { $0.context = context }
        do throws(MountFailure) {
            return try Mount(core, logger)
        } catch {
            client.closeBlocking()
            throw error
        }
    }

    /// What keeps the mount from waiting for itself when memory is short, as far as this
    /// process may have it.
    private static func enterContext(_ logger: Logger) -> ContextReport {
        var report = ContextReport()
        // Inherited by every thread started from here: libnfs's, the rings', the receivers'.
        let flusher = clinux_set_io_flusher(true)
        if flusher != 0 {
            logger.info("PR_SET_IO_FLUSHER refused (errno \(-flusher)): needs CAP_SYS_RESOURCE")
        }
        let locked = clfuse_lock_memory()
        report.memory = locked == 0 ? "locked" : "not locked (errno \(-locked))"
        let score = clfuse_set_oom_score(-1000)
        report.oomScore = score == 0 ? "-1000" : "unchanged (errno \(-score))"
        return report
    }

    private init(_ core: MountCore, _ logger: Logger) throws(MountFailure) {
        self.core = core
        self.logger = logger
        let configuration = core.configuration
        var settings = clfuse_configuration()
        settings.writeback_cache = configuration.writebackCache && !configuration.directIO
        settings.passthrough = configuration.passesThrough
        settings.read_only = configuration.isReadOnly
        settings.debug = configuration.debug
        settings.max_background = configuration.maxBackground
        settings.buffer_count = configuration.maxBackground + UInt32(configuration.threads) + 16
        let context = unsafe Unmanaged.passRetained(core).toOpaque()
        let made = unsafe Self.mountOptions(configuration).withCString { text in
            unsafe settings.mount_options = unsafe text
            return unsafe clfuse_session_create(
                &settings, handleOperation, handleKilled, context)
        }
        guard let session = unsafe made else {
            unsafe Unmanaged<MountCore>.fromOpaque(context).release()
            throw MountFailure("FUSE refused its options; try with fewer -o options")
        }
        unsafe self.session = unsafe session
        let shared = unsafe SessionPointer(raw: session)
        core.facts.withLock { $0.session = shared }
        let result = unsafe clfuse_session_mount(session, configuration.mountPoint)
        guard result == 0 else {
            unsafe clfuse_session_destroy(session)
            unsafe Unmanaged<MountCore>.fromOpaque(context).release()
            throw Self.failure(configuration.mountPoint, errno: -result)
        }
        var threads: [OwnedThread] = []
        for index in 0..<max(configuration.threads, 2) {
            guard
                let thread = OwnedThread(
                    name: "lio-fuse-\(index)",
                    body: { _ = unsafe clfuse_session_serve(shared.raw) })
            else { break }
            threads.append(thread)
        }
        self.threads = threads
        guard !threads.isEmpty else {
            unsafe clfuse_session_close(session)
            unsafe clfuse_session_destroy(session)
            throw MountFailure("no thread to be had for the mount; raise the process limit")
        }
        settle()
    }

    /// What is set or learned once the mount answers.
    private func settle() {
        let configuration = core.configuration
        var (major, minor): (UInt32, UInt32) = (0, 0)
        if unsafe clfuse_device(configuration.mountPoint, &major, &minor) == 0 {
            core.facts.withLock { $0.device = "\(major):\(minor)" }
        }
        if configuration.passesThrough, unsafe !clfuse_session_passes_through(session) {
            logger.warning(
                "passthrough: this kernel has none (Linux 6.9); all data goes through the mount")
        }
        if configuration.readAheadKibibytes > 0 {
            // Not permitted to everyone, and only a matter of speed.
            _ = unsafe clfuse_set_read_ahead(
                configuration.mountPoint, configuration.readAheadKibibytes)
        }
    }

    private static func mountOptions(_ configuration: MountConfiguration) -> String {
        var options = ["fsname=\(source(configuration.url))", "subtype=localio", "max_read=1048576"]
        if configuration.allowsOthers { options.append("allow_other") }
        if configuration.checksPermissions { options.append("default_permissions") }
        if configuration.isReadOnly { options.append("ro") }
        options.append(contentsOf: configuration.kernelOptions)
        return options.joined(separator: ",")
    }

    /// `host:/export` as NFS people write it; a comma or backslash would end the option.
    private static func source(_ url: NFSURL) -> String {
        "\(url.host):\(url.exportPath)".map { $0 == "," || $0 == "\\" ? "\\\($0)" : "\($0)" }
            .joined()
    }

    private static func failure(_ mountPoint: String, errno: Int32) -> MountFailure {
        let reason = unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "errno \(errno)"
        return MountFailure(
            "\(mountPoint): cannot mount: \(reason); it must be an empty directory of yours, "
                + "with /dev/fuse there and allow_other allowed in /etc/fuse.conf if given")
    }

    /// Whether data goes the local road now; for a line at start.
    public var summary: String {
        let status = core.status()
        return "\(status.locality) (\(status.reason)): \(status.explanation)"
    }

    /// Waits until the mount is gone, then closes everything.
    public func wait() {
        for thread in threads { thread.join() }
        // What the kernel did not wait for (callers that were killed) ends on its own or with
        // the session.
        for _ in 0..<500 where core.counters.activeCount > 0 { usleep(10_000) }
        core.client.closeBlocking()
        unsafe clfuse_session_close(session)
        core.facts.withLock { $0.session = nil }
        unsafe clfuse_session_destroy(session)
        // The fence's reference; nothing calls back any more.
        unsafe Unmanaged.passUnretained(core).release()
    }

    /// Unmounts: everything dirty is written first. A mount in use is detached instead, after
    /// a flush, and goes on serving those who use it; `wait` returns when the last has gone.
    /// - Returns: false if it is still in use.
    @discardableResult
    public func unmount() -> Bool {
        let mountPoint = core.configuration.mountPoint
        let result = unsafe clfuse_unmount(mountPoint, false)
        if result == 0 || result == -EINVAL { return true }
        _ = unsafe clfuse_sync(mountPoint)
        // syncfs starts the write-back of a FUSE mount and does not wait for it; fsync does.
        for path in core.nodes.writtenPaths {
            let file = unsafe NFSName(joining: [NFSName(mountPoint), path]).withCString {
                unsafe open($0, O_RDONLY | O_NONBLOCK)
            }
            guard file >= 0 else { continue }
            fsync(file)
            close(file)
        }
        logger.notice("\(mountPoint) is in use: detached, served until the last user has gone")
        _ = unsafe clfuse_unmount(mountPoint, true)
        return false
    }
}

/// A session that several threads may use.
@safe
struct SessionPointer: @unchecked Sendable {
    let raw: OpaquePointer
}

/// What is learned about a mount after its core was made.
struct MountFacts: Sendable {
    var session: SessionPointer?
    var device: String?
    var context = ContextReport()
}

extension MountCore {
    func bufferCounts() -> (used: UInt32, limit: UInt32) {
        facts.withLock { facts in
            var (used, limit): (UInt32, UInt32) = (0, 0)
            if let session = facts.session {
                unsafe clfuse_buffer_counts(session.raw, &used, &limit)
            }
            return (used, limit)
        }
    }
}

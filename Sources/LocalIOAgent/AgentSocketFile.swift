// The file of the agent's socket: one agent at a time, stale files gone, the right owner.
internal import CLinux
internal import Glibc

/// A listening Unix socket and its file, which goes with it.
struct AgentSocketFile: ~Copyable {
    let descriptor: Int32
    /// Nil for a socket that was passed by a service manager, whose file is not ours.
    private let path: String?
    private let lock: Int32

    /// Locks, removes a stale file, binds and listens.
    init(_ configuration: AgentConfiguration) throws(AgentError) {
        if let passed = try Self.passedDescriptor() {
            descriptor = passed
            path = nil
            lock = -1
            return
        }
        let path = configuration.socketPath
        Self.makeDirectory(of: path)
        let lock = try Self.lock(path)
        do throws(AgentError) {
            try Self.removeStale(path)
            descriptor = try Self.listen(path, configuration)
        } catch {
            close(lock)
            throw error
        }
        self.path = path
        self.lock = lock
    }

    deinit {
        // The lock's file stays: unlinked, two agents could each hold a lock of their own.
        if let path { _ = unsafe unlink(path) }
        close(descriptor)
        if lock >= 0 { close(lock) }
    }

    /// The descriptor of socket activation (sd_listen_fds(3)). One of another kind is refused:
    /// only a Unix socket says who is at its other end.
    private static func passedDescriptor() throws(AgentError) -> Int32? {
        guard let process = unsafe getenv("LISTEN_PID"), let count = unsafe getenv("LISTEN_FDS"),
            unsafe Int32(String(cString: process)) == getpid(),
            unsafe (Int32(String(cString: count)) ?? 0) > 0
        else { return nil }
        let first: Int32 = 3
        guard option(SO_DOMAIN, of: first) == AF_UNIX,
            option(SO_TYPE, of: first) == Int32(SOCK_STREAM.rawValue),
            option(SO_ACCEPTCONN, of: first) == 1
        else {
            throw AgentError(
                "the service manager passed what is no listening Unix stream socket; give it "
                    + "ListenStream= with an absolute path")
        }
        guard fcntl(first, F_SETFD, FD_CLOEXEC) == 0,
            fcntl(first, F_SETFL, fcntl(first, F_GETFL) | O_NONBLOCK) == 0
        else { return nil }
        return first
    }

    private static func option(_ name: Int32, of socket: Int32) -> Int32 {
        var value: Int32 = -1
        var byteCount = socklen_t(MemoryLayout<Int32>.size)
        let answer = unsafe getsockopt(socket, SOL_SOCKET, name, &value, &byteCount)
        return answer == 0 ? value : -1
    }

    private static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// The last directory only: /run/localio may be missing after a boot.
    private static func makeDirectory(of path: String) {
        _ = unsafe mkdir(directory(of: path), 0o755)
    }

    private static func lock(_ path: String) throws(AgentError) -> Int32 {
        let lockPath = path + ".lock"
        let flags = O_RDWR | O_CREAT | clinux_o_cloexec | clinux_o_nofollow
        let lock = unsafe open(lockPath, flags, 0o600)
        guard lock >= 0 else {
            throw AgentError(
                "cannot write in \(directory(of: path)): \(systemText(errno)); make the directory "
                    + "writable for the agent or give another socket")
        }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            close(lock)
            throw AgentError(
                "an agent already listens at \(path); stop it or give another socket")
        }
        return lock
    }

    /// Whoever holds the lock may remove a socket file that nobody listens at.
    private static func removeStale(_ path: String) throws(AgentError) {
        let answer = unsafe clinux_unix_connect(path)
        if answer >= 0 {
            close(answer)
            throw AgentError(
                "something else listens at \(path); stop it or give another socket")
        }
        if answer == -ENOENT { return }
        var status = clinux_stat()
        let found = unsafe clinux_statx(AT_FDCWD, path, true, &status)
        if found == 0, status.mode & UInt32(S_IFMT) != UInt32(S_IFSOCK) {
            throw AgentError("\(path) is there and is no socket; remove it or give another path")
        }
        _ = unsafe unlink(path)
    }

    private static func listen(
        _ path: String, _ configuration: AgentConfiguration
    ) throws(AgentError) -> Int32 {
        let answer = unsafe clinux_unix_listen(path, mode_t(configuration.socketMode), 128)
        if answer == -ENAMETOOLONG {
            throw AgentError("\(path) is too long for a socket: 107 bytes are the most")
        }
        guard answer >= 0 else {
            throw AgentError("cannot listen at \(path): \(systemText(-answer))")
        }
        if let group = configuration.socketGroup {
            guard let id = groupID(group), unsafe chown(path, uid_t.max, id) == 0 else {
                close(answer)
                _ = unsafe unlink(path)
                throw AgentError(
                    "cannot give \(path) to the group \(group); name a group that exists")
            }
        }
        return answer
    }

    private static func groupID(_ name: String) -> gid_t? {
        if let number = gid_t(name) { return number }
        guard let entry = unsafe getgrnam(name) else { return nil }
        return unsafe entry.pointee.gr_gid
    }
}

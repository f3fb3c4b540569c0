// The exported directory: its paths, its root descriptor, and what the process may do with it.
internal import CLinux
internal import Glibc
internal import NFSTypes
internal import Threads

/// The directory that a server exports. Immutable.
final class Export: Sendable {
    /// The absolute path as it was given, without "." and ".." and doubled slashes.
    let path: String
    /// The same without symbolic links; MNT takes both.
    let resolvedPath: String
    /// Readable, not O_PATH: open_by_handle_at(2) wants a real descriptor of the mount.
    let root: Int32
    let rootStatus: FileStatus
    let rootHandle: FileHandle
    let hash: UInt64
    /// This process can change its threads' file-system ids (it is root with the rights to).
    let honoursCredentials: Bool
    /// This process can open by kernel handle (CAP_DAC_READ_SEARCH).
    let opensByHandle: Bool

    init(directory: String) throws(ServerError) {
        let given = try Self.absolutePath(directory)
        guard let resolved = unsafe realpath(given, nil) else {
            throw Self.badDirectory(directory, errno)
        }
        resolvedPath = unsafe String(cString: resolved)
        unsafe free(resolved)
        path = given
        let root = unsafe open(resolvedPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard root >= 0 else { throw Self.badDirectory(directory, errno) }
        self.root = root
        do throws(Refusal) {
            rootStatus = try FileStatus(of: root)
        } catch {
            close(root)
            throw Self.badDirectory(directory, StatusTable.errno(error.status))
        }
        hash = ServerHandle.exportHash(path: resolvedPath)
        let handle = ServerHandle(exportHash: hash, descriptor: root, status: rootStatus)
        guard let encoded = handle.encoded else {
            close(root)
            throw ServerError(.badDirectory, "\(directory): its file handles are too long to serve")
        }
        rootHandle = encoded
        honoursCredentials = geteuid() == 0 && Self.canChangeIdentity()
        opensByHandle = Self.canOpen(handle, at: root)
    }

    deinit { close(root) }

    /// The handle of what a descriptor names.
    func handle(_ descriptor: Int32, _ status: FileStatus) throws(Refusal) -> FileHandle {
        if status.inode == rootStatus.inode, status.device == rootStatus.device {
            return rootHandle
        }
        let handle = ServerHandle(exportHash: hash, descriptor: descriptor, status: status)
        guard let encoded = handle.encoded else { throw Refusal(.serverFault) }
        return encoded
    }

    func isRoot(_ status: FileStatus) -> Bool {
        status.inode == rootStatus.inode && status.device == rootStatus.device
    }

    private static func badDirectory(_ directory: String, _ errno: Int32) -> ServerError {
        let remedy =
            switch errno {
            case ENOENT: "give a directory that exists"
            case ENOTDIR: "give a directory, not a file"
            case EACCES, EPERM: "give a directory that this user may read"
            default: "give a directory that can be opened"
            }
        return ServerError(
            .badDirectory, "cannot serve \(directory): \(errorText(errno)); \(remedy)",
            errno: errno)
    }

    /// `directory` made absolute and tidied by its text alone.
    private static func absolutePath(_ directory: String) throws(ServerError) -> String {
        if directory.isEmpty {
            throw ServerError(.badDirectory, "cannot serve \"\": give the path of a directory")
        }
        var text = directory
        if !text.hasPrefix("/") {
            guard let current = unsafe getcwd(nil, 0) else {
                throw .system("no current directory", errno: errno)
            }
            text = unsafe String(cString: current) + "/" + directory
            unsafe free(current)
        }
        var parts: [Substring] = []
        for part in text.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    /// Tries it on a thread of its own, so that nothing stays changed here.
    private static func canChangeIdentity() -> Bool {
        let answer = Answer()
        let thread = OwnedThread(name: "localio-ids") {
            let nobody: UInt32 = 65534
            answer.value.withLock {
                $0 = clinux_set_thread_filesystem_ids(nobody, nobody, nil, 0) == 0
            }
        }
        thread?.join()
        return answer.value.withLock { $0 }
    }

    private final class Answer: Sendable {
        let value = Lock(false)
    }

    private static func canOpen(_ handle: ServerHandle, at root: Int32) -> Bool {
        guard case .kernelHandle(let type, let bytes) = handle.generation else { return false }
        let answer = unsafe clinux_open_by_handle(
            root, type, bytes, Int32(bytes.count), clinux_o_path)
        if answer >= 0 { close(answer) }
        return answer >= 0
    }
}

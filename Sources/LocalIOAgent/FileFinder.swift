// Finds the inode that a handle names, proves that it is the one, and opens it.
package import AgentProtocol
internal import CLinux
internal import Glibc
internal import NFSTypes

/// A refusal of one OPEN.
package struct AgentDenial: Error, Hashable, Sendable {
    package let reason: AgentRefusal
    package let text: String

    package init(_ reason: AgentRefusal, _ text: String) {
        self.reason = reason
        self.text = text
    }

    /// From the negative errno of a system call.
    init(answer: Int32, _ what: String, otherwise: AgentRefusal) {
        let reason: AgentRefusal =
            switch -answer {
            case EMFILE, ENFILE, ENOMEM: .noDescriptors
            case ESTALE: .staleHandle
            case EROFS: .readOnly
            default: otherwise
            }
        self.init(reason, "\(what): \(systemText(-answer))")
    }
}

/// The system's words for an errno.
func systemText(_ errno: Int32) -> String {
    unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "errno \(errno)"
}

/// An open file to hand out.
struct FoundFile: ~Copyable {
    let direct: AgentDescriptor
    let buffered: AgentDescriptor?
    let isDirect: Bool
    /// What the server said about it to the caller.
    let attributes: FileAttributes
}

/// An open directory on this host, from which files are found. Any thread.
package final class FileFinder: Sendable {
    package let directory: String
    /// Not O_PATH: open_by_handle_at(2) wants a real descriptor of the mount.
    private let root: Int32
    /// The directory's own inode number.
    package let inode: UInt64

    package init(directory: String) throws(AgentError) {
        let flags = O_RDONLY | clinux_o_directory | clinux_o_cloexec
        let root = unsafe Glibc.open(directory, flags)
        guard root >= 0 else {
            throw AgentError(
                "cannot open \(directory): \(systemText(errno)); map the export to the directory "
                    + "that the server exports")
        }
        self.root = root
        self.directory = directory
        var status = clinux_stat()
        _ = unsafe clinux_statx(root, nil, true, &status)
        inode = status.inode
    }

    deinit { close(root) }

    /// The kernel's handle of the directory, for comparing with the server's root handle.
    package var kernelHandle: (type: Int32, bytes: [UInt8])? { Self.kernelHandle(root) }

    static func kernelHandle(_ descriptor: Int32) -> (type: Int32, bytes: [UInt8])? {
        var type: Int32 = 0
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = unsafe clinux_name_to_handle(
            descriptor, nil, &type, &bytes, Int32(bytes.count))
        return count > 0 ? (type, Array(bytes.prefix(Int(count)))) : nil
    }

    /// What was found and how far that proves its identity.
    struct Candidate: ~Copyable {
        let descriptor: AgentDescriptor
        /// Inode and generation are the handle's: no other file can have both.
        let isProved: Bool
    }

    /// Opens (O_PATH) what `handle` names.
    func find(
        _ decoded: DecodedHandle?, hint: String, finding: AgentConfiguration.Finding
    ) throws(AgentDenial) -> Candidate {
        try Self.check(hint: hint)
        if let decoded, decoded.hasKernelHandle, finding != .path {
            let answer = unsafe clinux_open_by_handle(
                root, decoded.kernelType, decoded.kernelBytes, Int32(decoded.kernelBytes.count),
                clinux_o_path)
            if answer >= 0 {
                return Candidate(descriptor: AgentDescriptor(answer), isProved: true)
            }
            // Without the right to open by handle the path is left.
            if answer != -EPERM || finding == .handle || hint.isEmpty {
                throw AgentDenial(answer: answer, "open by handle", otherwise: .cannotFind)
            }
        }
        guard !hint.isEmpty else {
            throw AgentDenial(.cannotFind, "the handle's layout is unknown and no path was given")
        }
        let answer = unsafe clinux_open_beneath(
            root, hint, clinux_o_path | clinux_o_nofollow, 0)
        if answer == -ELOOP || answer == -EXDEV {
            throw AgentDenial(.badPathHint, "the path leads through a symbolic link or outside")
        }
        guard answer >= 0 else {
            throw AgentDenial(answer: answer, "open \(hint)", otherwise: .cannotFind)
        }
        let descriptor = AgentDescriptor(answer)
        guard let decoded, decoded.hasKernelHandle,
            let own = Self.kernelHandle(descriptor.raw)
        else { return Candidate(descriptor: descriptor, isProved: false) }
        guard own.type == decoded.kernelType, own.bytes == decoded.kernelBytes else {
            throw AgentDenial(.differentFile, "another file has that path by now")
        }
        return Candidate(descriptor: descriptor, isProved: true)
    }

    /// A hint that is no plain path below the export is refused, also where it is not needed.
    static func check(hint: String) throws(AgentDenial) {
        if hint.isEmpty { return }
        let parts = hint.split(separator: "/", omittingEmptySubsequences: false)
        if parts.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }) {
            throw AgentDenial(.badPathHint, "a path hint is relative, without '.' and '..'")
        }
    }

    /// Checks that a candidate is the regular file the server spoke of.
    /// - Returns: its attributes here.
    static func verify(
        _ candidate: borrowing Candidate, _ attributes: FileAttributes
    ) throws(AgentDenial) -> clinux_stat {
        var status = clinux_stat()
        let answer = unsafe clinux_statx(candidate.descriptor.raw, nil, true, &status)
        guard answer == 0 else {
            throw AgentDenial(answer: answer, "statx", otherwise: .openFailed)
        }
        guard status.mode & UInt32(S_IFMT) == UInt32(S_IFREG), attributes.type == .regular else {
            throw AgentDenial(.notRegularFile, "only regular files are handed out")
        }
        guard status.inode == attributes.fileID else {
            throw AgentDenial(
                .differentFile,
                "inode \(status.inode) here, \(attributes.fileID) at the server")
        }
        if candidate.isProved { return status }
        let isSame =
            status.size == attributes.size
            && attributes.modifyTime.isSame(status.modify_seconds, status.modify_nanoseconds)
        guard isSame else {
            throw AgentDenial(.differentFile, "size or times differ from what the server says")
        }
        return status
    }

    /// Opens a verified candidate for I/O: the same inode, whatever its name is by now.
    static func open(
        _ candidate: borrowing Candidate, _ attributes: FileAttributes, access: AgentAccess,
        wantsBuffered: Bool
    ) throws(AgentDenial) -> FoundFile {
        let raw = candidate.descriptor.raw
        let direct: AgentDescriptor
        var isDirect = true
        do throws(AgentDenial) {
            direct = try reopen(raw, access.openFlags | clinux_o_direct)
        } catch {
            guard error.text.hasSuffix(systemText(EINVAL)) else { throw error }
            // This file system has no direct I/O.
            direct = try reopen(raw, access.openFlags)
            isDirect = false
        }
        guard wantsBuffered else {
            return FoundFile(
                direct: direct, buffered: nil, isDirect: isDirect, attributes: attributes)
        }
        let buffered = try reopen(raw, access.openFlags)
        return FoundFile(
            direct: direct, buffered: buffered, isDirect: isDirect, attributes: attributes)
    }

    /// O_NONBLOCK while opening: whoever holds a lease (fcntl F_SETLEASE) on the file must not
    /// hold up the agent. Taken away again, because io_uring would answer EAGAIN with it.
    private static func reopen(_ raw: Int32, _ flags: Int32) throws(AgentDenial) -> AgentDescriptor
    {
        let answer = clinux_reopen(raw, flags | O_NONBLOCK)
        guard answer >= 0 else {
            throw AgentDenial(answer: answer, "open", otherwise: .openFailed)
        }
        let descriptor = AgentDescriptor(answer)
        let now = fcntl(answer, F_GETFL)
        guard now >= 0, fcntl(answer, F_SETFL, now & ~O_NONBLOCK) == 0 else {
            throw AgentDenial(answer: -errno, "fcntl", otherwise: .openFailed)
        }
        return descriptor
    }
}

extension AgentAccess {
    var openFlags: Int32 {
        switch self {
        case .read: O_RDONLY
        case .write: O_WRONLY
        case .readWrite: O_RDWR
        }
    }

    /// What the server must grant.
    var rights: AccessRights {
        switch self {
        case .read: .read
        case .write: [.modify, .extend]
        case .readWrite: [.read, .modify, .extend]
        }
    }
}

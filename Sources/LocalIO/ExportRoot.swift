// The export's directory on this host: opens files beneath it and proves that what it opened is
// what the server named.
internal import CLinux
package import DirectIO
internal import Glibc
internal import NFSTypes
package import SystemPackage

/// An open local directory that has been proved to be the server's export.
///
/// Files are opened beneath it with openat2 (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), so that no
/// path leads out of it. Any thread.
package final class ExportRoot: Sendable {
    package let path: FilePath
    private let directory: Descriptor
    private let device: UInt64
    /// The directory's own inode, for the probe.
    let inode: UInt64

    /// Opens `path`, or nil if this process may not.
    init?(path: FilePath) {
        let flags = clinux_o_path | clinux_o_directory | clinux_o_cloexec
        let raw = unsafe path.withPlatformString { unsafe Glibc.open($0, flags) }
        guard raw >= 0 else { return nil }
        directory = Descriptor(owning: raw)
        var status = clinux_stat()
        guard unsafe clinux_statx(raw, nil, false, &status) == 0 else { return nil }
        self.path = path
        device = status.device
        inode = status.inode
    }

    /// The directory's attributes now.
    func status() -> clinux_stat? { Self.status(directory.raw, nil) }

    /// The attributes of a name in the directory itself.
    func status(name: String) -> clinux_stat? { Self.status(directory.raw, name) }

    private static func status(_ descriptor: Int32, _ name: String?) -> clinux_stat? {
        var status = clinux_stat()
        let result =
            if let name {
                unsafe clinux_statx(descriptor, name, true, &status)
            } else {
                unsafe clinux_statx(descriptor, nil, true, &status)
            }
        return result == 0 ? status : nil
    }

    /// Opens the file at `path` (relative, without "..") for local I/O.
    ///
    /// - Parameter attributes: what the server just said about the file; the open file must be
    ///   that inode, on the export's own file system, and a regular file.
    /// - Parameter buffered: also open it without O_DIRECT, for the edges of policy `local`.
    func open(
        path: NFSName, access: AccessMode, attributes: FileAttributes, buffered: Bool
    ) -> Result<LocalFile, FallbackError> {
        guard attributes.type == .regular else { return .failure(.because(.fileDiffers)) }
        // First as a mere place (O_PATH): nothing blocks on a FIFO, and what is opened for I/O
        // afterwards is the very inode that was looked at, whatever its name is by then.
        let found = unsafe path.withCString {
            unsafe clinux_open_beneath(directory.raw, $0, clinux_o_path | clinux_o_nofollow, 0)
        }
        guard found >= 0 else {
            return .failure(.because(found == -ENOENT ? .fileNotFound : .localOpenFailed))
        }
        let place = Descriptor(owning: found)
        guard let status = Self.status(place.raw, nil), isSame(status, attributes) else {
            return .failure(.because(.fileDiffers))
        }
        // Without O_DIRECT before with it: open(2) refuses the flag where direct I/O is not to
        // be had, and the geometry is the better judge.
        let plain = clinux_reopen(place.raw, access.openFlags)
        guard plain >= 0 else { return .failure(.because(.localOpenFailed)) }
        let bufferedFile = Descriptor(owning: plain)
        guard let geometry = (try? FileStatus.of(fd: plain))?.geometry else {
            return .failure(.because(.noDirectIO))
        }
        let direct = clinux_reopen(place.raw, access.openFlags | clinux_o_direct)
        guard direct >= 0 else { return .failure(.because(.localOpenFailed)) }
        let directFile = Descriptor(owning: direct)
        guard buffered else {
            return .success(LocalFile(direct: directFile, buffered: nil, geometry: geometry))
        }
        return .success(
            LocalFile(direct: directFile, buffered: consume bufferedFile, geometry: geometry))
    }

    private func isSame(_ status: clinux_stat, _ attributes: FileAttributes) -> Bool {
        status.mode & UInt32(S_IFMT) == UInt32(S_IFREG)
            && status.inode == attributes.fileID && status.device == device
    }
}

/// A fall-back reason where a Result wants an error.
struct FallbackError: Error {
    let reason: FallbackReason
    static func because(_ reason: FallbackReason) -> FallbackError { .init(reason: reason) }
}

/// An open file that local I/O goes to. Closes when the last I/O on it has ended.
package final class LocalFile: Sendable {
    /// Opened with O_DIRECT.
    let direct: Descriptor
    /// Opened without, for edges; nil unless the policy needs it.
    let buffered: Descriptor?
    let geometry: DirectGeometry
    /// The agent that handed it out; nil if this process opened it.
    let ticket: AgentTicket?
    /// When to look into the kernel's page cache before a direct read.
    let hint: CachedReadHint
    /// Misaligned reads that go on where the last ended.
    let streams = ReadStreams()

    /// The descriptors of a simulated file: numbers that name nothing.
    package convenience init(simulated geometry: DirectGeometry, direct: Int32, buffered: Int32) {
        self.init(
            direct: Descriptor(owning: direct), buffered: Descriptor(owning: buffered),
            geometry: geometry, looksIntoCache: false)
    }

    init(
        direct: consuming Descriptor, buffered: consuming Descriptor?, geometry: DirectGeometry,
        ticket: AgentTicket? = nil, looksIntoCache: Bool = true
    ) {
        hint = CachedReadHint(isOn: looksIntoCache && buffered != nil)
        self.direct = direct
        self.buffered = buffered
        self.geometry = geometry
        self.ticket = ticket
    }

    /// The buffered descriptor's number, or -1.
    var bufferedRaw: Int32 {
        switch buffered {
        case .some(let file): file.raw
        case .none: -1
        }
    }

    /// The file's size in bytes at this moment (statx; no RPC).
    func size() -> UInt64? { status()?.size }

    /// Whether the file ends at `offset` or before.
    func isEnd(_ offset: UInt64) -> Bool { size().map { $0 <= offset } ?? false }

    func status() -> clinux_stat? { Self.status(direct.raw) }

    /// The same of a descriptor of its own.
    static func status(_ descriptor: Int32) -> clinux_stat? {
        var status = clinux_stat()
        return unsafe clinux_statx(descriptor, nil, true, &status) == 0 ? status : nil
    }
}

/// How a file is opened.
public enum AccessMode: String, Sendable, Hashable, CaseIterable {
    case readOnly
    case writeOnly
    case readWrite

    package var canRead: Bool { self != .writeOnly }
    package var canWrite: Bool { self != .readOnly }

    /// What the server must grant before a descriptor is used.
    var rights: AccessRights {
        switch self {
        case .readOnly: .read
        case .writeOnly: [.modify, .extend]
        case .readWrite: [.read, .modify, .extend]
        }
    }

    var openFlags: Int32 {
        switch self {
        case .readOnly: O_RDONLY
        case .writeOnly: O_WRONLY
        case .readWrite: O_RDWR
        }
    }
}

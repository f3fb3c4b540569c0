// Owned descriptors, raw file status and file names: what the server's file calls are made of.
internal import CLinux
internal import Glibc
internal import NFSTypes

/// A call that cannot be carried out, and the status that its reply gets.
struct Refusal: Error {
    let status: NFSStatus

    init(_ status: NFSStatus) { self.status = status }
    init(errno: Int32) { status = StatusTable.status(errno: errno) }
    /// From the negative errno of a CLinux call.
    init(answer: Int32) { self.init(errno: -answer) }
}

/// An open descriptor that is closed with its owner.
struct Descriptor: ~Copyable {
    let raw: Int32

    init(raw: Int32) { self.raw = raw }

    /// From the answer of a CLinux call: a descriptor or a negative errno.
    init(answer: Int32) throws(Refusal) {
        guard answer >= 0 else { throw Refusal(answer: answer) }
        raw = answer
    }

    deinit { close(raw) }

    /// The number, which the caller now owns.
    consuming func take() -> Int32 {
        let raw = self.raw
        discard self
        return raw
    }
}

typealias FileStatus = clinux_stat

extension FileStatus {
    /// The status of what `descriptor` names.
    init(of descriptor: Int32) throws(Refusal) {
        self.init()
        let answer = unsafe clinux_statx(descriptor, nil, true, &self)
        guard answer == 0 else { throw Refusal(answer: answer) }
    }

    var format: UInt32 { mode & UInt32(S_IFMT) }
    var isDirectory: Bool { format == UInt32(S_IFDIR) }
    var isRegular: Bool { format == UInt32(S_IFREG) }
    var isSymbolicLink: Bool { format == UInt32(S_IFLNK) }

    var type: FileType {
        switch format {
        case UInt32(S_IFDIR): .directory
        case UInt32(S_IFLNK): .symbolicLink
        case UInt32(S_IFBLK): .blockDevice
        case UInt32(S_IFCHR): .characterDevice
        case UInt32(S_IFSOCK): .socket
        case UInt32(S_IFIFO): .fifo
        default: .regular
        }
    }
}

/// A file that a call works on: its O_PATH descriptor and its status when it was found.
struct Node: ~Copyable {
    let descriptor: Descriptor
    let status: FileStatus

    init(_ descriptor: consuming Descriptor) throws(Refusal) {
        status = try FileStatus(of: descriptor.raw)
        self.descriptor = descriptor
    }

    var raw: Int32 { descriptor.raw }

    func requireDirectory() throws(Refusal) {
        if !status.isDirectory { throw Refusal(.notDirectory) }
    }
}

/// One component of a path as a client sent it: any bytes but "/" and NUL, ended by a NUL.
struct FileName: Hashable, Sendable {
    let bytes: [CChar]

    /// RFC 1813, section 3.2, leaves what is refused to the server; a name with a "/" must never
    /// reach the file system.
    init(_ source: UnsafeRawBufferPointer) throws(Refusal) {
        if source.count > 255 { throw Refusal(.nameTooLong) }
        try self.init(bytes: unsafe Array(source))
    }

    init(bytes source: [UInt8]) throws(Refusal) {
        if source.count > 255 { throw Refusal(.nameTooLong) }
        if source.isEmpty { throw Refusal(.accessDenied) }
        if source.contains(0) || source.contains(UInt8(ascii: "/")) {
            throw Refusal(.accessDenied)
        }
        bytes = source.map { CChar(bitPattern: $0) } + [0]
    }

    var isDot: Bool { bytes == [46, 0] }
    var isDotDot: Bool { bytes == [46, 46, 0] }
    var isDots: Bool { isDot || isDotDot }
}

/// Opens one name of a directory; see `clinux_open_in_mount`.
func openChild(
    _ directory: Int32, _ name: FileName, flags: Int32, mode: UInt32 = 0
) throws(Refusal) -> Descriptor {
    let answer = unsafe clinux_open_in_mount(directory, name.bytes, flags, mode)
    // A mount point in the export is another file system: the handles here cannot name it.
    if answer == -EXDEV { throw Refusal(.accessDenied) }
    // O_NOFOLLOW on a symbolic link.
    if answer == -ELOOP { throw Refusal(.invalid) }
    return try Descriptor(answer: answer)
}

// Owned file descriptors, and what statx says about the open file behind one.
internal import CLinux
internal import Glibc
public import SystemPackage

/// A file descriptor with one owner; it closes when its owner goes.
public struct Descriptor: ~Copyable, Sendable {
    /// The number, valid as long as this value lives.
    public let raw: Int32

    /// Takes over an open descriptor; nobody else may close it.
    public init(owning raw: Int32) { self.raw = raw }

    deinit { if raw >= 0 { close(raw) } }

    /// Opens `path`; close-on-exec is always set.
    /// - Parameter flags: open(2) flags such as `O_RDWR`; see also `directFlag`.
    public init(path: FilePath, flags: Int32, mode: UInt32 = 0o644) throws(Errno) {
        var descriptor: Int32 = -1
        repeat {
            descriptor = unsafe path.withPlatformString { name in
                unsafe open(name, flags | clinux_o_cloexec, mode)
            }
        } while descriptor < 0 && errno == EINTR
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        raw = descriptor
    }

    /// `O_DIRECT`, which the Glibc module does not show.
    public static var directFlag: Int32 { clinux_o_direct }

    /// A second descriptor for the same open file (it shares its flags and position).
    public borrowing func duplicate() throws(Errno) -> Descriptor {
        let copy = fcntl(raw, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw Errno(rawValue: errno) }
        return Descriptor(owning: copy)
    }

    /// Gives the number to the caller, who now owns it.
    public consuming func release() -> Int32 {
        let raw = self.raw
        discard self
        return raw
    }
}

/// What direct I/O asks of offsets, lengths and memory on one open file, in bytes.
public struct DirectGeometry: Hashable, Sendable {
    /// Memory addresses must be multiples of this; never less than a logical block of the device.
    public var memoryAlignment: Int
    /// Offsets and lengths of writes must be multiples of this.
    public var offsetAlignment: Int
    /// The same for reads; at most `offsetAlignment` (STATX_DIO_READ_ALIGN, Linux 6.14).
    public var readOffsetAlignment: Int

    /// - Parameter readOffsetAlignment: nil where reads ask the same as writes.
    public init(memoryAlignment: Int, offsetAlignment: Int, readOffsetAlignment: Int? = nil) {
        self.memoryAlignment = memoryAlignment
        self.offsetAlignment = offsetAlignment
        self.readOffsetAlignment = readOffsetAlignment ?? offsetAlignment
    }
}

/// What the kernel answers about an open file (statx(2)).
public struct FileStatus: Hashable, Sendable {
    /// Seconds and nanoseconds since 1970.
    public struct Time: Hashable, Sendable {
        public var seconds: Int64
        public var nanoseconds: UInt32
    }

    public var device: UInt64
    public var inode: UInt64
    /// Bytes.
    public var size: UInt64
    /// 512-byte units in use on disk.
    public var blocks: UInt64
    /// Type and permission bits.
    public var mode: UInt32
    public var linkCount: UInt32
    public var userID: UInt32
    public var groupID: UInt32
    public var accessTime: Time
    public var modifyTime: Time
    public var changeTime: Time
    /// nil where the file has no direct I/O (tmpfs) or the kernel cannot say (before 6.1).
    public var geometry: DirectGeometry?

    public var isRegularFile: Bool { mode & UInt32(S_IFMT) == UInt32(S_IFREG) }

    /// Asks the kernel about an open file.
    public static func of(_ descriptor: borrowing Descriptor) throws(Errno) -> FileStatus {
        try of(fd: descriptor.raw)
    }

    /// The same for a borrowed number.
    public static func of(fd: Int32) throws(Errno) -> FileStatus {
        var raw = clinux_stat()
        let status = unsafe clinux_statx(fd, nil, false, &raw)
        guard status == 0 else { throw Errno(rawValue: -status) }
        return FileStatus(raw)
    }

    /// The size alone, in bytes, or a negative errno; nothing is thrown or allocated.
    package static func size(fd: Int32) -> Int64 {
        var raw = clinux_stat()
        let status = unsafe clinux_statx(fd, nil, false, &raw)
        return status == 0 ? Int64(clamping: raw.size) : Int64(status)
    }

    private init(_ raw: clinux_stat) {
        device = raw.device
        inode = raw.inode
        size = raw.size
        blocks = raw.blocks
        mode = raw.mode
        linkCount = raw.link_count
        userID = raw.uid
        groupID = raw.gid
        accessTime = Time(seconds: raw.access_seconds, nanoseconds: raw.access_nanoseconds)
        modifyTime = Time(seconds: raw.modify_seconds, nanoseconds: raw.modify_nanoseconds)
        changeTime = Time(seconds: raw.change_seconds, nanoseconds: raw.change_nanoseconds)
        if raw.has_dio_alignment, raw.dio_memory_alignment > 0, raw.dio_offset_alignment > 0 {
            let known = raw.has_dio_read_alignment ? raw.dio_read_offset_alignment : 0
            let read = known > 0 ? known : raw.dio_offset_alignment
            // The kernel lets memory be aligned to less than a logical block, and then a block
            // may lie across two pages. Not every driver stands that: zram (drivers/block/zram,
            // zram_bio_write) stores the first part only and reports success.
            geometry = DirectGeometry(
                memoryAlignment: max(Int(raw.dio_memory_alignment), Int(read)),
                offsetAlignment: Int(raw.dio_offset_alignment), readOffsetAlignment: Int(read))
        }
    }
}

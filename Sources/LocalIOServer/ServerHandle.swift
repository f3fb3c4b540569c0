// The embedded server's file handles: how one is laid out, made and read back.
internal import CLinux
package import NFSTypes

/// What an embedded server's file handle says. At most 64 bytes, big-endian:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | magic, `0x4C` |
/// | 1 | 1 | version, 1 |
/// | 2 | 1 | kind of generation: 1 the kernel's file handle, 2 the time of birth |
/// | 3 | 1 | bytes of the generation, 0 through 40 |
/// | 4 | 8 | hash of the export's path (FNV-1a, 64 bits) |
/// | 12 | 8 | inode number |
/// | 20 | 4 | the kernel's handle type; 0 with a time of birth |
/// | 24 | … | generation: `f_handle` of name_to_handle_at(2), or seconds (8) and nanoseconds (4) |
///
/// Nothing in it changes when the server starts again. The generation tells a recycled inode
/// from the file that had its number before: such a handle is `NFS3ERR_STALE`. With kind 1,
/// `open_by_handle_at` on any descriptor of the export's file system opens the file; that it lies
/// below the exported directory is not checked again (the kernel's `no_subtree_check`).
package struct ServerHandle: Hashable, Sendable {
    /// What tells two files of one inode number apart.
    package enum Generation: Hashable, Sendable {
        /// name_to_handle_at's type and bytes.
        case kernelHandle(type: Int32, bytes: [UInt8])
        /// Where the file system gives no handles.
        case birthTime(seconds: Int64, nanoseconds: UInt32)
    }

    package static let magic: UInt8 = 0x4C
    package static let version: UInt8 = 1
    static let headerByteCount = 24
    static let generationByteCountLimit = FileHandle.byteCountLimit - headerByteCount

    package var exportHash: UInt64
    package var inode: UInt64
    package var generation: Generation

    package init(exportHash: UInt64, inode: UInt64, generation: Generation) {
        self.exportHash = exportHash
        self.inode = inode
        self.generation = generation
    }

    /// Reads a handle back; nil for one that no embedded server made.
    package init?(_ handle: FileHandle) {
        guard handle.byteCount >= Self.headerByteCount, handle[0] == Self.magic,
            handle[1] == Self.version,
            handle.byteCount == Self.headerByteCount + Int(handle[3])
        else { return nil }
        exportHash = Self.number(handle, at: 4, byteCount: 8)
        inode = Self.number(handle, at: 12, byteCount: 8)
        let type = UInt32(truncatingIfNeeded: Self.number(handle, at: 20, byteCount: 4))
        switch (handle[2], handle[3]) {
        case (1, _):
            let bytes = (Self.headerByteCount..<handle.byteCount).map { handle[$0] }
            generation = .kernelHandle(type: Int32(bitPattern: type), bytes: bytes)
        case (2, 12):
            generation = .birthTime(
                seconds: Int64(bitPattern: Self.number(handle, at: 24, byteCount: 8)),
                nanoseconds: UInt32(truncatingIfNeeded: Self.number(handle, at: 32, byteCount: 4)))
        default: return nil
        }
    }

    /// The handle on the wire; nil if the kernel's handle is longer than 40 bytes.
    package var encoded: FileHandle? {
        var bytes = [Self.magic, Self.version, 0, 0]
        bytes.reserveCapacity(FileHandle.byteCountLimit)
        Self.append(exportHash, byteCount: 8, to: &bytes)
        Self.append(inode, byteCount: 8, to: &bytes)
        switch generation {
        case .kernelHandle(let type, let handle):
            guard handle.count <= Self.generationByteCountLimit else { return nil }
            bytes[2] = 1
            Self.append(UInt64(UInt32(bitPattern: type)), byteCount: 4, to: &bytes)
            bytes += handle
        case .birthTime(let seconds, let nanoseconds):
            bytes[2] = 2
            Self.append(0, byteCount: 4, to: &bytes)
            Self.append(UInt64(bitPattern: seconds), byteCount: 8, to: &bytes)
            Self.append(UInt64(nanoseconds), byteCount: 4, to: &bytes)
        }
        bytes[3] = UInt8(bytes.count - Self.headerByteCount)
        return FileHandle(bytes)
    }

    /// The hash that names an export: FNV-1a of its absolute path.
    package static func exportHash(path: String) -> UInt64 {
        path.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }

    private static func number(_ handle: FileHandle, at start: Int, byteCount: Int) -> UInt64 {
        (start..<(start + byteCount)).reduce(0) { $0 << 8 | UInt64(handle[$1]) }
    }

    private static func append(_ number: UInt64, byteCount: Int, to bytes: inout [UInt8]) {
        for shift in stride(from: (byteCount - 1) * 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(shift)))
        }
    }
}

extension ServerHandle {
    /// The identity of the file that `descriptor` (also an O_PATH one) names.
    init(exportHash: UInt64, descriptor: Int32, status: FileStatus) {
        var type: Int32 = 0
        var bytes = [UInt8](repeating: 0, count: Self.generationByteCountLimit)
        let byteCount = unsafe clinux_name_to_handle(
            descriptor, nil, &type, &bytes, Int32(bytes.count))
        let generation: Generation
        if byteCount > 0 {
            bytes.removeLast(bytes.count - Int(byteCount))
            generation = .kernelHandle(type: type, bytes: bytes)
        } else {
            generation = .birthTime(
                seconds: status.birth_seconds, nanoseconds: status.birth_nanoseconds)
        }
        self.init(exportHash: exportHash, inode: status.inode, generation: generation)
    }
}

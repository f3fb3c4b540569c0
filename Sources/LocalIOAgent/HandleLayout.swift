// Reads the kernel's file handle out of a server's: knfsd, NFS-Ganesha with FSAL VFS, and the
// embedded server put name_to_handle_at's bytes into theirs.
internal import LocalIOServer
package import NFSTypes

/// What a server's handle says about the file it names.
package struct DecodedHandle: Hashable, Sendable {
    package enum Server: String, Sendable, Hashable {
        case knfsd
        case ganesha
        case embedded
    }

    package let server: Server
    /// The bytes that all handles of one export and file system have in common.
    package let scope: [UInt8]
    /// The kernel's handle type; 0 where there is none (an export's root at knfsd).
    package let kernelType: Int32
    package let kernelBytes: [UInt8]

    package var hasKernelHandle: Bool { !kernelBytes.isEmpty }

    /// Decodes by the layout that the first byte names; nil for any other.
    package init?(_ handle: FileHandle) {
        let bytes = handle.bytes
        let decoded =
            switch bytes.first {
            case 0x01: Self.knfsd(bytes)
            case 0x43: Self.ganesha(bytes)
            case ServerHandle.magic: Self.embedded(handle)
            default: DecodedHandle?.none
            }
        guard let decoded else { return nil }
        self = decoded
    }

    private init(server: Server, scope: [UInt8], kernelType: Int32, kernelBytes: [UInt8]) {
        self.server = server
        self.scope = scope
        self.kernelType = kernelType
        self.kernelBytes = kernelBytes
    }

    /// `01 | auth 00 | fsid_type | fileid_type | fsid | fileid` (fs/nfsd/nfsfh.h).
    private static func knfsd(_ bytes: [UInt8]) -> DecodedHandle? {
        let lengths = [8, 4, 12, 8, 8, 8, 16, 24]
        guard bytes.count >= 4, bytes[1] == 0, Int(bytes[2]) < lengths.count else { return nil }
        let end = 4 + lengths[Int(bytes[2])]
        guard bytes.count >= end else { return nil }
        let rest = Array(bytes[end...])
        guard (bytes[3] == 0) == rest.isEmpty else { return nil }
        return DecodedHandle(
            server: .knfsd, scope: [bytes[2]] + bytes[4..<end], kernelType: Int32(bytes[3]),
            kernelBytes: rest)
    }

    /// `43 | flags | export_id (2) | len | opaque[len] | padding`, where opaque is the width of
    /// the type and the fsid's type in one byte, fsid, type, f_handle.
    private static func ganesha(_ bytes: [UInt8]) -> DecodedHandle? {
        guard bytes.count >= 6, bytes.count >= 5 + Int(bytes[4]), bytes[4] > 0,
            bytes[(5 + Int(bytes[4]))...].allSatisfy({ $0 == 0 })
        else { return nil }
        let opaque = bytes[5..<(5 + Int(bytes[4]))]
        let lengths = [0, 8, 8, 16, 8, 8]
        let kind = Int(opaque[5] & 0x1f)
        let widths: [UInt8: Int] = [0x40: 1, 0x80: 2, 0xc0: 4]
        guard kind < lengths.count, let width = widths[opaque[5] & 0xc0] else { return nil }
        let typeStart = 6 + lengths[kind]
        let handleStart = typeStart + width
        guard handleStart < opaque.endIndex else { return nil }
        // The width of the type is the host's own byte order.
        let type = opaque[typeStart..<handleStart].reversed().reduce(0) { $0 << 8 | UInt32($1) }
        return DecodedHandle(
            server: .ganesha, scope: Array(bytes[1..<4] + opaque[5..<typeStart]),
            kernelType: Int32(bitPattern: type), kernelBytes: Array(opaque[handleStart...]))
    }

    private static func embedded(_ handle: FileHandle) -> DecodedHandle? {
        guard let handle = ServerHandle(handle) else { return nil }
        let scope = (0..<8).map { UInt8(truncatingIfNeeded: handle.exportHash >> (8 * $0)) }
        guard case .kernelHandle(let type, let bytes) = handle.generation else {
            return DecodedHandle(server: .embedded, scope: scope, kernelType: 0, kernelBytes: [])
        }
        return DecodedHandle(
            server: .embedded, scope: scope, kernelType: type, kernelBytes: bytes)
    }
}

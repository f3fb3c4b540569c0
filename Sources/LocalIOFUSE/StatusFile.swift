// The file through which a mount tells about itself: in the mount's root, in no listing.
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
internal import NFSTypes

/// The name and the node of the status file.
public enum StatusFile {
    /// Found by its name alone, in the mount's root directory.
    public static let name = ".localio-status"
    static let id = UInt64.max - 1
}

/// One opener's snapshot.
final class StatusText: Sendable {
    let bytes: [UInt8]
    init(_ text: String) { bytes = Array(text.utf8) }
}

extension MountCore {
    private var statusAttributes: clfuse_attributes {
        var attributes = clfuse_attributes()
        attributes.inode = StatusFile.id
        attributes.mode = UInt32(S_IFREG) | 0o444
        attributes.link_count = 1
        attributes.uid = geteuid()
        attributes.gid = getegid()
        attributes.block_size = 4096
        return attributes
    }

    func lookupStatus(_ request: Request) {
        _ = request.entry(
            EntryReply(
                node: StatusFile.id, attributes: statusAttributes, entrySeconds: 0,
                attributeSeconds: 0))
    }

    /// - Returns: false for an operation that the file answers like any other.
    func dispatchStatus(_ operation: clfuse_operation) -> Bool {
        switch operation.opcode {
        case CLFUSE_GETATTR:
            run(operation) { (core, request) async throws(MountError) in
                request.attributes(core.statusAttributes, seconds: 0)
            }
        case CLFUSE_OPEN:
            let flags = operation.flags
            run(operation) { (core, request) async throws(MountError) in
                guard Int32(bitPattern: flags) & O_ACCMODE == O_RDONLY else {
                    throw MountError(EACCES)
                }
                let number = KernelReference.retain(StatusText(core.status().json))
                let direct = clfuse_open(flags: UInt32(CLFUSE_OPEN_DIRECT), backing: 0)
                if !request.opened(file: number, open: direct) {
                    _ = KernelReference.take(number, StatusText.self)
                }
            }
        case CLFUSE_SETATTR:
            run(operation) { (_, request) async throws(MountError) in request.fail(EPERM) }
        default: return false
        }
        return true
    }

    func readStatus(_ request: Request, _ file: UInt64, offset: Int, byteCount: Int) {
        guard let text = KernelReference.borrow(file, StatusText.self) else {
            request.fail(EBADF)
            return
        }
        let start = min(offset, text.bytes.count)
        let end = min(start + byteCount, text.bytes.count)
        unsafe text.bytes.withUnsafeBytes { bytes in
            _ = unsafe request.data(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
        }
    }
}

// The errno that an operation answers, from whatever failed beneath it.
internal import Glibc
internal import LocalIO
internal import NFSClient
internal import NFSTypes
internal import SystemPackage

/// Why an operation failed, as the kernel is told.
struct MountError: Error {
    let errno: Int32

    init(_ errno: Int32) { self.errno = errno }

    /// The server does not let this caller.
    var isRefusal: Bool { errno == EPERM || errno == EACCES }

    init(_ error: RPCError) { errno = Self.visible(error.errno, error.cause) }

    init(_ error: LocalIOError) {
        errno = Self.visible(error.errno.rawValue, error.cause?.cause)
    }

    /// What programs know: NFS's own numbers and those of the connection become EIO, as on a
    /// kernel's NFS mount (fs/nfs/nfs2xdr.c, nfs_stat_to_errno; a soft mount's time-out is EIO).
    private static func visible(_ errno: Int32, _ cause: RPCError.Cause?) -> Int32 {
        switch cause {
        case .status(.badHandle): return ESTALE
        case .cancelled: return EINTR
        default: break
        }
        return switch errno {
        case ETIMEDOUT, ENOTCONN, EHOSTUNREACH, ECANCELED, EREMOTEIO, EPROTOTYPE, EREMOTE: EIO
        case 512...: EIO
        default: errno
        }
    }
}

extension RPCError {
    /// Whether the server answered this. Never inlined: the optimizer of Swift 6.3.1 breaks on
    /// the enumeration's payload inside a function with typed errors that awaits.
    @inline(never)
    func isAnswer(_ wanted: NFSStatus) -> Bool { status == wanted }
}

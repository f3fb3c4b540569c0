// The one place where NFSv3 statuses and errno values are matched (Linux: fs/nfs_common/
// nfs_common.c). Every module that translates goes through here.
internal import Glibc

/// The table between `nfsstat3` and errno.
public enum StatusTable {
    /// One status, its errno and its name in the RFC.
    public struct Row: Sendable {
        public let status: NFSStatus
        public let errno: Int32
        public let name: String
    }

    /// Every status of RFC 1813 with the errno it stands for.
    public static let rows: [Row] = [
        Row(status: .ok, errno: 0, name: "NFS3_OK"),
        Row(status: .notOwner, errno: EPERM, name: "NFS3ERR_PERM"),
        Row(status: .noEntry, errno: ENOENT, name: "NFS3ERR_NOENT"),
        Row(status: .ioError, errno: EIO, name: "NFS3ERR_IO"),
        Row(status: .noDevice, errno: ENXIO, name: "NFS3ERR_NXIO"),
        Row(status: .accessDenied, errno: EACCES, name: "NFS3ERR_ACCES"),
        Row(status: .exists, errno: EEXIST, name: "NFS3ERR_EXIST"),
        Row(status: .crossDevice, errno: EXDEV, name: "NFS3ERR_XDEV"),
        Row(status: .noSuchDevice, errno: ENODEV, name: "NFS3ERR_NODEV"),
        Row(status: .notDirectory, errno: ENOTDIR, name: "NFS3ERR_NOTDIR"),
        Row(status: .isDirectory, errno: EISDIR, name: "NFS3ERR_ISDIR"),
        Row(status: .invalid, errno: EINVAL, name: "NFS3ERR_INVAL"),
        Row(status: .fileTooBig, errno: EFBIG, name: "NFS3ERR_FBIG"),
        Row(status: .noSpace, errno: ENOSPC, name: "NFS3ERR_NOSPC"),
        Row(status: .readOnlyFileSystem, errno: EROFS, name: "NFS3ERR_ROFS"),
        Row(status: .tooManyLinks, errno: EMLINK, name: "NFS3ERR_MLINK"),
        Row(status: .nameTooLong, errno: ENAMETOOLONG, name: "NFS3ERR_NAMETOOLONG"),
        Row(status: .directoryNotEmpty, errno: ENOTEMPTY, name: "NFS3ERR_NOTEMPTY"),
        Row(status: .quotaExceeded, errno: EDQUOT, name: "NFS3ERR_DQUOT"),
        Row(status: .stale, errno: ESTALE, name: "NFS3ERR_STALE"),
        Row(status: .tooManyRemoteLevels, errno: EREMOTE, name: "NFS3ERR_REMOTE"),
        Row(status: .badHandle, errno: EBADF, name: "NFS3ERR_BADHANDLE"),
        Row(status: .notSynchronized, errno: EBUSY, name: "NFS3ERR_NOT_SYNC"),
        Row(status: .badCookie, errno: EBADCOOKIE, name: "NFS3ERR_BAD_COOKIE"),
        Row(status: .notSupported, errno: EOPNOTSUPP, name: "NFS3ERR_NOTSUPP"),
        Row(status: .tooSmall, errno: EOVERFLOW, name: "NFS3ERR_TOOSMALL"),
        Row(status: .serverFault, errno: EREMOTEIO, name: "NFS3ERR_SERVERFAULT"),
        Row(status: .badType, errno: EPROTOTYPE, name: "NFS3ERR_BADTYPE"),
        Row(status: .jukebox, errno: EAGAIN, name: "NFS3ERR_JUKEBOX"),
    ]

    /// The row of a status, or nil for one that the RFC does not have.
    public static func row(status: NFSStatus) -> Row? {
        rows.first { $0.status == status }
    }

    /// The errno a client gives its caller; EIO for a status that the RFC does not have.
    public static func errno(_ status: NFSStatus) -> Int32 {
        row(status: status)?.errno ?? EIO
    }

    /// The status a server answers for an errno; `ioError` where the RFC has nothing nearer.
    public static func status(errno: Int32) -> NFSStatus {
        if let row = rows.first(where: { $0.errno == errno }) { return row.status }
        return switch errno {
        case ENOSYS: .notSupported
        case ENOTBLK, ETXTBSY: .accessDenied
        case ELOOP: .invalid
        case ENOMEM, EMFILE, ENFILE: .jukebox
        default: .ioError
        }
    }
}

/// Linux's own EBADCOOKIE (include/linux/errno.h), which no user-space header names.
private let EBADCOOKIE: Int32 = 523

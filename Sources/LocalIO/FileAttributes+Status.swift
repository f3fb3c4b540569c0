// Turns a local statx answer into the attributes that a server would send.
internal import CLinux
internal import Glibc
internal import NFSTypes

extension FileAttributes {
    /// The attributes of a local file as NFSv3 has them.
    init(_ status: clinux_stat) {
        let type: FileType =
            switch status.mode & UInt32(S_IFMT) {
            case UInt32(S_IFDIR): .directory
            case UInt32(S_IFLNK): .symbolicLink
            case UInt32(S_IFBLK): .blockDevice
            case UInt32(S_IFCHR): .characterDevice
            case UInt32(S_IFSOCK): .socket
            case UInt32(S_IFIFO): .fifo
            default: .regular
            }
        self.init(
            type: type, mode: status.mode & 0o7777, linkCount: status.link_count,
            uid: status.uid, gid: status.gid, size: status.size, used: status.blocks * 512,
            deviceMajor: status.device_major, deviceMinor: status.device_minor,
            fileSystemID: status.device, fileID: status.inode,
            accessTime: FileTime(local: status.access_seconds, status.access_nanoseconds),
            modifyTime: FileTime(local: status.modify_seconds, status.modify_nanoseconds),
            changeTime: FileTime(local: status.change_seconds, status.change_nanoseconds))
    }
}

extension FileTime {
    /// NFSv3 carries the low 32 bits of the seconds.
    fileprivate init(local seconds: Int64, _ nanoseconds: UInt32) {
        self.init(seconds: UInt32(truncatingIfNeeded: seconds), nanoseconds: nanoseconds)
    }
}

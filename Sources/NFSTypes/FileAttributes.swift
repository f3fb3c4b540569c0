/// What kind of file a handle names (RFC 1813, section 2.3.5, `ftype3`).
public enum FileType: UInt32, Sendable, Hashable, CaseIterable {
    case regular = 1
    case directory = 2
    case blockDevice = 3
    case characterDevice = 4
    case symbolicLink = 5
    case socket = 6
    case fifo = 7
}

/// Seconds and nanoseconds since 1970; NFSv3 carries the seconds in 32 unsigned bits.
public struct FileTime: Hashable, Sendable, Comparable {
    public var seconds: UInt32
    /// 0 through 999,999,999.
    public var nanoseconds: UInt32

    public init(seconds: UInt32, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// Whether a statx time is the same: NFSv3 carries the low 32 bits of the seconds.
    package func isSame(_ localSeconds: Int64, _ localNanoseconds: UInt32) -> Bool {
        seconds == UInt32(truncatingIfNeeded: localSeconds) && nanoseconds == localNanoseconds
    }

    public static func < (left: FileTime, right: FileTime) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }
}

/// A file's attributes as a server answers them (RFC 1813, section 2.3.5, `fattr3`).
public struct FileAttributes: Hashable, Sendable {
    public var type: FileType
    /// Permission bits and set-id bits, without the file type (`07777`).
    public var mode: UInt32
    public var linkCount: UInt32
    public var uid: UInt32
    public var gid: UInt32
    /// Bytes.
    public var size: UInt64
    /// Bytes of storage in use.
    public var used: UInt64
    public var deviceMajor: UInt32
    public var deviceMinor: UInt32
    /// The file system's identity at the server; says nothing outside it.
    public var fileSystemID: UInt64
    /// The inode number.
    public var fileID: UInt64
    public var accessTime: FileTime
    public var modifyTime: FileTime
    public var changeTime: FileTime

    public init(
        type: FileType, mode: UInt32, linkCount: UInt32, uid: UInt32, gid: UInt32, size: UInt64,
        used: UInt64, deviceMajor: UInt32, deviceMinor: UInt32, fileSystemID: UInt64,
        fileID: UInt64, accessTime: FileTime, modifyTime: FileTime, changeTime: FileTime
    ) {
        self.type = type
        self.mode = mode
        self.linkCount = linkCount
        self.uid = uid
        self.gid = gid
        self.size = size
        self.used = used
        self.deviceMajor = deviceMajor
        self.deviceMinor = deviceMinor
        self.fileSystemID = fileSystemID
        self.fileID = fileID
        self.accessTime = accessTime
        self.modifyTime = modifyTime
        self.changeTime = changeTime
    }
}

/// What SETATTR and the creating calls change; nil leaves an attribute as it is
/// (RFC 1813, section 2.3.5, `sattr3`).
public struct SetAttributes: Hashable, Sendable {
    /// How a time is set.
    public enum TimeSetting: Hashable, Sendable {
        case serverTime
        case clientTime(FileTime)
    }

    public var mode: UInt32?
    public var uid: UInt32?
    public var gid: UInt32?
    /// Bytes; truncates or extends.
    public var size: UInt64?
    public var accessTime: TimeSetting?
    public var modifyTime: TimeSetting?

    public init(
        mode: UInt32? = nil, uid: UInt32? = nil, gid: UInt32? = nil, size: UInt64? = nil,
        accessTime: TimeSetting? = nil, modifyTime: TimeSetting? = nil
    ) {
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.accessTime = accessTime
        self.modifyTime = modifyTime
    }
}

/// Who makes a call, as AUTH_SYS carries it (RFC 5531, appendix A).
public struct Credentials: Hashable, Sendable {
    /// AUTH_SYS carries at most 16 supplementary groups.
    public static let groupLimit = 16

    public var uid: UInt32
    public var gid: UInt32
    /// Supplementary groups; those past the sixteenth are not sent.
    public var groups: [UInt32]

    public init(uid: UInt32, gid: UInt32, groups: [UInt32] = []) {
        self.uid = uid
        self.gid = gid
        self.groups = groups
    }
}

/// The rights that ACCESS asks about and grants (RFC 1813, section 3.3.4).
public struct AccessRights: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let read = AccessRights(rawValue: 0x01)
    public static let lookup = AccessRights(rawValue: 0x02)
    public static let modify = AccessRights(rawValue: 0x04)
    public static let extend = AccessRights(rawValue: 0x08)
    public static let delete = AccessRights(rawValue: 0x10)
    public static let execute = AccessRights(rawValue: 0x20)
}

/// What a server can do and prefers (RFC 1813, section 3.3.19, FSINFO). Sizes in bytes.
public struct FileSystemInfo: Hashable, Sendable {
    public var readLimit: UInt32
    public var readPreferred: UInt32
    public var readMultiple: UInt32
    public var writeLimit: UInt32
    public var writePreferred: UInt32
    public var writeMultiple: UInt32
    public var directoryPreferred: UInt32
    public var fileSizeLimit: UInt64
    public var timeGranularity: FileTime
    /// `FSF3_LINK` 1, `FSF3_SYMLINK` 2, `FSF3_HOMOGENEOUS` 8, `FSF3_CANSETTIME` 16.
    public var properties: UInt32

    public init(
        readLimit: UInt32, readPreferred: UInt32, readMultiple: UInt32, writeLimit: UInt32,
        writePreferred: UInt32, writeMultiple: UInt32, directoryPreferred: UInt32,
        fileSizeLimit: UInt64, timeGranularity: FileTime, properties: UInt32
    ) {
        self.readLimit = readLimit
        self.readPreferred = readPreferred
        self.readMultiple = readMultiple
        self.writeLimit = writeLimit
        self.writePreferred = writePreferred
        self.writeMultiple = writeMultiple
        self.directoryPreferred = directoryPreferred
        self.fileSizeLimit = fileSizeLimit
        self.timeGranularity = timeGranularity
        self.properties = properties
    }
}

/// Space and files left (RFC 1813, section 3.3.18, FSSTAT). Sizes in bytes.
public struct FileSystemStatus: Hashable, Sendable {
    public var totalBytes: UInt64
    public var freeBytes: UInt64
    /// Bytes free to the caller.
    public var availableBytes: UInt64
    public var totalFiles: UInt64
    public var freeFiles: UInt64
    public var availableFiles: UInt64
    /// Seconds for which nothing is expected to change.
    public var invariantSeconds: UInt32

    public init(
        totalBytes: UInt64, freeBytes: UInt64, availableBytes: UInt64, totalFiles: UInt64,
        freeFiles: UInt64, availableFiles: UInt64, invariantSeconds: UInt32
    ) {
        self.totalBytes = totalBytes
        self.freeBytes = freeBytes
        self.availableBytes = availableBytes
        self.totalFiles = totalFiles
        self.freeFiles = freeFiles
        self.availableFiles = availableFiles
        self.invariantSeconds = invariantSeconds
    }
}

/// Limits on names and links (RFC 1813, section 3.3.20, PATHCONF).
public struct PathConfiguration: Hashable, Sendable {
    public var linkLimit: UInt32
    public var nameLimit: UInt32
    /// Too long a name is refused rather than cut.
    public var refusesLongNames: Bool
    public var restrictsOwnerChange: Bool
    public var ignoresCase: Bool
    public var preservesCase: Bool

    public init(
        linkLimit: UInt32, nameLimit: UInt32, refusesLongNames: Bool, restrictsOwnerChange: Bool,
        ignoresCase: Bool, preservesCase: Bool
    ) {
        self.linkLimit = linkLimit
        self.nameLimit = nameLimit
        self.refusesLongNames = refusesLongNames
        self.restrictsOwnerChange = restrictsOwnerChange
        self.ignoresCase = ignoresCase
        self.preservesCase = preservesCase
    }
}

/// One entry of READDIRPLUS (RFC 1813, section 3.3.17).
public struct DirectoryEntry: Hashable, Sendable {
    public var fileID: UInt64
    public var name: NFSName
    /// Where the listing goes on after this entry.
    public var cookie: UInt64
    public var attributes: FileAttributes?
    public var handle: FileHandle?

    public init(
        fileID: UInt64, name: NFSName, cookie: UInt64, attributes: FileAttributes? = nil,
        handle: FileHandle? = nil
    ) {
        self.fileID = fileID
        self.name = name
        self.cookie = cookie
        self.attributes = attributes
        self.handle = handle
    }
}

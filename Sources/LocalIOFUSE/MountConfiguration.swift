// What a mount may be told, with the defaults that suit most.
public import LocalIO

/// How a mount behaves.
public struct MountConfiguration: Sendable {
    public var url: NFSURL
    public var mountPoint: String
    public var client = ClientConfiguration()
    /// The kernel collects writes in its page cache and writes them back later.
    public var writebackCache = true
    /// Every open bypasses the kernel's page cache.
    public var directIO = false
    /// Files that are local when they are opened are read and written by the kernel itself (FUSE
    /// passthrough, Linux 6.9): as fast as the file system, and not to be taken back before they
    /// are closed. Instead of the writeback cache; root only.
    public var passesThrough = false
    public var isReadOnly = false
    /// Users other than the one who mounted may enter.
    public var allowsOthers: Bool
    /// The kernel checks permission bits itself, before the server does.
    public var checksPermissions = true
    /// How long attributes of files and of directories hold, in seconds.
    public var fileAttributeSeconds: ClosedRange<Double> = 3...60
    public var directoryAttributeSeconds: ClosedRange<Double> = 30...60
    /// How long a name holds before it is looked up again; nil for the least of the attributes'.
    public var entrySeconds: Double?
    /// Options of the mount itself that the kernel or fusermount3 understands (nosuid, noatime).
    public var kernelOptions: [String] = []
    /// Receiving threads.
    public var threads = 16
    /// Requests of write-back and read-ahead that the kernel has under way at once.
    public var maxBackground: UInt32 = 64
    /// The kernel's read-ahead in KiB, where it may be set; 0 leaves it.
    public var readAheadKibibytes: UInt32 = 4096
    /// mlockall, PR_SET_IO_FLUSHER and oom_score_adj, as far as they are allowed.
    public var nestedIO = true
    /// Prints every request of the kernel.
    public var debug = false

    public init(url: NFSURL, mountPoint: String, allowsOthers: Bool = false) {
        self.url = url
        self.mountPoint = mountPoint
        self.allowsOthers = allowsOthers
    }

    /// `noac`: attributes and names are asked for every time.
    public mutating func disableAttributeCache() {
        fileAttributeSeconds = 0...0
        directoryAttributeSeconds = 0...0
        entrySeconds = 0
    }
}

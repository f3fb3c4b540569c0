// What an embedded server exports, where it listens, and the faults it injects.
public import Logging

/// The settings of an `EmbeddedServer`.
public struct ServerConfiguration: Sendable {
    /// The directory to export; it is exported under its absolute path.
    public var directory: String
    /// The TCP port, 0 for any free one; 0 through 65535.
    public var port: Int
    /// The IPv4 or IPv6 address to listen at.
    public var bindAddress: String
    /// Threads that carry out calls; at least 1.
    public var workers: Int
    /// Every call that would change something answers `NFS3ERR_ROFS`.
    public var readOnly: Bool
    public var limits: ServerLimits
    /// Faults to inject; none by default.
    public var faults: ServerFaults
    public var logger: Logger

    public init(
        directory: String, port: Int = 0, bindAddress: String = "127.0.0.1", workers: Int = 4,
        readOnly: Bool = false, limits: ServerLimits = ServerLimits(),
        faults: ServerFaults = ServerFaults(), logger: Logger = Logger(label: "localio.server")
    ) {
        self.directory = directory
        self.port = port
        self.bindAddress = bindAddress
        self.workers = workers
        self.readOnly = readOnly
        self.limits = limits
        self.faults = faults
        self.logger = logger
    }
}

/// Faults that an `EmbeddedServer` injects, for tests. Zero or nil leaves one out.
public struct ServerFaults: Hashable, Sendable {
    /// UNSTABLE writes stay in memory until COMMIT and are lost when the server ends.
    public var holdUncommitted: Bool
    /// Every reply waits this long in its worker.
    public var replyDelay: Duration
    /// Every so many calls the connection is dropped in place of the reply.
    public var dropConnectionEvery: Int
    /// WRITE answers `NFS3ERR_NOSPC` once so many bytes were written.
    public var noSpaceAfterBytes: UInt64?
    /// READ answers at most so many bytes.
    public var readByteLimit: Int
    /// WRITE takes at most so many bytes.
    public var writeByteLimit: Int
    /// Every so many NFS calls one is answered `NFS3ERR_JUKEBOX` without being carried out.
    public var jukeboxEvery: Int
    /// Every so many READDIRs and READDIRPLUSes one is answered `NFS3ERR_NOENT`, as NFS-Ganesha
    /// does if a name goes while it lists.
    public var lostNameEvery: Int

    public init(
        holdUncommitted: Bool = false, replyDelay: Duration = .zero, dropConnectionEvery: Int = 0,
        noSpaceAfterBytes: UInt64? = nil, readByteLimit: Int = 0, writeByteLimit: Int = 0,
        jukeboxEvery: Int = 0, lostNameEvery: Int = 0
    ) {
        self.holdUncommitted = holdUncommitted
        self.replyDelay = replyDelay
        self.dropConnectionEvery = dropConnectionEvery
        self.noSpaceAfterBytes = noSpaceAfterBytes
        self.readByteLimit = readByteLimit
        self.writeByteLimit = writeByteLimit
        self.jukeboxEvery = jukeboxEvery
        self.lostNameEvery = lostNameEvery
    }
}

/// What an NFSv3 server answered to a call (RFC 1813, section 2.6, `nfsstat3`).
public struct NFSStatus: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let ok = NFSStatus(rawValue: 0)
    public static let notOwner = NFSStatus(rawValue: 1)
    public static let noEntry = NFSStatus(rawValue: 2)
    public static let ioError = NFSStatus(rawValue: 5)
    public static let noDevice = NFSStatus(rawValue: 6)
    public static let accessDenied = NFSStatus(rawValue: 13)
    public static let exists = NFSStatus(rawValue: 17)
    public static let crossDevice = NFSStatus(rawValue: 18)
    public static let noSuchDevice = NFSStatus(rawValue: 19)
    public static let notDirectory = NFSStatus(rawValue: 20)
    public static let isDirectory = NFSStatus(rawValue: 21)
    public static let invalid = NFSStatus(rawValue: 22)
    public static let fileTooBig = NFSStatus(rawValue: 27)
    public static let noSpace = NFSStatus(rawValue: 28)
    public static let readOnlyFileSystem = NFSStatus(rawValue: 30)
    public static let tooManyLinks = NFSStatus(rawValue: 31)
    public static let nameTooLong = NFSStatus(rawValue: 63)
    public static let directoryNotEmpty = NFSStatus(rawValue: 66)
    public static let quotaExceeded = NFSStatus(rawValue: 69)
    public static let stale = NFSStatus(rawValue: 70)
    public static let tooManyRemoteLevels = NFSStatus(rawValue: 71)
    public static let badHandle = NFSStatus(rawValue: 10001)
    public static let notSynchronized = NFSStatus(rawValue: 10002)
    public static let badCookie = NFSStatus(rawValue: 10003)
    public static let notSupported = NFSStatus(rawValue: 10004)
    public static let tooSmall = NFSStatus(rawValue: 10005)
    public static let serverFault = NFSStatus(rawValue: 10006)
    public static let badType = NFSStatus(rawValue: 10007)
    /// The server asks for the same call later.
    public static let jukebox = NFSStatus(rawValue: 10008)
}

extension NFSStatus: CustomStringConvertible {
    /// The RFC's name, such as `NFS3ERR_STALE`.
    public var description: String {
        StatusTable.row(status: self)?.name ?? "NFS3ERR_\(rawValue)"
    }
}

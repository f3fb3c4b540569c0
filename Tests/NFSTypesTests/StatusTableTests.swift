// The table between NFSv3 statuses and errno values, every case both ways.
import Glibc
import NFSTypes
import Testing

@Suite struct StatusTableTests {
    /// RFC 1813, section 2.6: every status with its number.
    static let statuses: [(UInt32, String)] = [
        (0, "NFS3_OK"), (1, "NFS3ERR_PERM"), (2, "NFS3ERR_NOENT"), (5, "NFS3ERR_IO"),
        (6, "NFS3ERR_NXIO"), (13, "NFS3ERR_ACCES"), (17, "NFS3ERR_EXIST"),
        (18, "NFS3ERR_XDEV"), (19, "NFS3ERR_NODEV"), (20, "NFS3ERR_NOTDIR"),
        (21, "NFS3ERR_ISDIR"), (22, "NFS3ERR_INVAL"), (27, "NFS3ERR_FBIG"),
        (28, "NFS3ERR_NOSPC"), (30, "NFS3ERR_ROFS"), (31, "NFS3ERR_MLINK"),
        (63, "NFS3ERR_NAMETOOLONG"), (66, "NFS3ERR_NOTEMPTY"), (69, "NFS3ERR_DQUOT"),
        (70, "NFS3ERR_STALE"), (71, "NFS3ERR_REMOTE"), (10001, "NFS3ERR_BADHANDLE"),
        (10002, "NFS3ERR_NOT_SYNC"), (10003, "NFS3ERR_BAD_COOKIE"),
        (10004, "NFS3ERR_NOTSUPP"), (10005, "NFS3ERR_TOOSMALL"),
        (10006, "NFS3ERR_SERVERFAULT"), (10007, "NFS3ERR_BADTYPE"),
        (10008, "NFS3ERR_JUKEBOX"),
    ]

    @Test func theTableHasExactlyTheStatusesOfTheRFC() {
        #expect(StatusTable.rows.count == Self.statuses.count)
        for (number, name) in Self.statuses {
            let row = StatusTable.row(status: NFSStatus(rawValue: number))
            #expect(row?.name == name)
            #expect(NFSStatus(rawValue: number).description == name)
        }
    }

    @Test func everyRowGoesThereAndBack() {
        for row in StatusTable.rows {
            #expect(StatusTable.errno(row.status) == row.errno)
            #expect(StatusTable.status(errno: row.errno) == row.status)
        }
        #expect(Set(StatusTable.rows.map(\.errno)).count == StatusTable.rows.count)
        #expect(Set(StatusTable.rows.map(\.status)).count == StatusTable.rows.count)
    }

    /// RFC 1813 numbers these as UNIX does.
    @Test(arguments: [
        (1, EPERM), (2, ENOENT), (5, EIO), (6, ENXIO), (13, EACCES), (17, EEXIST), (18, EXDEV),
        (19, ENODEV), (20, ENOTDIR), (21, EISDIR), (22, EINVAL), (27, EFBIG), (28, ENOSPC),
        (30, EROFS), (31, EMLINK), (63, ENAMETOOLONG), (66, ENOTEMPTY), (69, EDQUOT),
        (70, ESTALE), (71, EREMOTE),
    ] as [(UInt32, Int32)])
    func statusesStandForTheErrnoOfTheirName(status: UInt32, errno: Int32) {
        #expect(StatusTable.errno(NFSStatus(rawValue: status)) == errno)
    }

    @Test func everyErrnoOfTheSystemHasAStatus() {
        for code in Int32(1)...133 {
            #expect(StatusTable.status(errno: code) != .ok)
        }
        #expect(StatusTable.status(errno: ENOSYS) == .notSupported)
        #expect(StatusTable.status(errno: EMFILE) == .jukebox)
        #expect(StatusTable.status(errno: 9999) == .ioError)
    }

    @Test func anUnknownStatusIsAnInputOutputError() {
        let unknown = NFSStatus(rawValue: 77)
        #expect(StatusTable.errno(unknown) == EIO)
        #expect(StatusTable.row(status: unknown) == nil)
        #expect(unknown.description == "NFS3ERR_77")
    }
}

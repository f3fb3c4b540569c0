// Between libnfs's XDR structures and the types of NFSTypes (RFC 1813, sections 2.3 and 2.6).
internal import CNFS
internal import NFSTypes

extension NFSStatus {
    init(_ status: nfsstat3) { self.init(rawValue: UInt32(status.rawValue)) }
}

extension FileTime {
    init(_ time: nfstime3) { self.init(seconds: time.seconds, nanoseconds: time.nseconds) }

    var form: nfstime3 { nfstime3(seconds: seconds, nseconds: nanoseconds) }
}

extension FileAttributes {
    /// Nil for a file type that the RFC does not have.
    init?(_ form: fattr3) {
        guard let type = FileType(rawValue: UInt32(form.type.rawValue)) else { return nil }
        self.init(
            type: type, mode: form.mode & 0o7777, linkCount: form.nlink, uid: form.uid,
            gid: form.gid, size: form.size, used: form.used, deviceMajor: form.rdev.specdata1,
            deviceMinor: form.rdev.specdata2, fileSystemID: form.fsid, fileID: form.fileid,
            accessTime: FileTime(form.atime), modifyTime: FileTime(form.mtime),
            changeTime: FileTime(form.ctime))
    }

    /// Nil where the server left the attributes out.
    init?(_ form: post_op_attr) {
        guard form.attributes_follow != 0 else { return nil }
        unsafe self.init(form.post_op_attr_u.attributes)
    }
}

extension FileHandle {
    /// Nil for one that is longer than the protocol allows.
    init?(_ form: nfs_fh3) {
        unsafe self.init(
            bytes: unsafe UnsafeRawBufferPointer(
                start: form.data.data_val, count: Int(form.data.data_len)))
    }

    init?(_ form: post_op_fh3) {
        guard unsafe form.handle_follows != 0 else { return nil }
        unsafe self.init(form.post_op_fh3_u.handle)
    }
}

extension SetAttributes {
    var form: sattr3 {
        var form = sattr3()
        if let mode {
            form.mode.set_it = 1
            unsafe form.mode.set_mode3_u.mode = mode
        }
        if let uid {
            form.uid.set_it = 1
            unsafe form.uid.set_uid3_u.uid = uid
        }
        if let gid {
            form.gid.set_it = 1
            unsafe form.gid.set_gid3_u.gid = gid
        }
        if let size {
            form.size.set_it = 1
            unsafe form.size.set_size3_u.size = size
        }
        switch accessTime {
        case nil: form.atime.set_it = DONT_CHANGE
        case .serverTime: form.atime.set_it = SET_TO_SERVER_TIME
        case .clientTime(let time):
            form.atime.set_it = SET_TO_CLIENT_TIME
            unsafe form.atime.set_atime_u.atime = time.form
        }
        switch modifyTime {
        case nil: form.mtime.set_it = DONT_CHANGE
        case .serverTime: form.mtime.set_it = SET_TO_SERVER_TIME
        case .clientTime(let time):
            form.mtime.set_it = SET_TO_CLIENT_TIME
            unsafe form.mtime.set_mtime_u.mtime = time.form
        }
        return form
    }
}

/// Eight bytes of an opaque verifier as the host's number; only equality means anything.
typealias VerifierBytes = (CChar, CChar, CChar, CChar, CChar, CChar, CChar, CChar)

func number(_ bytes: VerifierBytes) -> UInt64 {
    unsafe withUnsafeBytes(of: bytes) { unsafe $0.loadUnaligned(as: UInt64.self) }
}

func verifierBytes(_ number: UInt64) -> VerifierBytes {
    unsafe withUnsafeBytes(of: number) { unsafe $0.loadUnaligned(as: VerifierBytes.self) }
}

/// The name at `pointer`; empty for none.
func name(_ pointer: UnsafeMutablePointer<CChar>?) -> NFSName {
    guard let pointer = unsafe pointer else { return "" }
    return unsafe NFSName(cString: pointer)
}

/// The text at `pointer`, ill-formed UTF-8 repaired; empty for none.
func text(_ pointer: UnsafeMutablePointer<CChar>?) -> String {
    guard let pointer = unsafe pointer else { return "" }
    return unsafe String(cString: pointer)
}

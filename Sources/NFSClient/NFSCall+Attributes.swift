// The calls on one file: NULL, GETATTR, SETATTR, ACCESS, READLINK, COMMIT, and those about the
// file system: FSSTAT, FSINFO, PATHCONF.
internal import CNFS
public import NFSTypes

extension NFSCall where Reply == Void {
    /// Does nothing, at the server (RFC 1813, section 3.3.0).
    public static var null: NFSCall<Void> {
        unsafe NFSCall(
            "NULL", isIdempotent: true,
            send: { unsafe rpc_nfs3_null_async($0, replyArrived, $1) },
            decode: { _ in .reply(()) })
    }
}

extension NFSCall where Reply == FileAttributes {
    /// Asks for a file's attributes (RFC 1813, section 3.3.1).
    public static func getAttributes(_ handle: FileHandle) -> NFSCall<FileAttributes> {
        unsafe NFSCall(
            "GETATTR", isIdempotent: true,
            send: { context, token in
                unsafe withHandle(handle) { form in
                    var arguments = unsafe GETATTR3args(object: form)
                    return unsafe rpc_nfs3_getattr_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, GETATTR3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                guard
                    let attributes = unsafe FileAttributes(form.GETATTR3res_u.resok.obj_attributes)
                else { return .malformed("GETATTR answered an unknown file type") }
                return .reply(attributes)
            })
    }
}

extension NFSCall where Reply == FileAttributes? {
    /// Changes attributes, and the size (RFC 1813, section 3.3.2).
    /// - Parameter guardChangeTime: fail with `notSynchronized` unless the file's change time is
    ///   this. With it the call must not be sent twice.
    public static func setAttributes(
        _ handle: FileHandle, _ attributes: SetAttributes, guardChangeTime: FileTime? = nil
    ) -> NFSCall<FileAttributes?> {
        unsafe NFSCall(
            "SETATTR", isIdempotent: guardChangeTime == nil,
            send: { context, token in
                unsafe withHandle(handle) { form in
                    var arguments = unsafe SETATTR3args()
                    unsafe arguments.object = unsafe form
                    unsafe arguments.new_attributes = attributes.form
                    if let guardChangeTime {
                        unsafe arguments.guard.check = 1
                        unsafe arguments.guard.sattrguard3_u.obj_ctime = guardChangeTime.form
                    }
                    return unsafe rpc_nfs3_setattr_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, SETATTR3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                return unsafe .reply(FileAttributes(form.SETATTR3res_u.resok.obj_wcc.after))
            })
    }
}

extension NFSCall where Reply == AccessReply {
    /// Asks which of `rights` the caller has (RFC 1813, section 3.3.4).
    public static func access(
        _ handle: FileHandle, _ rights: AccessRights
    ) -> NFSCall<AccessReply> {
        unsafe NFSCall(
            "ACCESS", isIdempotent: true,
            send: { context, token in
                unsafe withHandle(handle) { form in
                    var arguments = unsafe ACCESS3args(object: form, access: rights.rawValue)
                    return unsafe rpc_nfs3_access_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, ACCESS3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                let reply = unsafe form.ACCESS3res_u.resok
                return .reply(
                    AccessReply(
                        granted: AccessRights(rawValue: reply.access),
                        attributes: FileAttributes(reply.obj_attributes)))
            })
    }
}

extension NFSCall where Reply == ReadLinkReply {
    /// Reads a symbolic link (RFC 1813, section 3.3.5).
    public static func readLink(_ handle: FileHandle) -> NFSCall<ReadLinkReply> {
        unsafe NFSCall(
            "READLINK", isIdempotent: true,
            send: { context, token in
                unsafe withHandle(handle) { form in
                    var arguments = unsafe READLINK3args(symlink: form)
                    return unsafe rpc_nfs3_readlink_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, READLINK3res.self) else { return .empty }
                guard unsafe form.status == NFS3_OK else {
                    return unsafe .status(NFSStatus(form.status))
                }
                let reply = unsafe form.READLINK3res_u.resok
                return unsafe .reply(
                    ReadLinkReply(
                        target: name(reply.data),
                        attributes: FileAttributes(reply.symlink_attributes)))
            })
    }
}

extension NFSCall where Reply == CommitReply {
    /// Makes unstable writes durable (RFC 1813, section 3.3.21).
    /// - Parameter byteCount: 0 for all from `offset` to the file's end.
    public static func commit(
        _ handle: FileHandle, offset: UInt64 = 0, byteCount: UInt32 = 0
    ) -> NFSCall<CommitReply> {
        unsafe NFSCall(
            "COMMIT", isIdempotent: true,
            send: { context, token in
                unsafe withHandle(handle) { form in
                    var arguments = unsafe COMMIT3args(
                        file: form, offset: offset, count: byteCount)
                    return unsafe rpc_nfs3_commit_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, COMMIT3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                let reply = unsafe form.COMMIT3res_u.resok
                return .reply(
                    CommitReply(
                        verifier: WriteVerifier(rawValue: number(reply.verf)),
                        attributes: FileAttributes(reply.file_wcc.after)))
            })
    }
}

extension NFSCall where Reply == FileSystemStatus {
    /// Asks for the space that is left (RFC 1813, section 3.3.18).
    public static func fileSystemStatus(_ root: FileHandle) -> NFSCall<FileSystemStatus> {
        unsafe NFSCall(
            "FSSTAT", isIdempotent: true,
            send: { context, token in
                unsafe withHandle(root) { form in
                    var arguments = unsafe FSSTAT3args(fsroot: form)
                    return unsafe rpc_nfs3_fsstat_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, FSSTAT3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                let reply = unsafe form.FSSTAT3res_u.resok
                return .reply(
                    FileSystemStatus(
                        totalBytes: reply.tbytes, freeBytes: reply.fbytes,
                        availableBytes: reply.abytes, totalFiles: reply.tfiles,
                        freeFiles: reply.ffiles, availableFiles: reply.afiles,
                        invariantSeconds: reply.invarsec))
            })
    }
}

extension NFSCall where Reply == FileSystemInfo {
    /// Asks for the server's limits (RFC 1813, section 3.3.19).
    public static func fileSystemInfo(_ root: FileHandle) -> NFSCall<FileSystemInfo> {
        unsafe NFSCall(
            "FSINFO", isIdempotent: true,
            send: { context, token in
                unsafe withHandle(root) { form in
                    var arguments = unsafe FSINFO3args(fsroot: form)
                    return unsafe rpc_nfs3_fsinfo_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, FSINFO3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                let reply = unsafe form.FSINFO3res_u.resok
                return .reply(
                    FileSystemInfo(
                        readLimit: reply.rtmax, readPreferred: reply.rtpref,
                        readMultiple: reply.rtmult, writeLimit: reply.wtmax,
                        writePreferred: reply.wtpref, writeMultiple: reply.wtmult,
                        directoryPreferred: reply.dtpref, fileSizeLimit: reply.maxfilesize,
                        timeGranularity: FileTime(reply.time_delta),
                        properties: reply.properties))
            })
    }
}

extension NFSCall where Reply == PathConfiguration {
    /// Asks for limits on names and links (RFC 1813, section 3.3.20).
    public static func pathConfiguration(_ handle: FileHandle) -> NFSCall<PathConfiguration> {
        unsafe NFSCall(
            "PATHCONF", isIdempotent: true,
            send: { context, token in
                unsafe withHandle(handle) { form in
                    var arguments = unsafe PATHCONF3args(object: form)
                    return unsafe rpc_nfs3_pathconf_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, PATHCONF3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                let reply = unsafe form.PATHCONF3res_u.resok
                return .reply(
                    PathConfiguration(
                        linkLimit: reply.linkmax, nameLimit: reply.name_max,
                        refusesLongNames: reply.no_trunc != 0,
                        restrictsOwnerChange: reply.chown_restricted != 0,
                        ignoresCase: reply.case_insensitive != 0,
                        preservesCase: reply.case_preserving != 0))
            })
    }
}

extension Decoded {
    /// The answer of a server that left out the result which the procedure has.
    static var empty: Decoded<Reply> { .malformed("the server answered without a result") }
}

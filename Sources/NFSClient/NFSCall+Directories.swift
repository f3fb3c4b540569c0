// The calls that change or list directories: REMOVE, RMDIR, RENAME, LINK and READDIRPLUS.
internal import CNFS
public import NFSTypes

extension NFSCall where Reply == FileAttributes? {
    /// Removes a name that is no directory; answers the directory's attributes
    /// (RFC 1813, section 3.3.12).
    public static func remove(
        _ directory: FileHandle, _ name: NFSName
    ) -> NFSCall<FileAttributes?> {
        unsafe NFSCall(
            "REMOVE", isIdempotent: false, refusal: NFSClient.refusal(name: name),
            send: { context, token in
                unsafe withName(directory, name) { object in
                    var arguments = unsafe REMOVE3args(object: object)
                    return unsafe rpc_nfs3_remove_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, REMOVE3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                return unsafe .reply(FileAttributes(form.REMOVE3res_u.resok.dir_wcc.after))
            })
    }

    /// Removes an empty directory; answers the parent's attributes
    /// (RFC 1813, section 3.3.13).
    public static func removeDirectory(
        _ directory: FileHandle, _ name: NFSName
    ) -> NFSCall<FileAttributes?> {
        unsafe NFSCall(
            "RMDIR", isIdempotent: false, refusal: NFSClient.refusal(name: name),
            send: { context, token in
                unsafe withName(directory, name) { object in
                    var arguments = unsafe RMDIR3args(object: object)
                    return unsafe rpc_nfs3_rmdir_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, RMDIR3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                return unsafe .reply(FileAttributes(form.RMDIR3res_u.resok.dir_wcc.after))
            })
    }
}

extension NFSCall where Reply == RenameReply {
    /// Renames, replacing what the new name named (RFC 1813, section 3.3.14).
    public static func rename(
        from sourceDirectory: FileHandle, _ sourceName: NFSName,
        to targetDirectory: FileHandle, _ targetName: NFSName
    ) -> NFSCall<RenameReply> {
        let refused =
            NFSClient.refusal(name: sourceName) ?? NFSClient.refusal(name: targetName)
        return unsafe NFSCall(
            "RENAME", isIdempotent: false, refusal: refused,
            send: { context, token in
                unsafe withName(sourceDirectory, sourceName) { source in
                    unsafe withName(targetDirectory, targetName) { target in
                        var arguments = unsafe RENAME3args(from: source, to: target)
                        return unsafe rpc_nfs3_rename_async(
                            context, replyArrived, &arguments, token)
                    }
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, RENAME3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                let reply = unsafe form.RENAME3res_u.resok
                return .reply(
                    RenameReply(
                        sourceDirectoryAttributes: FileAttributes(reply.fromdir_wcc.after),
                        targetDirectoryAttributes: FileAttributes(reply.todir_wcc.after)))
            })
    }
}

extension NFSCall where Reply == LinkReply {
    /// Gives a file one more name (RFC 1813, section 3.3.15).
    public static func link(
        _ handle: FileHandle, to directory: FileHandle, _ name: NFSName
    ) -> NFSCall<LinkReply> {
        unsafe NFSCall(
            "LINK", isIdempotent: false, refusal: NFSClient.refusal(name: name),
            send: { context, token in
                unsafe withHandle(handle) { file in
                    unsafe withName(directory, name) { link in
                        var arguments = unsafe LINK3args(file: file, link: link)
                        return unsafe rpc_nfs3_link_async(
                            context, replyArrived, &arguments, token)
                    }
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, LINK3res.self) else { return .empty }
                guard form.status == NFS3_OK else { return .status(NFSStatus(form.status)) }
                let reply = unsafe form.LINK3res_u.resok
                return .reply(
                    LinkReply(
                        attributes: FileAttributes(reply.file_attributes),
                        directoryAttributes: FileAttributes(reply.linkdir_wcc.after)))
            })
    }
}

extension NFSCall where Reply == DirectoryListing {
    /// Lists a part of a directory with attributes and handles (RFC 1813, section 3.3.17).
    ///
    /// - Parameters:
    ///   - cookie: 0 to begin, then the last entry's.
    ///   - cookieVerifier: 0 to begin, then what the last part answered.
    ///   - nameByteCount: about how many bytes of names and cookies to answer (`dircount`).
    ///   - byteCount: how many bytes the whole answer may have (`maxcount`).
    public static func readDirectoryPlus(
        _ directory: FileHandle, cookie: UInt64 = 0, cookieVerifier: UInt64 = 0,
        nameByteCount: UInt32 = 8192, byteCount: UInt32 = 65536
    ) -> NFSCall<DirectoryListing> {
        unsafe NFSCall(
            "READDIRPLUS", isIdempotent: true,
            send: { context, token in
                unsafe withHandle(directory) { form in
                    var arguments = unsafe READDIRPLUS3args(
                        dir: form, cookie: cookie, cookieverf: verifierBytes(cookieVerifier),
                        dircount: nameByteCount, maxcount: byteCount)
                    return unsafe rpc_nfs3_readdirplus_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, READDIRPLUS3res.self) else { return .empty }
                guard unsafe form.status == NFS3_OK else {
                    return unsafe .status(NFSStatus(form.status))
                }
                return unsafe .reply(DirectoryListing(form.READDIRPLUS3res_u.resok))
            })
    }
}

extension DirectoryListing {
    init(_ form: READDIRPLUS3resok) {
        var entries: [DirectoryEntry] = []
        var next = unsafe form.reply.entries
        while let entry = unsafe next?.pointee {
            entries.append(
                unsafe DirectoryEntry(
                    fileID: entry.fileid, name: NFSClient.name(entry.name), cookie: entry.cookie,
                    attributes: FileAttributes(entry.name_attributes),
                    handle: FileHandle(entry.name_handle)))
            unsafe next = unsafe entry.nextentry
        }
        self.init(
            entries: entries, cookieVerifier: number(unsafe form.cookieverf),
            isComplete: unsafe form.reply.eof != 0,
            directoryAttributes: unsafe FileAttributes(form.dir_attributes))
    }
}

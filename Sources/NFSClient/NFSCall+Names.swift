// The calls on names in directories: LOOKUP, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR,
// RENAME, LINK and READDIRPLUS.
internal import CNFS
public import NFSTypes

extension NFSCall where Reply == LookupReply {
    /// Finds a name in a directory (RFC 1813, section 3.3.3).
    public static func lookup(_ directory: FileHandle, _ name: NFSName) -> NFSCall<LookupReply> {
        unsafe NFSCall(
            "LOOKUP", isIdempotent: true, refusal: NFSClient.refusal(name: name),
            send: { context, token in
                unsafe withName(directory, name) { what in
                    var arguments = unsafe LOOKUP3args(what: what)
                    return unsafe rpc_nfs3_lookup_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, LOOKUP3res.self) else { return .empty }
                guard unsafe form.status == NFS3_OK else {
                    return unsafe .status(NFSStatus(form.status))
                }
                let reply = unsafe form.LOOKUP3res_u.resok
                guard let handle = unsafe FileHandle(reply.object) else {
                    return .malformed("LOOKUP answered a handle longer than 64 bytes")
                }
                return unsafe .reply(
                    LookupReply(
                        handle: handle, attributes: FileAttributes(reply.obj_attributes),
                        directoryAttributes: FileAttributes(reply.dir_attributes)))
            })
    }
}

extension NFSCall where Reply == CreateReply {
    /// Makes a regular file (RFC 1813, section 3.3.8).
    public static func create(
        _ directory: FileHandle, _ name: NFSName, mode: CreateMode
    ) -> NFSCall<CreateReply> {
        var isIdempotent = false
        if case .exclusive = mode { isIdempotent = true }
        return unsafe NFSCall(
            "CREATE", isIdempotent: isIdempotent, refusal: NFSClient.refusal(name: name),
            send: { context, token in
                unsafe withName(directory, name) { location in
                    var arguments = unsafe CREATE3args()
                    unsafe arguments.where = unsafe location
                    unsafe arguments.how = mode.form
                    return unsafe rpc_nfs3_create_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, CREATE3res.self) else { return .empty }
                guard unsafe form.status == NFS3_OK else {
                    return unsafe .status(NFSStatus(form.status))
                }
                let reply = unsafe form.CREATE3res_u.resok
                return unsafe .created(reply.obj, reply.obj_attributes, reply.dir_wcc)
            })
    }

    /// Makes a directory (RFC 1813, section 3.3.9).
    public static func makeDirectory(
        _ directory: FileHandle, _ name: NFSName, _ attributes: SetAttributes
    ) -> NFSCall<CreateReply> {
        unsafe NFSCall(
            "MKDIR", isIdempotent: false, refusal: NFSClient.refusal(name: name),
            send: { context, token in
                unsafe withName(directory, name) { location in
                    var arguments = unsafe MKDIR3args(
                        where: location, attributes: attributes.form)
                    return unsafe rpc_nfs3_mkdir_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, MKDIR3res.self) else { return .empty }
                guard unsafe form.status == NFS3_OK else {
                    return unsafe .status(NFSStatus(form.status))
                }
                let reply = unsafe form.MKDIR3res_u.resok
                return unsafe .created(reply.obj, reply.obj_attributes, reply.dir_wcc)
            })
    }

    /// Makes a symbolic link to `target` (RFC 1813, section 3.3.10); for a target of more than
    /// `NFSSession.shortTargetByteCount` bytes use the session's `makeLongSymbolicLink`.
    public static func symbolicLink(
        _ directory: FileHandle, _ name: NFSName, target: NFSName,
        _ attributes: SetAttributes = SetAttributes()
    ) -> NFSCall<CreateReply> {
        unsafe NFSCall(
            "SYMLINK", isIdempotent: false,
            refusal: NFSClient.refusal(name: name, target: target),
            send: { context, token in
                unsafe withName(directory, name) { location in
                    unsafe target.withCString { text in
                        var arguments = unsafe SYMLINK3args()
                        unsafe arguments.where = unsafe location
                        unsafe arguments.symlink.symlink_attributes = attributes.form
                        unsafe arguments.symlink.symlink_data = UnsafeMutablePointer(
                            mutating: text)
                        return unsafe rpc_nfs3_symlink_async(
                            context, replyArrived, &arguments, token)
                    }
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, SYMLINK3res.self) else { return .empty }
                guard unsafe form.status == NFS3_OK else {
                    return unsafe .status(NFSStatus(form.status))
                }
                let reply = unsafe form.SYMLINK3res_u.resok
                return unsafe .created(reply.obj, reply.obj_attributes, reply.dir_wcc)
            })
    }

    /// Makes a device, a socket or a FIFO (RFC 1813, section 3.3.11).
    public static func makeNode(
        _ directory: FileHandle, _ name: NFSName, _ file: SpecialFile,
        _ attributes: SetAttributes
    ) -> NFSCall<CreateReply> {
        unsafe NFSCall(
            "MKNOD", isIdempotent: false, refusal: NFSClient.refusal(name: name),
            send: { context, token in
                unsafe withName(directory, name) { location in
                    var arguments = unsafe MKNOD3args()
                    unsafe arguments.where = unsafe location
                    unsafe arguments.what = file.form(attributes)
                    return unsafe rpc_nfs3_mknod_async(
                        context, replyArrived, &arguments, token)
                }
            },
            decode: { raw in
                guard let form = unsafe result(raw, MKNOD3res.self) else { return .empty }
                guard unsafe form.status == NFS3_OK else {
                    return unsafe .status(NFSStatus(form.status))
                }
                let reply = unsafe form.MKNOD3res_u.resok
                return unsafe .created(reply.obj, reply.obj_attributes, reply.dir_wcc)
            })
    }
}

extension Decoded where Reply == CreateReply {
    static func created(
        _ handle: post_op_fh3, _ attributes: post_op_attr, _ directory: wcc_data
    ) -> Decoded<CreateReply> {
        .reply(
            CreateReply(
                handle: unsafe FileHandle(handle), attributes: FileAttributes(attributes),
                directoryAttributes: FileAttributes(directory.after)))
    }
}

extension CreateMode {
    var form: createhow3 {
        var form = createhow3()
        switch self {
        case .unchecked(let attributes):
            form.mode = UNCHECKED
            unsafe form.createhow3_u.obj_attributes = attributes.form
        case .guarded(let attributes):
            form.mode = GUARDED
            unsafe form.createhow3_u.g_obj_attributes = attributes.form
        case .exclusive(let verifier):
            form.mode = EXCLUSIVE
            unsafe form.createhow3_u.verf = verifierBytes(verifier)
        }
        return form
    }
}

extension SpecialFile {
    func form(_ attributes: SetAttributes) -> mknoddata3 {
        var form = mknoddata3()
        switch self {
        case .characterDevice(let major, let minor):
            form.type = NF3CHR
            unsafe form.mknoddata3_u.chr_device = devicedata3(
                dev_attributes: attributes.form,
                spec: specdata3(specdata1: major, specdata2: minor))
        case .blockDevice(let major, let minor):
            form.type = NF3BLK
            unsafe form.mknoddata3_u.blk_device = devicedata3(
                dev_attributes: attributes.form,
                spec: specdata3(specdata1: major, specdata2: minor))
        case .socket:
            form.type = NF3SOCK
            unsafe form.mknoddata3_u.sock_attributes = attributes.form
        case .fifo:
            form.type = NF3FIFO
            unsafe form.mknoddata3_u.pipe_attributes = attributes.form
        }
        return form
    }
}

// The steps before and after a session: resolve, portmap (RFC 1833), MOUNT (RFC 1813, section
// 5), FSINFO.
internal import CNFS
internal import Glibc
internal import NFSTypes

/// Talks to one server's portmapper and mount daemon; blocks.
struct Setup: Sendable {
    let url: NFSURL
    let timeout: Duration

    private static let nfsProgram: Int32 = 100_003
    private static let mountProgram: Int32 = 100_005
    private static let portmapPort: UInt16 = 111
    private static let defaultNFSPort: UInt16 = 2049

    /// Mounts the export by the first of the host's addresses that answers.
    func mount() throws(RPCError) -> Mount {
        try withEachAddress { address throws(RPCError) in
            let nfsPort = try self.nfsPort(at: address)
            let mountPort = try self.mountPort(at: address)
            let root = try self.mountRoot(address, mountPort)
            let info = try self.information(address, nfsPort, root)
            return Mount(
                address: address, nfsPort: nfsPort, mountPort: mountPort, root: root, info: info)
        }
    }

    /// What the server exports.
    func exports() throws(RPCError) -> [ExportEntry] {
        try withEachAddress { address throws(RPCError) in
            let client = try self.client(address, try self.mountPort(at: address))
            return unsafe try client.call(
                "EXPORT",
                send: { unsafe rpc_mount3_export_async($0, controlReplyArrived, $1) },
                read: { unsafe exportEntries($0) })
        }
    }

    /// Tells the mount daemon that the export is not used any more.
    func unmount(address: String, port: UInt16) throws(RPCError) {
        let client = try self.client(address, port)
        unsafe try client.call(
            "UMNT",
            send: { context, token in
                unsafe withMutableCString(url.exportPath) { path in
                    unsafe rpc_mount3_umnt_async(context, controlReplyArrived, path, token)
                }
            }, read: { _ in })
    }

    // MARK: - Addresses and ports

    private func withEachAddress<Reply>(
        _ body: (String) throws(RPCError) -> Reply
    ) throws(RPCError) -> Reply {
        var last = RPCError(.unreachable("the name has no address"), server: url.host)
        for address in try addresses() {
            do throws(RPCError) {
                return try body(address)
            } catch {
                guard case .unreachable = error.cause else { throw error }
                last = error
            }
        }
        throw last
    }

    private func addresses() throws(RPCError) -> [String] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(url.host, nil, &hints, &list)
        guard status == 0 else {
            let reason = unsafe String(cString: gai_strerror(status))
            throw RPCError(
                .unreachable("cannot resolve '\(url.host)' (\(reason))"), server: url.host)
        }
        defer { unsafe freeaddrinfo(list) }
        var addresses: [String] = []
        var next = unsafe list
        while let entry = unsafe next {
            let address = unsafe numericAddress(
                entry.pointee.ai_addr, entry.pointee.ai_addrlen)
            if let address, !addresses.contains(address) { addresses.append(address) }
            unsafe next = unsafe entry.pointee.ai_next
        }
        return addresses
    }

    private func client(_ address: String, _ port: UInt16) throws(RPCError) -> ControlClient {
        try ControlClient.connect(
            address: address, port: port, server: "\(url.host):\(port)", timeout: timeout)
    }

    private func nfsPort(at address: String) throws(RPCError) -> UInt16 {
        if let port = url.nfsPort { return port }
        do throws(RPCError) {
            return try portmap(address, Self.nfsProgram) ?? Self.defaultNFSPort
        } catch {
            // No portmapper is usual where only NFSv4 is meant; the port is well known.
            guard case .unreachable = error.cause else { throw error }
            return Self.defaultNFSPort
        }
    }

    private func mountPort(at address: String) throws(RPCError) -> UInt16 {
        if let port = url.mountPort { return port }
        if let port = try portmap(address, Self.mountProgram) { return port }
        throw RPCError(
            .unreachable("the portmapper knows no MOUNT version 3; give mountport="),
            server: "\(url.host):\(Self.portmapPort)")
    }

    /// The TCP port that the host's portmapper has for a program; nil if it has none.
    func portmap(
        _ address: String, _ program: Int32, version: Int32 = 3
    ) throws(RPCError) -> UInt16? {
        let client = try self.client(address, Self.portmapPort)
        let port = unsafe try client.call(
            "GETPORT",
            send: { context, token in
                unsafe rpc_pmap2_getport_async(
                    context, program, version, Int32(IPPROTO_TCP), controlReplyArrived, token)
            },
            read: { raw in unsafe result(raw, UInt32.self) ?? 0 })
        return port == 0 ? nil : UInt16(exactly: port)
    }

    // MARK: - MOUNT and FSINFO

    private func mountRoot(_ address: String, _ port: UInt16) throws(RPCError) -> FileHandle {
        let client = try self.client(address, port)
        let (status, root) = unsafe try client.call(
            "MNT",
            send: { context, token in
                unsafe withMutableCString(url.exportPath) { path in
                    unsafe rpc_mount3_mnt_async(context, controlReplyArrived, path, token)
                }
            },
            read: { raw -> (UInt32, FileHandle?) in
                guard let form = unsafe result(raw, mountres3.self) else { return (0, nil) }
                let status = unsafe UInt32(form.fhs_status.rawValue)
                guard status == 0 else { return (status, nil) }
                let handle = unsafe form.mountres3_u.mountinfo.fhandle
                return unsafe (
                    0,
                    FileHandle(
                        bytes: UnsafeRawBufferPointer(
                            start: handle.fhandle3_val, count: Int(handle.fhandle3_len)))
                )
            })
        let server = "\(url.host):\(port)"
        guard status == 0 else {
            throw RPCError(
                .mountRefused(NFSStatus(rawValue: status)), server: server, procedure: "MNT")
        }
        guard let root else {
            throw RPCError(
                .protocolError("answered no handle"), server: server, procedure: "MNT")
        }
        return root
    }

    private func information(
        _ address: String, _ port: UInt16, _ root: FileHandle
    ) throws(RPCError) -> FileSystemInfo {
        let client = try self.client(address, port)
        let call = NFSCall.fileSystemInfo(root)
        let answer = unsafe try client.call(
            "FSINFO",
            send: { context, token in
                unsafe withHandle(root) { form in
                    var arguments = unsafe FSINFO3args(fsroot: form)
                    return unsafe rpc_nfs3_fsinfo_async(
                        context, controlReplyArrived, &arguments, token)
                }
            },
            read: { raw in unsafe call.decode(raw) })
        let server = "\(url.host):\(port)"
        switch answer {
        case .reply(let info): return info
        case .status(let status):
            throw RPCError(.status(status), server: server, procedure: "FSINFO")
        case .malformed(let text):
            throw RPCError(.protocolError(text), server: server, procedure: "FSINFO")
        }
    }
}

/// An address in numbers.
func numericAddress(
    _ address: UnsafePointer<sockaddr>?, _ byteCount: socklen_t
) -> String? {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(NI_MAXHOST)) { text in
        let status = unsafe getnameinfo(
            address, byteCount, text.baseAddress, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
        guard status == 0, let start = text.baseAddress else { return nil }
        return unsafe String(cString: start)
    }
}

/// Runs `body` with a copy of the text that C may see as writable.
private func withMutableCString<Result>(
    _ text: String, _ body: (UnsafeMutablePointer<CChar>) -> Result
) -> Result {
    unsafe text.withCString { unsafe body(UnsafeMutablePointer(mutating: $0)) }
}

/// MOUNT EXPORT's linked lists as an array.
private func exportEntries(_ raw: UnsafeMutableRawPointer?) -> [ExportEntry] {
    var entries: [ExportEntry] = []
    // The result is the list's head: an optional pointer.
    guard let raw = unsafe raw else { return [] }
    var next = unsafe raw.assumingMemoryBound(to: exports?.self).pointee
    while let entry = unsafe next?.pointee {
        var groups: [String] = []
        var nextGroup = unsafe entry.ex_groups
        while let group = unsafe nextGroup?.pointee {
            unsafe groups.append(text(unsafe group.gr_name))
            unsafe nextGroup = unsafe group.gr_next
        }
        unsafe entries.append(ExportEntry(directory: text(unsafe entry.ex_dir), groups: groups))
        unsafe next = unsafe entry.ex_next
    }
    return entries
}

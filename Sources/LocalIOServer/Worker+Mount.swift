// The MOUNT program, version 3 (RFC 1813, appendix I).
internal import CLinux
internal import Glibc
internal import NFSTypes

extension Worker {
    /// The longest path of a mount (`MNTPATHLEN`).
    private static var pathLimit: Int { 1024 }

    func serveMount(_ procedure: UInt32) throws(GarbageArguments) -> Bool {
        switch procedure {
        case 0: break
        case 1: try mount()
        case 2: dumpMounts()
        case 3: service.mounts.remove(host: machineName, path: try path())
        case 4: service.mounts.remove(host: machineName, path: nil)
        case 5: listExports()
        default: return false
        }
        return true
    }

    private func path() throws(GarbageArguments) -> String {
        unsafe String(decoding: try input.opaque(limit: Self.pathLimit), as: UTF8.self)
    }

    private func mount() throws(GarbageArguments) {
        let path = try path()
        let start = output.position
        do throws(Refusal) {
            let node = try mountPoint(path)
            let handle = try export.handle(node.raw, node.status)
            service.mounts.add(.init(host: machineName, path: path))
            output.put(NFSStatus.ok)
            output.put(handle)
            output.put(UInt32(1))
            output.put(UInt32(1))  // AUTH_SYS
        } catch {
            // mountstat3 has the numbers of nfsstat3 as far as it goes.
            fail(error, at: start)
        }
    }

    /// The export's root or a directory below it, found with the server's own rights.
    private func mountPoint(_ path: String) throws(Refusal) -> Node {
        try identity.becomeServer()
        let parts = path.split(separator: "/").filter { $0 != "." }
        guard path.hasPrefix("/"), let below = below(parts) else { throw Refusal(.accessDenied) }
        let flags = clinux_o_path | clinux_o_directory
        var node = try Node(Descriptor(answer: clinux_reopen(export.root, flags)))
        for part in below {
            if part == ".." { throw Refusal(.accessDenied) }
            node = try child(node, FileName(bytes: Array(part.utf8)))
            try node.requireDirectory()
        }
        return node
    }

    private func below(_ parts: [Substring]) -> ArraySlice<Substring>? {
        for exported in [export.path, export.resolvedPath] {
            let prefix = exported.split(separator: "/")
            if parts.starts(with: prefix) { return parts.dropFirst(prefix.count) }
        }
        return nil
    }

    private func dumpMounts() {
        for mount in service.mounts.all {
            output.put(true)
            output.putString(mount.host)
            output.putString(mount.path)
        }
        output.put(false)
    }

    private func listExports() {
        output.put(true)
        output.putString(export.path)
        output.put(false)  // open to every group of hosts
        output.put(false)
    }
}

// OPENDIR, READDIR, READDIRPLUS and RELEASEDIR: the server's cookies are the kernel's offsets.
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
internal import NFSClient
internal import NFSTypes
internal import Threads

extension MountCore {
    func openDirectory(_ request: Request, _ id: UInt64) async throws(MountError) {
        let node = try node(id)
        try await demand(.read, of: node, request.credentials)
        let directory = OpenDirectory(node: node, credentials: request.credentials)
        let number = KernelReference.retain(directory)
        if !request.opened(file: number) {
            _ = KernelReference.take(number, OpenDirectory.self)
        }
    }

    func readDirectory(
        _ request: Request, _ directory: OpenDirectory, cookie: UInt64, byteCount: Int,
        isPlus: Bool
    ) async throws(MountError) {
        var listing = directory.listing.withLock { $0 }
        if listing.position != cookie || cookie == 0 {
            // The kernel goes back, or has gone elsewhere (seekdir, rewinddir).
            listing.entries = []
            listing.next = 0
            listing.position = cookie
            listing.isComplete = false
        }
        if listing.next >= listing.entries.count && !listing.isComplete {
            let part = try await fetch(directory, cookie, listing.verifier)
            listing.entries = part.entries
            listing.next = 0
            listing.verifier = part.cookieVerifier
            listing.isComplete = part.isComplete
        }
        var answer = DirectoryAnswer(byteCount: min(max(byteCount, 512), 1 << 20))
        while listing.next < listing.entries.count {
            let entry = listing.entries[listing.next]
            guard append(entry, of: directory.node, to: &answer, request, isPlus: isPlus) else {
                break
            }
            listing.position = entry.cookie
            listing.next += 1
        }
        directory.listing.withLock { $0 = listing }
        let isTaken = unsafe answer.withBytes { unsafe request.data($0) }
        if !isTaken {
            for node in answer.lookedUp { nodes.forget(node, count: 1) }
        }
    }

    /// The part of the listing after `cookie`.
    ///
    /// A server may take the directory's change for the end of a cookie's life (BAD_COOKIE);
    /// cookies of real file systems live on, so the listing is continued under a new verifier.
    private func fetch(
        _ directory: OpenDirectory, _ cookie: UInt64, _ verifier: UInt64
    ) async throws(MountError) -> DirectoryListing {
        if let found = try await part(
            directory, cookie, cookie == 0 ? 0 : verifier, toleratesBadCookie: cookie != 0)
        {
            return found
        }
        let first = try await part(directory, 0, 0, toleratesBadCookie: false)
        let found = try await part(
            directory, cookie, first?.cookieVerifier ?? 0, toleratesBadCookie: false)
        guard let found else { throw MountError(EIO) }
        return found
    }

    /// One READDIRPLUS; nil for BAD_COOKIE where that is tolerated.
    ///
    /// NFS-Ganesha 4.3 answers NOENT, which RFC 1813 does not have for READDIRPLUS, if a name is
    /// removed while it lists. It is asked again; and what stays is EIO, because readdir(3) takes
    /// ENOENT for the end of the directory, and files would be missing from the listing.
    private func part(
        _ directory: OpenDirectory, _ cookie: UInt64, _ verifier: UInt64,
        toleratesBadCookie: Bool
    ) async throws(MountError) -> DirectoryListing? {
        let call = NFSCall.readDirectoryPlus(
            directory.node.handle, cookie: cookie, cookieVerifier: verifier,
            nameByteCount: 32 << 10, byteCount: 128 << 10)
        var pause = 1
        while true {
            do throws(RPCError) {
                return try await session.perform(call, credentials: directory.credentials)
            } catch {
                if toleratesBadCookie, error.isAnswer(.badCookie) { return nil }
                guard error.isAnswer(.noEntry) else { throw MountError(error) }
                guard pause < 200 else { throw MountError(EIO) }
            }
            try? await Task.sleep(for: .milliseconds(pause))
            pause *= 2
        }
    }

    /// - Returns: false if the entry does not fit any more.
    private func append(
        _ entry: DirectoryEntry, of directory: Node, to answer: inout DirectoryAnswer,
        _ request: Request, isPlus: Bool
    ) -> Bool {
        let cookie = Int64(bitPattern: entry.cookie)
        guard isPlus, entry.name != ".", entry.name != "..", let handle = entry.handle,
            let attributes = entry.attributes
        else {
            var shown = clfuse_attributes()
            shown.inode = entry.fileID
            shown.mode = entry.attributes?.type.modeBits ?? 0
            return unsafe answer.append { target, capacity in
                request.withRaw { raw in
                    unsafe entry.name.withCString { name in
                        isPlus
                            ? unsafe clfuse_add_entry_plus(
                                raw.pointer, target, capacity, name, 0, &shown, 0, 0, cookie)
                            : unsafe clfuse_add_entry(
                                raw.pointer, target, capacity, name, &shown, cookie)
                    }
                }
            }
        }
        let (node, reply) = found(handle, attributes, in: directory, as: entry.name)
        var shown = reply.attributes
        let fits = unsafe answer.append { target, capacity in
            request.withRaw { raw in
                unsafe entry.name.withCString { name in
                    unsafe clfuse_add_entry_plus(
                        raw.pointer, target, capacity, name, node.id, &shown, reply.entrySeconds,
                        reply.attributeSeconds, cookie)
                }
            }
        }
        if fits {
            answer.lookedUp.append(node.id)
        } else {
            nodes.forget(node.id, count: 1)
        }
        return fits
    }
}

/// The bytes of a directory answer, as they are put together.
private struct DirectoryAnswer {
    private var bytes: [CChar]
    private var used = 0
    /// Nodes whose lookups the answer counts.
    var lookedUp: [UInt64] = []

    init(byteCount: Int) { bytes = [CChar](repeating: 0, count: byteCount) }

    mutating func append(_ write: (UnsafeMutablePointer<CChar>?, Int) -> Int) -> Bool {
        let used = used
        let taken = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            unsafe write(buffer.baseAddress.map { unsafe $0 + used }, buffer.count - used)
        }
        guard used + taken <= bytes.count else { return false }
        self.used += taken
        return true
    }

    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        unsafe bytes.withUnsafeBytes { unsafe body(UnsafeRawBufferPointer(rebasing: $0[..<used])) }
    }
}

// Finds a file at the server by its path: LOOKUP by LOOKUP, following symbolic links itself,
// because the server never follows them (RFC 1813, section 3.3.5).
internal import Glibc
internal import NFSClient
internal import NFSTypes

/// A file found at the server, and what the caller may do with it there.
struct FoundFile: Sendable {
    let handle: FileHandle
    let attributes: FileAttributes
    let granted: AccessRights
    /// The path below the export without symbolic links.
    var resolvedPath: NFSName
}

/// Walks paths of one export. Blocks on RPC.
struct PathWalk {
    let session: NFSSession
    /// Who asks; nil for the session's.
    var credentials: Credentials?

    // As many as Linux follows (include/linux/namei.h, MAXSYMLINKS).
    private static let linkLimit = 40

    /// The file at `path`, made first if `options` say so.
    ///
    /// - Parameter whenNamed: called with the file's handle, attributes and resolved path, before
    ///   the server is asked what the caller may do.
    func open(
        _ path: String, access: AccessMode, options: OpenOptions, mode: UInt32,
        whenNamed: (FileHandle, FileAttributes, NFSName) -> Void = { _, _, _ in }
    ) throws(LocalIOError) -> FoundFile {
        let (handle, attributes, resolved) = try walk(path, options: options, mode: mode)
        if attributes.type == .directory && access.canWrite {
            throw LocalIOError(
                .usage, errno: EISDIR, "open of \(path): a directory; open a file in it")
        }
        whenNamed(handle, attributes, resolved)
        let granted = try rights(handle, access, path)
        return FoundFile(
            handle: handle, attributes: attributes, granted: granted, resolvedPath: resolved)
    }

    /// The same facts for a file that is already open.
    func find(
        handle: FileHandle, resolvedPath: NFSName, access: AccessMode
    ) throws(LocalIOError) -> FoundFile {
        let path = resolvedPath.description
        let attributes = try attributes(handle, path)
        let granted = try rights(handle, access, path)
        return FoundFile(
            handle: handle, attributes: attributes, granted: granted,
            resolvedPath: resolvedPath)
    }

    private func rights(
        _ handle: FileHandle, _ access: AccessMode, _ path: String
    ) throws(LocalIOError) -> AccessRights {
        do throws(RPCError) {
            return try session.performBlocking(
                .access(handle, access.rights), credentials: credentials
            ).granted
        } catch {
            throw LocalIOError(rpc: error, doing: "access check of \(path)")
        }
    }

    private func attributes(
        _ handle: FileHandle, _ path: String
    ) throws(LocalIOError) -> FileAttributes {
        do throws(RPCError) {
            return try session.performBlocking(
                .getAttributes(handle), credentials: credentials)
        } catch {
            throw LocalIOError(rpc: error, doing: "attributes of \(path)")
        }
    }

    private typealias Place = (handle: FileHandle, attributes: FileAttributes, name: NFSName)

    private func walk(
        _ path: String, options: OpenOptions, mode: UInt32
    ) throws(LocalIOError) -> (FileHandle, FileAttributes, NFSName) {
        var pending = NFSName(path).components
        var trail: [Place] = []
        var links = 0
        while !pending.isEmpty {
            let name = pending.removeFirst()
            if name == ".." {
                guard trail.popLast() != nil else {
                    throw LocalIOError(
                        .usage, errno: EXDEV, "open of \(path): leads out of the export")
                }
                continue
            }
            let directory = trail.last?.handle ?? session.root
            let isLast = pending.isEmpty
            let place = try step(
                directory, name, path: path, options: isLast ? options : [], mode: mode)
            guard place.attributes.type == .symbolicLink else {
                trail.append(place)
                continue
            }
            links += 1
            guard links <= Self.linkLimit else {
                throw LocalIOError(
                    .usage, errno: ELOOP, "open of \(path): more than \(Self.linkLimit) links")
            }
            let target = try readLink(place.handle, path)
            guard !target.isAbsolutePath else {
                throw LocalIOError(
                    .usage, errno: EXDEV,
                    "open of \(path): \(name) links to \(target), outside the export")
            }
            pending = target.components + pending
        }
        let resolved = NFSName(joining: trail.map(\.name))
        guard let last = trail.last else {
            return (session.root, try attributes(session.root, path), ".")
        }
        return (last.handle, last.attributes, resolved)
    }

    private func step(
        _ directory: FileHandle, _ name: NFSName, path: String, options: OpenOptions,
        mode: UInt32
    ) throws(LocalIOError) -> Place {
        do throws(RPCError) {
            if !(options.contains(.create) && options.contains(.exclusive)) {
                do throws(RPCError) {
                    let found = try session.performBlocking(.lookup(directory, name))
                    if let attributes = found.attributes {
                        return (found.handle, attributes, name)
                    }
                    let attributes = try session.performBlocking(.getAttributes(found.handle))
                    return (found.handle, attributes, name)
                } catch {
                    guard error.errno == ENOENT, options.contains(.create) else { throw error }
                }
            }
            return try create(directory, name, isExclusive: options.contains(.exclusive), mode)
        } catch {
            throw LocalIOError(rpc: error, doing: "open of \(path)")
        }
    }

    private func create(
        _ directory: FileHandle, _ name: NFSName, isExclusive: Bool, _ mode: UInt32
    ) throws(RPCError) -> Place {
        let attributes = SetAttributes(mode: mode)
        let made = try session.performBlocking(
            .create(
                directory, name, mode: isExclusive ? .guarded(attributes) : .unchecked(attributes)
            ))
        var handle = made.handle
        if handle == nil {
            handle = try session.performBlocking(.lookup(directory, name)).handle
        }
        guard let handle else {
            throw RPCError(
                .protocolError("no handle in the answer"), server: session.serverAddress,
                procedure: "CREATE")
        }
        if let attributes = made.attributes { return (handle, attributes, name) }
        return (handle, try session.performBlocking(.getAttributes(handle)), name)
    }

    private func readLink(_ handle: FileHandle, _ path: String) throws(LocalIOError) -> NFSName {
        do throws(RPCError) {
            return try session.performBlocking(.readLink(handle)).target
        } catch {
            throw LocalIOError(rpc: error, doing: "open of \(path)")
        }
    }
}

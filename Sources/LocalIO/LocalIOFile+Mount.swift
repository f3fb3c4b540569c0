// What a mount needs beside blocking and awaiting callers: transfers that end in a completion,
// attributes without RPC, space in the local file, and changes of files known by their handles.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import NFSClient
package import NFSTypes
internal import Threads

/// What became of an I/O that was to be done at once by its caller.
package enum TransferHere {
    /// Bytes or a negative errno.
    case done(Int64)
    /// It is not one aligned piece, or must wait for another of the same pages.
    case takesLong
    /// The file's I/O goes by RPC.
    case isRemote
}

extension LocalIOFile {
    /// Reads or writes in the calling thread, which may wait for the device, if that takes one
    /// system call on the local file. For callers that hold the file open themselves.
    package func transferHere(
        isWrite: Bool, _ address: UnsafeMutableRawPointer, byteCount: Int, at offset: UInt64
    ) -> TransferHere {
        guard case .local(let local) = route() else { return .isRemote }
        let result = unsafe runInline(
            isWrite ? .write : .read, offset, address, byteCount, local, holdsRange: false,
            mayWait: true)
        return result.map { .done($0) } ?? .takesLong
    }

    /// Starts a read into `target` from `offset`.
    ///
    /// - Parameter completion: called exactly once with the bytes read or a negative errno, on
    ///   any thread; it must not wait. The memory belongs to the read until then.
    package func startRead(
        into target: UnsafeMutableRawBufferPointer, at offset: UInt64,
        completion: @escaping @Sendable (Int64) -> Void
    ) {
        unsafe start(.read, offset, target.baseAddress, target.count, completion)
    }

    /// Starts a write of `source` at `offset`; otherwise as `startRead`.
    package func startWrite(
        from source: UnsafeRawBufferPointer, at offset: UInt64,
        completion: @escaping @Sendable (Int64) -> Void
    ) {
        unsafe start(
            .write, offset, UnsafeMutableRawPointer(mutating: source.baseAddress), source.count,
            completion)
    }

    private func start(
        _ kind: Transfer.Kind, _ offset: UInt64, _ address: UnsafeMutableRawPointer?,
        _ byteCount: Int, _ completion: @escaping @Sendable (Int64) -> Void
    ) {
        guard byteCount > 0, let address = unsafe address else { return completion(0) }
        let request = unsafe Transfer.Request(
            kind: kind, offset: offset, address: address, byteCount: byteCount,
            stable: .unstable, holdsRange: false)
        start(request, completion)
    }

    /// Starts a transfer without waiting: the file's first one on a control thread, which opens
    /// the local file.
    func start(_ request: Transfer.Request, _ completion: @escaping @Sendable (Int64) -> Void) {
        @Sendable func begin(_ route: Route) {
            Transfer(file: self, request: request, route: route, completion: completion).start()
        }
        if let route = currentRoute { return begin(route) }
        let isAccepted = client.lane.submit { begin(self.route()) }
        if !isAccepted { completion(-Int64(EBADF)) }
    }

    /// A descriptor of the local file that outlives the lease; nil on the RPC road. May wait for
    /// the file to be opened.
    package func localWitness() -> LocalWitness? {
        guard case .local(let local) = route(), let copy = try? local.direct.duplicate() else {
            return nil
        }
        return LocalWitness(copy)
    }

    /// Others than this client may have written the local file on its behalf: the next commit
    /// makes it durable and has the server look.
    package func noteLocalWrites() {
        state.localWriteEnded(offset: 0, byteCount: 0, isStable: false)
    }

    /// Whether aligned I/O goes the local road now; false before the first I/O.
    package var isLocal: Bool {
        if case .local = currentRoute { return true }
        return false
    }

    /// Whether aligned I/O goes by RPC now; false before the first I/O.
    package var isRemote: Bool {
        if case .remote = currentRoute { return true }
        return false
    }

    /// The attributes by statx(2), which no server's cache stands before; nil on the RPC road
    /// and before the first I/O.
    package var localAttributes: FileAttributes? {
        guard case .local(let local) = currentRoute, let status = local.status() else { return nil }
        return FileAttributes(status)
    }

    /// fallocate(2) in the local file with `mode` of FALLOC_FL_*, the whole file's range held.
    ///
    /// - Returns: 0 or an errno; EOPNOTSUPP on the RPC road, which has no such procedure.
    package func allocateBlocking(mode: Int32, offset: Int64, byteCount: Int64) -> Int32 {
        guard case .local(let local) = route(), access.canWrite else { return EOPNOTSUPP }
        let token = state.ranges.acquireBlocking(.wholeFile, .exclusive)
        defer { state.ranges.release(token) }
        let result = clinux_fallocate(local.direct.raw, mode, offset, byteCount)
        guard result == 0 else { return -result }
        state.localWriteEnded(
            offset: UInt64(offset), byteCount: Int(byteCount), isStable: false)
        return 0
    }

    /// ftruncate(2) of the local file, for a descriptor whose opener the server does not let
    /// change the size any more; the whole file's range held.
    ///
    /// - Returns: 0 or an errno; EOPNOTSUPP on the RPC road and for a file opened to be read.
    package func truncateLocalBlocking(to size: UInt64) -> Int32 {
        guard case .local(let local) = route(), access.canWrite else { return EOPNOTSUPP }
        guard let end = Int(exactly: size) else { return EFBIG }
        let token = state.ranges.acquireBlocking(.wholeFile, .exclusive)
        defer { state.ranges.release(token) }
        guard ftruncate(local.direct.raw, end) == 0 else { return errno }
        state.uncommitted.truncate(to: size)
        state.localWriteEnded(offset: size, byteCount: 0, isStable: false)
        return 0
    }

    /// Where data or a hole begins, by lseek(2) on the local file; negative errno else.
    package func seekLocal(offset: Int64, whence: Int32) -> Int64 {
        guard case .local(let local) = route() else { return -Int64(EOPNOTSUPP) }
        // The descriptor's own position is used by nobody: every I/O names its offset.
        let found = lseek(local.direct.raw, Int(offset), whence)
        return found < 0 ? -Int64(errno) : Int64(found)
    }
}

/// A local file that the kernel reads and writes by itself: what it is like, whatever became of the
/// lease meanwhile. Any thread.
package final class LocalWitness: Sendable {
    private let descriptor: Descriptor

    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// The descriptor's number, valid as long as this object lives.
    package var raw: Int32 { descriptor.raw }

    package var attributes: FileAttributes? {
        LocalFile.status(descriptor.raw).map { FileAttributes($0) }
    }
}

extension LocalIOClient {
    /// Changes attributes of a file known by its handle, for `credentials`. A change of size
    /// waits for the I/O in flight on the file, and kept bytes past it are forgotten.
    package func setAttributes(
        _ handle: FileHandle, _ changes: SetAttributes, credentials: Credentials
    ) async throws(LocalIOError) -> FileAttributes? {
        let call = NFSCall.setAttributes(handle, changes, guardChangeTime: nil)
        guard let size = changes.size else {
            do throws(RPCError) {
                return try await session.perform(call, credentials: credentials)
            } catch {
                throw LocalIOError(rpc: error, doing: "change of attributes")
            }
        }
        return try await lane.run { () throws(LocalIOError) in
            guard let state = self.files.opened(handle, isBuffered: false) else {
                throw LocalIOError(
                    .usage, errno: EBUSY,
                    "change of size to \(size) bytes of a file that is open buffered in this "
                        + "client; truncate it there")
            }
            defer { self.files.closed(handle) }
            let token = state.ranges.acquireBlocking(.wholeFile, .exclusive)
            defer { state.ranges.release(token) }
            do throws(RPCError) {
                let reply = try self.session.performBlocking(call, credentials: credentials)
                state.uncommitted.truncate(to: size)
                return reply
            } catch {
                throw LocalIOError(rpc: error, doing: "change of size to \(size) bytes")
            }
        }
    }

    /// Runs work that may wait on a control thread; false once the client is closed.
    package func submitControl(_ work: @escaping @Sendable () -> Void) -> Bool {
        lane.submit(work)
    }
}

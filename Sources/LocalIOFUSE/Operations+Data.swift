// READ and WRITE: no task, no copy; answered by the thread that completes the I/O.
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
internal import Logging
internal import NFSTypes
internal import Synchronization
internal import SystemPackage

/// Lets a few data operations run in the receiving threads, which saves two hand-offs each, and
/// keeps at least one thread receiving.
final class DataGate: Sendable {
    private let busy = Atomic<Int>(0)

    /// Takes a place if fewer than `limit` are taken.
    func enter(limit: Int) -> Bool {
        if busy.add(1, ordering: .relaxed).newValue <= limit { return true }
        leave()
        return false
    }

    func leave() { busy.subtract(1, ordering: .relaxed) }
}

/// A READ or WRITE under way: the request and the buffer that its bytes lie in.
@safe
private struct DataOperation: @unchecked Sendable {
    let request: OpaquePointer
    let buffer: OpaquePointer
    let data: UnsafeMutableRawPointer
    let byteCount: Int
    let isWrite: Bool

    init?(_ operation: clfuse_operation) {
        guard let request = unsafe operation.request, let buffer = unsafe operation.buffer,
            let data = unsafe operation.data
        else { return nil }
        unsafe self.request = request
        unsafe self.buffer = buffer
        unsafe self.data = data
        isWrite = operation.opcode == CLFUSE_WRITE
        byteCount = min(Int(operation.byte_count), 1 << 20)
    }

    func answer(_ result: Int64) {
        if result < 0 {
            let errno = MountCore.dataErrno(result)
            _ = unsafe clfuse_reply_error(request, errno)
        } else if isWrite {
            _ = unsafe clfuse_reply_written(request, Int(result))
        } else {
            _ = unsafe clfuse_reply_data(request, data, Int(result))
        }
    }

    func answer(by request: Request, _ result: Int64) {
        if result < 0 {
            request.fail(MountCore.dataErrno(result))
        } else if isWrite {
            request.written(Int(result))
        } else {
            unsafe request.data(UnsafeRawBufferPointer(start: data, count: Int(result)))
        }
    }

    func releaseBuffer() { unsafe clfuse_buffer_release(buffer) }
}

extension MountCore {
    static func dataErrno(_ result: Int64) -> Int32 {
        let errno = Int32(truncatingIfNeeded: -result)
        return switch errno {
        case ETIMEDOUT, ENOTCONN, EHOSTUNREACH, ECANCELED, EREMOTEIO: EIO
        case 512...: EIO
        default: errno
        }
    }

    /// - Returns: whether the operation keeps its buffer.
    func transfer(_ operation: clfuse_operation) -> Bool {
        guard let data = DataOperation(operation) else { return false }
        guard let open = KernelReference.borrow(operation.file, OpenFile.self) else {
            data.answer(-Int64(EBADF))
            return false
        }
        if data.isWrite { open.node.noteWrite() }
        if operation.kills_set_ids, bypassesCache(open), keepsSetIDs(open) {
            writeWithoutSetIDs(operation, data, open)
            return true
        }
        let offset = UInt64(operation.offset)
        let file = open.file
        if dataPath.enter(limit: max(configuration.threads - 1, 1)) {
            defer { dataPath.leave() }
            switch unsafe file.transferHere(
                isWrite: data.isWrite, data.data, byteCount: data.byteCount, at: offset)
            {
            case .done(let result):
                data.answer(result)
                return false
            case .takesLong: break
            case .isRemote:
                transferRemotely(operation, data, file, offset)
                return true
            }
        } else if file.isRemote {
            transferRemotely(operation, data, file, offset)
            return true
        }
        counters.began()
        start(data, file, offset) { [counters] result in
            data.answer(result)
            data.releaseBuffer()
            counters.ended()
        }
        return true
    }

    /// Whether a write must take set-id bits away first. By RPC the server does it.
    private func keepsSetIDs(_ open: OpenFile) -> Bool {
        if open.file.isRemote { return false }
        guard let attributes = open.file.localAttributes else { return true }
        return attributes.mode & 0o6000 != 0
    }

    /// A write past the page cache by someone who may not keep set-id bits: for these the kernel
    /// leaves them to the file system (fs/fuse/file.c, FUSE_WRITE_KILL_SUIDGID), and the local file
    /// is written by the mount's own user, who may.
    private func writeWithoutSetIDs(
        _ operation: clfuse_operation, _ data: DataOperation, _ open: OpenFile
    ) {
        guard let request = request(operation) else { return data.releaseBuffer() }
        let offset = UInt64(operation.offset)
        counters.began()
        Task {
            await dropSetIDs(of: open)
            start(data, open.file, offset) { [counters] result in
                data.answer(by: request, result)
                data.releaseBuffer()
                counters.ended()
            }
        }
    }

    private func dropSetIDs(of open: OpenFile) async {
        let credentials = session.configuration.credentials
        do throws(MountError) {
            let mode = try await call(.getAttributes(open.node.handle), as: credentials).mode
            // Without execution for the group the bit means no set-id (fs/attr.c).
            let isForGroup = mode & 0o010 != 0
            let bare = mode & ~(isForGroup ? 0o6000 : 0o4000)
            if bare != mode { _ = try await withoutSetIDs(open.node, bare, credentials) }
        } catch {
            logger.warning("\(open.file.path): set-id bits stay: errno \(error.errno)")
        }
    }

    /// RPC may wait for a server that is gone: the request can be answered for a killed caller.
    private func transferRemotely(
        _ operation: clfuse_operation, _ data: DataOperation, _ file: LocalIOFile,
        _ offset: UInt64
    ) {
        guard let request = request(operation) else { return data.releaseBuffer() }
        counters.began()
        start(data, file, offset) { [counters] result in
            data.answer(by: request, result)
            data.releaseBuffer()
            counters.ended()
        }
    }

    private func start(
        _ data: DataOperation, _ file: LocalIOFile, _ offset: UInt64,
        _ completion: @escaping @Sendable (Int64) -> Void
    ) {
        if data.isWrite {
            let bytes = unsafe UnsafeRawBufferPointer(start: data.data, count: data.byteCount)
            unsafe file.startWrite(from: bytes, at: offset, completion: completion)
        } else {
            let target = unsafe UnsafeMutableRawBufferPointer(
                start: data.data, count: data.byteCount)
            unsafe file.startRead(into: target, at: offset, completion: completion)
        }
    }
}

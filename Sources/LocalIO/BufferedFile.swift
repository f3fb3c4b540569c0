// An open file read and written through the client's page cache.
internal import Glibc
internal import NFSTypes
internal import PageCache
internal import Threads

/// A file of an NFS export, read and written through the client's page cache.
///
/// All buffered openers of a file in one client share its pages. Dirty pages are written in the
/// background, on `commit` and on `close`, straight into the server's local file where that is
/// open to this client. Closing and opening again shows what others have closed (close-to-open).
///
/// A file is open either buffered or unbuffered in one client, not both at once (EBUSY).
/// Any thread; reads and writes that overlap have no order among them. Each opener learns of a
/// failed writeback once, from its next commit or close. Close it: dropped, it may lose bytes.
public final class BufferedFile: Sendable {
    private let base: LocalIOFile
    private let clientCache: ClientCache
    private let file: CacheFileID
    // The cache's part that belongs to this opener: one call at a time changes it.
    private let open: Lock<CacheOpenState>
    private let isClosed = Lock(false)

    init(base: LocalIOFile, clientCache: ClientCache) throws(LocalIOError) {
        self.base = base
        self.clientCache = clientCache
        let moment = clientCache.cache.moment
        let attributes = try base.attributesBlocking()
        do throws(CacheError) {
            let opened = try clientCache.cache.open(
                clientCache.key(of: base.handle), stamp: FileStamp(attributes),
                asOf: moment)
            file = opened.file
            open = Lock(opened.open)
        } catch {
            throw LocalIOError(
                .usage, errno: error.errno,
                "\(base.path): every place for buffered files is taken; close some, or raise "
                    + "CacheConfiguration.files")
        }
        clientCache.backing.opened(file, base)
    }

    /// The path below the export, as it was opened.
    public var path: String { base.path }
    public var access: AccessMode { base.access }
    /// The server's handle of the file.
    public var handle: FileHandle { base.handle }
    /// Where writeback goes now: `nil` is the local road, else the reason against it.
    public var fallbackReason: FallbackReason? { base.fallbackReason }

    private func checkOpen() throws(LocalIOError) {
        if isClosed.withLock({ $0 }) { throw .closed(path) }
    }

    private func failure(_ error: CacheError, _ what: String) -> LocalIOError {
        .result(-Int64(error.errno), doing: what)
    }

    /// Runs a call of the cache with this opener's state. Two threads of one opener may overlap:
    /// each works on a copy, and what both have learned is kept.
    private func withOpen<Result>(
        _ what: @autoclosure () -> String,
        _ body: (inout CacheOpenState) throws(CacheError) -> Result
    ) throws(LocalIOError) -> Result {
        var mine = open.withLock { $0 }
        defer { open.withLock { $0.merge(mine) } }
        do throws(CacheError) { return try body(&mine) } catch { throw failure(error, what()) }
    }

    /// Reads into `buffer` from `offset`; blocks while a page is read in.
    /// - Returns: bytes read; fewer than asked only at the end of the file.
    public func readBlocking(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(LocalIOError) -> Int {
        try checkOpen()
        try base.checkReadable()
        guard buffer.count > 0 else { return 0 }
        return try withOpen("read of \(buffer.count) bytes of \(path) at \(offset)") {
            open throws(CacheError) in
            try unsafe clientCache.cache.read(file, &open, into: buffer, at: offset)
        }
    }

    /// Writes all of `buffer` at `offset` into the cache; durable after the next commit. Slowed to
    /// the file's own rate when much is dirty.
    /// - Returns: bytes written; fewer than asked if an error stopped the write.
    public func writeBlocking(
        from buffer: UnsafeRawBufferPointer, at offset: UInt64
    ) throws(LocalIOError) -> Int {
        try checkOpen()
        try base.checkWritable("write")
        guard buffer.count > 0 else { return 0 }
        return try withOpen("write of \(buffer.count) bytes of \(path) at \(offset)") {
            open throws(CacheError) in
            try unsafe clientCache.cache.write(file, &open, from: buffer, at: offset)
        }
    }

    /// Starts writing back what is dirty, without waiting.
    public func startWriteback() throws(LocalIOError) {
        try checkOpen()
        clientCache.cache.startFlush(file)
    }

    /// Writes back all that is dirty, makes it durable and lets other NFS clients see it; blocks.
    ///
    /// - Throws: the error of a failed writeback, once to each opener. ENOSPC and EDQUOT: the bytes
    ///   are kept for `CacheConfiguration.errorHold`, and the next commit tries them again.
    public func commitBlocking() throws(LocalIOError) {
        try checkOpen()
        try withOpen("commit of \(path)") { open throws(CacheError) in
            try clientCache.cache.fsync(file, &open)
        }
        if access.canWrite { try refreshStamp() }
    }

    /// After this client's own writes the file's times are new: not a reason to drop its pages.
    private func refreshStamp() throws(LocalIOError) {
        guard clientCache.cache.takeOwnChanges(file) else { return }
        clientCache.cache.setStamp(file, FileStamp(try base.attributesBlocking()))
    }

    /// Writes back all that is dirty and waits, without making it durable; for tests.
    package func flushPages() throws(LocalIOError) {
        try checkOpen()
        do throws(CacheError) {
            try clientCache.cache.flush(file)
        } catch { throw failure(error, "flush of \(path)") }
    }

    /// Drops what is cached of the file and not dirty, for measurements that want it cold.
    package func dropCached() throws(LocalIOError) {
        try checkOpen()
        clientCache.cache.invalidate(file)
    }

    /// Bytes, those not yet written back included.
    public func sizeBlocking() throws(LocalIOError) -> UInt64 {
        try checkOpen()
        return clientCache.cache.size(file) ?? 0
    }

    /// The file's attributes, with the size that this client's reads see.
    public func attributesBlocking() throws(LocalIOError) -> FileAttributes {
        try checkOpen()
        var attributes = try base.attributesBlocking()
        if let size = clientCache.cache.size(file) { attributes.size = size }
        return attributes
    }

    /// Sets the size in bytes, at the server and in the cache.
    public func truncateBlocking(to size: UInt64) throws(LocalIOError) {
        try checkOpen()
        try base.checkWritable("truncate")
        do throws(CacheError) {
            try clientCache.cache.truncate(file, to: size)
        } catch {
            throw failure(error, "truncate of \(path) to \(size) bytes")
        }
    }

    /// Commits and closes. Later calls do nothing.
    ///
    /// The file is closed even if this throws; the error then is the last word on its bytes.
    public func closeBlocking() throws(LocalIOError) {
        let first = isClosed.withLock { isClosed in
            defer { isClosed = true }
            return !isClosed
        }
        guard first else { return }
        defer { clientCache.closed(self) }
        var failed: LocalIOError?
        do throws(LocalIOError) {
            try withOpen("close of \(path)") { open throws(CacheError) in
                try clientCache.cache.close(file, &open)
            }
            if access.canWrite { try refreshStamp() }
        } catch { failed = error }
        clientCache.backing.closed(file, base)
        do throws(LocalIOError) {
            try base.closeBlocking()
        } catch { failed = failed ?? error }
        if let failed { throw failed }
    }

    // MARK: - For async callers

    /// `commitBlocking` for async callers.
    public func commit() async throws(LocalIOError) {
        try await base.client.commitLane.run { () throws(LocalIOError) in
            try self.commitBlocking()
        }
    }

    /// `closeBlocking` for async callers.
    public func close() async throws(LocalIOError) {
        try await base.client.commitLane.run { () throws(LocalIOError) in
            try self.closeBlocking()
        }
    }
}

extension FileStamp {
    init(_ attributes: FileAttributes) {
        self.init(
            size: attributes.size, modifyTime: attributes.modifyTime,
            changeTime: attributes.changeTime)
    }
}

extension LocalIOClient {
    /// Opens a file to be read and written through the client's page cache. Blocks.
    ///
    /// The first buffered open makes the cache (`ClientConfiguration.cache`).
    /// - Throws: EBUSY if the file is open unbuffered in this client.
    public func openBufferedBlocking(
        _ path: String, _ access: AccessMode = .readOnly, options: OpenOptions = [],
        mode: UInt32 = 0o644
    ) throws(LocalIOError) -> BufferedFile {
        let clientCache = try pageCache()
        let base = try openBase(
            path, access, options: options.subtracting(.truncate), mode: mode, isBuffered: true)
        do throws(LocalIOError) {
            let file = try BufferedFile(base: base, clientCache: clientCache)
            clientCache.opened(file)
            if options.contains(.truncate) { try file.truncateBlocking(to: 0) }
            return file
        } catch {
            do throws(LocalIOError) { try base.closeBlocking() } catch {}
            throw error
        }
    }

    /// `openBufferedBlocking` for async callers.
    public func openBuffered(
        _ path: String, _ access: AccessMode = .readOnly, options: OpenOptions = [],
        mode: UInt32 = 0o644
    ) async throws(LocalIOError) -> BufferedFile {
        try await lane.run { () throws(LocalIOError) in
            try self.openBufferedBlocking(path, access, options: options, mode: mode)
        }
    }
}

// read and write of an open file, for callers that block and for callers that await.
internal import CLinux
public import DirectIO
internal import Glibc
public import NFSTypes

/// A buffer that an I/O gives back, and what it did.
public struct TransferredBuffer: ~Copyable, Sendable {
    public var buffer: AlignedBuffer
    /// Bytes moved, from the buffer's start.
    public let byteCount: Int

    /// The buffer alone, for the next I/O.
    public consuming func takeBuffer() -> AlignedBuffer { buffer }
}

extension LocalIOFile {
    /// Reads into `buffer` from `offset`; blocks.
    ///
    /// An aligned read on the local road is one system call in the calling thread.
    /// - Returns: bytes read; fewer than asked only at the end of the file.
    public func readBlocking(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(LocalIOError) -> Int {
        try checkOpen()
        try checkReadable()
        let result = unsafe runBlocking(
            .read, offset, buffer.baseAddress, buffer.count, .unstable, holdsRange: false)
        guard result >= 0 else {
            throw .result(result, doing: "read of \(buffer.count) bytes of \(path) at \(offset)")
        }
        return Int(result)
    }

    /// Writes all of `buffer` at `offset`; blocks.
    ///
    /// - Parameter stable: how durable the bytes are when this returns; `.unstable` bytes are
    ///   durable after the next commit.
    /// - Returns: bytes written; fewer than asked if an error stopped the write, which the next
    ///   write there will name.
    public func writeBlocking(
        from buffer: UnsafeRawBufferPointer, at offset: UInt64, stable: StableHow = .unstable
    ) throws(LocalIOError) -> Int {
        try checkOpen()
        try checkWritable("write")
        return try unsafe writeBlocking(from: buffer, at: offset, stable: stable, holdsRange: false)
    }

    func writeBlocking(
        from buffer: UnsafeRawBufferPointer, at offset: UInt64, stable: StableHow,
        holdsRange: Bool
    ) throws(LocalIOError) -> Int {
        let result = unsafe runBlocking(
            .write, offset, UnsafeMutableRawPointer(mutating: buffer.baseAddress), buffer.count,
            stable, holdsRange: holdsRange)
        guard result >= 0 else {
            throw .result(result, doing: "write of \(buffer.count) bytes of \(path) at \(offset)")
        }
        return Int(result)
    }

    /// Reads into a buffer that the read owns until it ends.
    ///
    /// - Returns: the buffer, and the bytes read into its start; fewer than asked only at the
    ///   end of the file.
    public func read(
        into buffer: consuming AlignedBuffer, byteCount: Int? = nil, at offset: UInt64
    ) async throws(LocalIOError) -> TransferredBuffer {
        try checkOpen()
        try checkReadable()
        let wanted = min(byteCount ?? buffer.byteCount, buffer.byteCount)
        let result = unsafe await run(.read, offset, buffer.baseAddress, wanted, .unstable)
        guard result >= 0 else {
            throw .result(result, doing: "read of \(wanted) bytes of \(path) at \(offset)")
        }
        return TransferredBuffer(buffer: buffer, byteCount: Int(result))
    }

    /// Writes from a buffer that the write owns until it ends.
    ///
    /// - Returns: the buffer, and the bytes written.
    public func write(
        from buffer: consuming AlignedBuffer, byteCount: Int? = nil, at offset: UInt64,
        stable: StableHow = .unstable
    ) async throws(LocalIOError) -> TransferredBuffer {
        try checkOpen()
        try checkWritable("write")
        let wanted = min(byteCount ?? buffer.byteCount, buffer.byteCount)
        let result = unsafe await run(.write, offset, buffer.baseAddress, wanted, stable)
        guard result >= 0 else {
            throw .result(result, doing: "write of \(wanted) bytes of \(path) at \(offset)")
        }
        return TransferredBuffer(buffer: buffer, byteCount: Int(result))
    }

    private func run(
        _ kind: Transfer.Kind, _ offset: UInt64, _ address: UnsafeMutableRawPointer,
        _ byteCount: Int, _ stable: StableHow
    ) async -> Int64 {
        let request = unsafe Transfer.Request(
            kind: kind, offset: offset, address: address, byteCount: byteCount, stable: stable,
            holdsRange: false)
        return await withCheckedContinuation { waiter in
            start(request) { waiter.resume(returning: $0) }
        }
    }

    private func runBlocking(
        _ kind: Transfer.Kind, _ offset: UInt64, _ address: UnsafeMutableRawPointer?,
        _ byteCount: Int, _ stable: StableHow, holdsRange: Bool
    ) -> Int64 {
        guard byteCount > 0, let address = unsafe address else { return 0 }
        let route = route()
        if case .local(let local) = route, stable == .unstable,
            let result = unsafe runInline(
                kind, offset, address, byteCount, local, holdsRange: holdsRange)
        {
            return result
        }
        let request = unsafe Transfer.Request(
            kind: kind, offset: offset, address: address, byteCount: byteCount, stable: stable,
            holdsRange: holdsRange)
        let waiter = BlockingResult<Int64>(0)
        Transfer(file: self, request: request, route: route) { waiter.finish($0) }.start()
        waiter.wait()
        return waiter.value
    }

    /// One aligned piece by one system call of the caller; nil where it must take the long way.
    ///
    /// - Parameter mayWait: the caller has nothing else to do: no hand-over to the queue where
    ///   the device is busy.
    func runInline(
        _ kind: Transfer.Kind, _ offset: UInt64, _ address: UnsafeMutableRawPointer,
        _ byteCount: Int, _ local: LocalFile, holdsRange: Bool, mayWait: Bool = false
    ) -> Int64? {
        let engine = client.engine
        guard
            local.geometry.fits(
                offset: offset, byteCount: byteCount, address: UInt(bitPattern: address),
                isWrite: kind == .write)
        else { return nil }
        var token: RangeLock.Token?
        if !holdsRange {
            token = state.ranges.tryAcquire(
                PageRange(offset: offset, byteCount: byteCount), .direct)
            if token == nil { return nil }
        }
        let started = clinux_monotonic_nanoseconds()
        let replacements = state.uncommitted.replacements
        let fd = local.direct.raw
        let memory = unsafe UnsafeMutableRawBufferPointer(start: address, count: byteCount)
        let operation: IOOperation =
            switch kind {
            case .read: unsafe .read(fd: fd, offset: offset, into: memory)
            case .write:
                unsafe .write(fd: fd, offset: offset, from: UnsafeRawBufferPointer(memory))
            }
        var cached: Int64?
        if kind == .read {
            cached = unsafe local.readCached(address, byteCount: byteCount, at: offset)
        }
        var result: Int64
        if let cached {
            result = cached
            client.counters.cachedRead()
        } else {
            result = mayWait ? engine.performHere(operation) : engine.performBlocking(operation)
        }
        if kind == .write && result > 0 {
            state.localWriteEnded(offset: offset, byteCount: Int(result), isStable: false)
        }
        if kind == .read, result >= 0, !state.uncommitted.isEmpty {
            result = Int64(
                unsafe state.uncommitted.overlay(
                    UnsafeMutableRawBufferPointer(start: address, count: byteCount),
                    byteCount: Int(result), at: offset,
                    isAtEnd: result < byteCount && local.isEnd(offset + UInt64(result))))
        }
        let isStale =
            kind == .read && result >= 0 && replacements != state.uncommitted.replacements
        if let token { state.ranges.release(token) }
        let isMended =
            result < 0
            && Transfer.isMendedByRPC(
                Int32(truncatingIfNeeded: -result), isWrite: kind == .write)
        if isStale || isMended {
            // The long way tries once more, and re-drives by RPC, counted.
            return nil
        }
        if result >= 0 {
            client.counters.record(
                .local, byteCount: Int(result),
                nanoseconds: clinux_monotonic_nanoseconds() - started)
        }
        return result
    }
}

extension DirectGeometry {
    /// Whether direct I/O takes the operation as it is.
    @inline(__always)
    func fits(offset: UInt64, byteCount: Int, address: UInt, isWrite: Bool) -> Bool {
        let block = isWrite ? offsetAlignment : readOffsetAlignment
        let blockMask = UInt64(block) &- 1
        // Alignments are powers of two in every file system; anything else goes the long way.
        return block & (block &- 1) == 0
            && (offset | UInt64(byteCount)) & blockMask == 0
            && address & (UInt(memoryAlignment) &- 1) == 0
    }
}

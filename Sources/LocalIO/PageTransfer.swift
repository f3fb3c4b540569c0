// The way of the cache's pages to the file and back: direct where they fit, without allocating,
// else by a transfer.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import NFSTypes
package import PageCache

/// Who started the transfers of pages and is told of their ends.
package protocol PageTransferOwner: AnyObject, Sendable {
    /// Bytes moved or a negative errno. Any thread; must not wait.
    func ended(_ request: Int32, _ result: Int64)
}

/// One request of the cache on its way; made once per place in the cache's request table.
@safe
package final class PageTransfer: @unchecked Sendable {
    // One step at a time touches these: start, grant, completion.
    package var owner: (any PageTransferOwner)?
    private var io: PageIO?
    private var file: (any TransferFile)?
    private var local: LocalFile?
    private var token: RangeLock.Token?
    private var started: UInt64 = 0

    package init() {}

    package func start(_ io: PageIO, _ file: any TransferFile) {
        let route = file.route()
        guard case .local(let local) = route,
            unsafe local.geometry.fits(
                offset: io.offset, byteCount: io.byteCount,
                address: UInt(bitPattern: io.address), isWrite: io.isWrite)
        else { return startLong(io, file, route) }
        started = clinux_monotonic_nanoseconds()
        self.io = io
        self.file = file
        self.local = local
        let waiter = unsafe IOCompletion(
            function: pageGranted, context: Unmanaged.passUnretained(self).toOpaque(), token: 0)
        let range = PageRange(offset: io.offset, byteCount: io.byteCount)
        switch file.state.ranges.acquire(range, .direct, waiter: waiter) {
        case .granted(let token): granted(token)
        case .waiting: return
        case .full:
            clear()
            startLong(io, file, route)
        }
    }

    /// Misaligned, or by RPC: cut into segments, each on its road.
    private func startLong(_ io: PageIO, _ file: any TransferFile, _ route: Route) {
        let request = unsafe Transfer.Request(
            kind: io.isWrite ? .write : .read, offset: io.offset, address: io.address,
            byteCount: io.byteCount, stable: .unstable, holdsRange: false)
        let owner = owner
        Transfer(file: file, request: request, route: route) { result in
            owner?.ended(io.request, result)
        }.start()
    }

    fileprivate func granted(_ token: RangeLock.Token) {
        guard let io, let file, let local else { return }
        self.token = token
        if !io.isWrite,
            let result = unsafe local.readCached(
                io.address, byteCount: io.byteCount, at: io.offset)
        {
            file.countCachedRead()
            return completed(result)
        }
        let operation = unsafe IOOperation(
            kind: io.isWrite ? .write : .read, fd: local.direct.raw, offset: io.offset,
            address: io.address, byteCount: io.byteCount)
        let completion = unsafe IOCompletion(
            function: pageCompleted, context: Unmanaged.passUnretained(self).toOpaque(),
            token: 0)
        if !file.enqueue(operation, completion) {
            file.state.ranges.release(token)
            clear()
            // A write is tried again in a moment; a reader waits for this one.
            if !io.isWrite { return startLong(io, file, .remote(.queueFull)) }
            owner?.ended(io.request, -Int64(EBUSY))
        }
    }

    fileprivate func completed(_ result: Int64) {
        // Taken, not copied: the counts of file and descriptors are shared with other threads, and
        // the worker that is here has others to tell.
        guard let io = io.take(), let file = file.take(), let local = local.take(),
            let token = token.take()
        else { return }
        var result = result
        if io.isWrite, result > 0 {
            file.state.localWriteEnded(
                offset: io.offset, byteCount: Int(result), isStable: false)
        }
        // A read that ended inside the file met an error that its bytes hide.
        let isCutShort =
            !io.isWrite && result >= 0 && result < io.byteCount
            && (file.localAttributes(local)?.size ?? 0) > io.offset + UInt64(result)
        if !io.isWrite, result >= 0, !isCutShort, !file.state.uncommitted.isEmpty {
            result = Int64(
                unsafe file.state.uncommitted.overlay(
                    UnsafeMutableRawBufferPointer(start: io.address, count: io.byteCount),
                    byteCount: Int(result), at: io.offset, isAtEnd: true))
        }
        file.state.ranges.release(token)
        if result >= 0, !isCutShort {
            file.record(.local, byteCount: Int(result), started: started)
        }
        if isCutShort { return startLong(io, file, .remote(.redriven)) }
        if result < 0,
            Transfer.isMendedByRPC(Int32(truncatingIfNeeded: -result), isWrite: io.isWrite)
        {
            if result == -Int64(EBADF) || result == -Int64(ESTALE) {
                file.setRoute(.remote(.localOpenFailed))
            }
            return startLong(io, file, .remote(.redriven))
        }
        // Last: the cache may use this place again at once.
        owner?.ended(io.request, result)
    }

    private func clear() {
        io = nil
        file = nil
        local = nil
        token = nil
    }
}

private func pageGranted(_ context: UnsafeMutableRawPointer?, _ word: UInt64, _ token: Int64) {
    guard let context = unsafe context else { return }
    unsafe Unmanaged<PageTransfer>.fromOpaque(context)._withUnsafeGuaranteedRef { transfer in
        transfer.granted(RangeLock.Token(rawValue: UInt64(bitPattern: token)))
    }
}

private func pageCompleted(
    _ context: UnsafeMutableRawPointer?, _ word: UInt64, _ result: Int64
) {
    guard let context = unsafe context else { return }
    unsafe Unmanaged<PageTransfer>.fromOpaque(context)._withUnsafeGuaranteedRef { transfer in
        transfer.completed(result)
    }
}

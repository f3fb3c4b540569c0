// One segment of a transfer on one road: its range held, submitted, completed, its range let go.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import NFSClient
internal import NFSTypes
internal import Threads

/// A segment on its way. Retained by whoever will call it back.
@safe
final class SegmentRun: @unchecked Sendable {
    private let transfer: Transfer
    private let index: Int
    private let road: DirectIO.Road
    private let segment: Segment
    // Touched by one step at a time: start, grant, completion; each step happens after the last.
    private var token: RangeLock.Token?
    private var bounce: BounceLease?
    private var moved = 0
    private var replacements: UInt64 = 0
    private var wasServerBehind = false
    private var hasServerLooked = false
    private var lookError: RPCError?
    private var reservedBytes = 0
    private var usedDontCache = false

    init(transfer: Transfer, index: Int, road: DirectIO.Road) {
        self.transfer = transfer
        self.index = index
        self.road = road
        segment = transfer.plan[index]
    }

    private var file: any TransferFile { transfer.file }
    private var isWrite: Bool { transfer.request.kind == .write }

    /// Takes the range, now or when it is free, and submits.
    func start() {
        if transfer.request.holdsRange { return submit() }
        let isCached = road == .rpc || road == .buffered
        let mode: RangeLockMode = isCached && !file.sharesPages ? .buffered : .direct
        let context = unsafe Unmanaged.passRetained(self).toOpaque()
        let waiter = unsafe IOCompletion(function: segmentGranted, context: context, token: 0)
        switch file.state.ranges.acquire(heldRange(), mode, waiter: waiter) {
        case .waiting: return
        case .granted(let token):
            unsafe Unmanaged<SegmentRun>.fromOpaque(context).release()
            granted(token)
        case .full:
            unsafe Unmanaged<SegmentRun>.fromOpaque(context).release()
            waitForRoom(mode)
        }
    }

    /// More segments wait for this file than its range lock can list: a control thread waits
    /// for this one, in turn.
    private func waitForRoom(_ mode: RangeLockMode) {
        let accepted = file.runControlWork {
            self.granted(self.file.state.ranges.acquireBlocking(self.heldRange(), mode))
        }
        if !accepted { end(-Int64(ECANCELED), endedOn: .rpc) }
    }

    private func heldRange() -> PageRange {
        if road == .bounceRead, let geometry = transfer.local?.geometry {
            let wide = segment.widened(to: geometry)
            return PageRange(offset: wide.offset, byteCount: wide.byteCount)
        }
        return PageRange(offset: segment.offset, byteCount: segment.byteCount)
    }

    fileprivate func granted(_ token: RangeLock.Token) {
        self.token = token
        submit()
    }

    private func submit() {
        replacements = file.state.uncommitted.replacements
        switch road {
        case .rpc: isWrite ? submitRPCWrite() : submitRPCRead()
        case .direct, .buffered: submitPlain()
        case .bounceDirect, .bounceRead: submitBounced()
        }
    }

    private func end(_ result: Int64, endedOn road: DirectIO.Road? = nil) {
        var result = result
        if !isWrite, result >= 0, !file.state.uncommitted.isEmpty {
            result = Int64(
                unsafe file.state.uncommitted.overlay(
                    transfer.memory(of: segment), byteCount: Int(result), at: segment.offset,
                    isAtEnd: isAtEnd(result)))
        }
        bounce = nil
        if !isWrite, result >= 0, replacements != file.state.uncommitted.replacements {
            moved = 0
            return submit()
        }
        if reservedBytes > 0 {
            file.budget.release(reservedBytes)
            reservedBytes = 0
        }
        if let token {
            self.token = nil
            file.state.ranges.release(token)
        }
        transfer.segmentEnded(index, road: road ?? self.road, result: result)
    }

    /// Gives the range back and lets the transfer start the segment again, by RPC.
    private func fallBack(_ reason: FallbackReason) {
        file.fallBack(reason)
        bounce = nil
        if let token {
            self.token = nil
            file.state.ranges.release(token)
        }
        SegmentRun(transfer: transfer, index: index, road: .rpc).start()
    }

    // MARK: - Local roads

    private var durability: Int32 {
        guard isWrite else { return 0 }
        return switch transfer.request.stable {
        case .unstable: 0
        case .dataSync: clinux_rwf_dsync
        case .fileSync: clinux_rwf_sync
        }
    }

    private func enqueue(_ operation: IOOperation) {
        let context = unsafe Unmanaged.passRetained(self).toOpaque()
        let completion = unsafe IOCompletion(
            function: segmentCompleted, context: context, token: 0)
        if !file.enqueue(operation, completion) {
            unsafe Unmanaged<SegmentRun>.fromOpaque(context).release()
            fallBack(.queueFull)
        }
    }

    private func submitPlain() {
        guard let local = transfer.local else { return fallBack(.leaseRevoked) }
        var descriptor = local.direct.raw
        var flags = durability
        if road == .buffered {
            guard local.buffered != nil else { return fallBack(.misaligned) }
            descriptor = local.bufferedRaw
            // A buffered read is one of a stream: what was read ahead is for the next.
            usedDontCache = isWrite && file.usesDontCache
            if usedDontCache { flags |= clinux_rwf_dontcache }
        }
        if let result = readCached(local) { return end(result) }
        let memory = unsafe transfer.memory(of: segment)
        unsafe enqueue(
            IOOperation(
                kind: isWrite ? .write : .read, fd: descriptor, offset: segment.offset,
                address: memory.baseAddress, byteCount: segment.byteCount, flags: flags))
    }

    /// The whole segment, if it is a read of what the kernel holds in its page cache.
    private func readCached(_ local: LocalFile) -> Int64? {
        guard !isWrite, let address = unsafe transfer.memory(of: segment).baseAddress,
            let result = unsafe local.readCached(
                address, byteCount: segment.byteCount, at: segment.offset)
        else { return nil }
        file.countCachedRead()
        return result
    }

    /// The next piece through a bounce buffer: a buffer may be smaller than the segment.
    private func submitBounced() {
        guard let local = transfer.local else { return fallBack(.leaseRevoked) }
        if bounce == nil {
            if let result = readCached(local) { return end(result) }
            guard let pool = file.bouncePool,
                let lease = BounceLease(pool: pool, wanted: segment.byteCount)
            else {
                return fallBack(.noBuffer)
            }
            bounce = lease
        }
        guard let bounce else { return fallBack(.noBuffer) }
        let piece = bounce.piece(
            of: segment, moved: moved, geometry: local.geometry, isWrite: isWrite)
        if isWrite {
            let memory = unsafe transfer.memory(of: segment)
            unsafe bounce.copyIn(
                UnsafeRawBufferPointer(rebasing: memory[moved..<moved + piece.byteCount]))
        }
        unsafe enqueue(
            IOOperation(
                kind: isWrite ? .write : .read, fd: local.direct.raw, offset: piece.offset,
                address: bounce.address, byteCount: piece.byteCount,
                bufferIndex: bounce.bufferIndex, flags: durability))
    }

    fileprivate func completed(_ result: Int64) {
        guard road == .bounceDirect || road == .bounceRead else {
            if result == -Int64(EOPNOTSUPP), usedDontCache {
                file.dontCacheIsRefused()
                return submitPlain()
            }
            if isCutShort(result) { return fallBack(.redriven) }
            return end(result)
        }
        guard result >= 0 else {
            if moved > 0, isCutShort(Int64(moved)) { return fallBack(.redriven) }
            return end(moved > 0 ? Int64(moved) : result)
        }
        guard let bounce, let local = transfer.local else { return end(Int64(moved)) }
        let piece = bounce.piece(
            of: segment, moved: moved, geometry: local.geometry, isWrite: isWrite)
        let useful = max(0, min(Int(result) - piece.skip, segment.byteCount - moved))
        if !isWrite && useful > 0 {
            let memory = unsafe transfer.memory(of: segment)
            unsafe bounce.copyOut(
                to: UnsafeMutableRawBufferPointer(rebasing: memory[moved..<moved + useful]),
                skipping: piece.skip)
        }
        moved += useful
        if moved == segment.byteCount { return end(Int64(moved)) }
        if result < piece.byteCount {
            return isCutShort(Int64(moved)) ? fallBack(.redriven) : end(Int64(moved))
        }
        submitBounced()
    }

    /// A local read that ended inside the file: what follows met an error that its bytes hide,
    /// and a caller would take the end for the file's. The server reads it again.
    private func isCutShort(_ result: Int64) -> Bool {
        guard !isWrite, result >= 0, result < segment.byteCount, let local = transfer.local,
            let here = file.localAttributes(local)
        else { return false }
        return here.size > segment.offset + UInt64(result)
    }

    /// Whether a read was short because the file ends there, as far as whoever answered knows.
    /// A server that has not looked since a local write does not; once it has looked for this
    /// read, it does: no local write of these pages ends while their range is held.
    private func isAtEnd(_ result: Int64) -> Bool {
        guard result < segment.byteCount else { return false }
        if road != .rpc { return !isCutShort(result) }
        return hasServerLooked || !mayBeLonger(than: segment.offset + UInt64(result))
    }

    // MARK: - The RPC road

    private func submitRPCRead() {
        // Asked now: another reader may have made the server look by the time of the answer.
        wasServerBehind = file.state.isServerBehind
        let memory = unsafe transfer.memory(of: segment)
        unsafe file.readRemote(offset: segment.offset, into: memory) { result in
            switch result {
            case .failure(let error): self.end(-Int64(error.errno))
            case .success(let reply): self.rpcReadEnded(reply)
            }
        }
    }

    /// A server that caches attributes ends a read at the size it remembers. If local writes
    /// may have made the file longer, the server is made to look again and asked once more; if
    /// it does not, the read fails: a cache would take an end that is none for zeros.
    private func rpcReadEnded(_ reply: ReadReply) {
        let isShort = reply.byteCount < segment.byteCount
        guard isShort, !hasServerLooked,
            mayBeLonger(than: segment.offset + UInt64(reply.byteCount))
        else { return end(Int64(reply.byteCount), endedOn: .rpc) }
        if let lookError {
            return end(
                lookError.isRefusal ? Int64(reply.byteCount) : -Int64(lookError.errno),
                endedOn: .rpc)
        }
        let wasBehind = file.state.refreshBegins()
        file.touchRemote { result in
            switch result {
            case .success: self.hasServerLooked = true
            case .failure(let error): self.lookError = error
            }
            self.file.state.refreshEnds(isBehind: wasBehind && !self.hasServerLooked)
            self.submitRPCRead()
        }
    }

    private func mayBeLonger(than end: UInt64) -> Bool {
        if wasServerBehind || file.state.isServerBehind { return true }
        guard case .local(let local) = file.route(), let here = file.localAttributes(local) else {
            return false
        }
        return here.size > end
    }

    private func submitRPCWrite() {
        var stable = transfer.request.stable
        if stable == .unstable {
            if file.budget.reserve(segment.byteCount) {
                reservedBytes = segment.byteCount
            } else {
                // Nothing more can be kept: a FILE_SYNC write needs no keeping.
                stable = .fileSync
            }
        }
        let memory = unsafe UnsafeRawBufferPointer(transfer.memory(of: segment))
        unsafe file.writeRemote(offset: segment.offset, from: memory, stable: stable) { result in
            switch result {
            case .failure(let error): self.end(-Int64(error.errno))
            case .success(let reply): self.rpcWriteEnded(reply)
            }
        }
    }

    private func rpcWriteEnded(_ reply: WriteReply) {
        let uncommitted = file.state.uncommitted
        if reply.committed == .unstable {
            let memory = unsafe UnsafeRawBufferPointer(transfer.memory(of: segment))
            // What was set aside now belongs to the kept bytes.
            let kept = min(reply.byteCount, reservedBytes)
            reservedBytes -= kept
            unsafe uncommitted.keep(
                offset: segment.offset,
                bytes: UnsafeRawBufferPointer(rebasing: memory[..<kept]),
                verifier: reply.verifier)
            file.commitInBackgroundIfDue()
        } else {
            uncommitted.forget(offset: segment.offset, byteCount: reply.byteCount)
        }
        end(Int64(reply.byteCount), endedOn: .rpc)
    }
}

private func segmentGranted(
    _ context: UnsafeMutableRawPointer?, _ word: UInt64, _ token: Int64
) {
    guard let context = unsafe context else { return }
    unsafe Unmanaged<SegmentRun>.fromOpaque(context).takeRetainedValue()
        .granted(RangeLock.Token(rawValue: UInt64(bitPattern: token)))
}

private func segmentCompleted(
    _ context: UnsafeMutableRawPointer?, _ word: UInt64, _ result: Int64
) {
    guard let context = unsafe context else { return }
    unsafe Unmanaged<SegmentRun>.fromOpaque(context).takeRetainedValue().completed(result)
}

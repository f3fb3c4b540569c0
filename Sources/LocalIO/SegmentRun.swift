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
    private var refreshed = false
    private var reservedBytes = 0
    private var usedDontCache = false

    init(transfer: Transfer, index: Int, road: DirectIO.Road) {
        self.transfer = transfer
        self.index = index
        self.road = road
        segment = transfer.plan[index]
    }

    private var file: LocalIOFile { transfer.file }
    private var isWrite: Bool { transfer.request.kind == .write }

    /// Takes the range, now or when it is free, and submits.
    func start() {
        if transfer.request.holdsRange { return submit() }
        let mode: RangeLockMode = road == .rpc || road == .buffered ? .buffered : .direct
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
        let accepted = file.client.lane.submit {
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
        switch road {
        case .rpc: isWrite ? submitRPCWrite() : submitRPCRead()
        case .direct, .buffered: submitPlain()
        case .bounceDirect, .bounceRead: submitBounced()
        }
    }

    private func end(_ result: Int64, endedOn road: DirectIO.Road? = nil) {
        bounce = nil
        if reservedBytes > 0 {
            file.client.budget.release(reservedBytes)
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
        file.client.counters.fallBack(reason)
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
        if !file.client.engine.enqueue(operation, completion) {
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
            usedDontCache = file.client.usesDontCache
            if usedDontCache { flags |= clinux_rwf_dontcache }
        }
        let memory = unsafe transfer.memory(of: segment)
        unsafe enqueue(
            IOOperation(
                kind: isWrite ? .write : .read, fd: descriptor, offset: segment.offset,
                address: memory.baseAddress, byteCount: segment.byteCount, flags: flags))
    }

    /// The next piece through a bounce buffer: a buffer may be smaller than the segment.
    private func submitBounced() {
        guard let local = transfer.local else { return fallBack(.leaseRevoked) }
        if bounce == nil {
            guard let pool = file.client.engine.pool,
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
                file.client.dontCacheIsRefused()
                return submitPlain()
            }
            return end(result)
        }
        guard result >= 0 else { return end(moved > 0 ? Int64(moved) : result) }
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
        if moved == segment.byteCount || result < piece.byteCount { return end(Int64(moved)) }
        submitBounced()
    }

    // MARK: - The RPC road

    private func submitRPCRead() {
        let memory = unsafe transfer.memory(of: segment)
        _ = unsafe file.client.session.read(
            file.state.handle, offset: segment.offset, into: memory,
            credentials: file.credentials
        ) { result in
            switch result {
            case .failure(let error): self.end(-Int64(error.errno))
            case .success(let reply): self.rpcReadEnded(reply)
            }
        }
    }

    /// A server that caches attributes ends a read at the size it remembers. If local writes
    /// have made the file longer, the server is made to look again and asked once more.
    private func rpcReadEnded(_ reply: ReadReply) {
        let isShort = reply.byteCount < segment.byteCount
        guard isShort, !refreshed, mayBeLonger(than: segment.offset + UInt64(reply.byteCount))
        else { return end(Int64(reply.byteCount), endedOn: .rpc) }
        refreshed = true
        _ = file.state.takeServerBehind()
        let call = NFSCall.setAttributes(
            file.state.handle, SetAttributes(modifyTime: .serverTime), guardChangeTime: nil)
        _ = file.client.session.start(call, credentials: file.credentials) { _ in
            self.submitRPCRead()
        }
    }

    private func mayBeLonger(than end: UInt64) -> Bool {
        if file.state.isServerBehind { return true }
        guard case .local(let local) = file.route(), let size = local.size() else { return false }
        return size > end
    }

    private func submitRPCWrite() {
        let client = file.client
        var stable = transfer.request.stable
        if stable == .unstable {
            if client.budget.reserve(segment.byteCount) {
                reservedBytes = segment.byteCount
            } else {
                // Nothing more can be kept: a FILE_SYNC write needs no keeping.
                stable = .fileSync
            }
        }
        let memory = unsafe UnsafeRawBufferPointer(transfer.memory(of: segment))
        _ = unsafe client.session.write(
            file.state.handle, offset: segment.offset, from: memory, stable: stable,
            credentials: file.credentials
        ) { result in
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

// One read or write that is more than a single aligned piece, or that goes by RPC: cut into
// segments, each on its road, each with its range held; re-driven by RPC where that mends it.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import NFSClient
package import NFSTypes
internal import Threads

/// A read or write in flight, from its plan to its one completion.
///
/// The fast road (an aligned I/O in a channel or a blocking call) does not come through here;
/// this one may allocate. The caller's memory stays valid until the completion. The result is
/// the contiguous prefix that was moved, or a negative errno if that is empty (fs/nfs/localio.c
/// learned this the hard way: a failed head with a written middle must not count the middle).
@safe
package final class Transfer: @unchecked Sendable {
    package enum Kind: Sendable { case read, write }

    @safe
    package struct Request: @unchecked Sendable {
        let kind: Kind
        let offset: UInt64
        let address: UnsafeMutableRawPointer
        let byteCount: Int
        let stable: StableHow
        /// The caller holds the range already (append).
        let holdsRange: Bool

        package init(
            kind: Kind, offset: UInt64, address: UnsafeMutableRawPointer, byteCount: Int,
            stable: StableHow, holdsRange: Bool
        ) {
            self.kind = kind
            self.offset = offset
            unsafe self.address = unsafe address
            self.byteCount = byteCount
            self.stable = stable
            self.holdsRange = holdsRange
        }
    }

    private struct State {
        var pending = 0
        var results: InlineArray<3, Int64> = [0, 0, 0]
    }

    let file: any TransferFile
    let request: Request
    let plan: SegmentPlan
    let local: LocalFile?
    private let started = clinux_monotonic_nanoseconds()
    private let state = Lock(State())
    private let completion: @Sendable (Int64) -> Void

    /// - Parameter completion: called exactly once, on any thread; it must not wait.
    package init(
        file: any TransferFile, request: Request, route: Route,
        completion: @escaping @Sendable (Int64) -> Void
    ) {
        self.file = file
        self.request = request
        self.completion = completion
        switch route {
        case .local(let local):
            self.local = local
            var plan = unsafe SegmentPlan.make(
                offset: request.offset, byteCount: request.byteCount,
                memoryAddress: UInt(bitPattern: request.address),
                isWrite: request.kind == .write, geometry: local.geometry,
                policy: file.misalignment)
            if plan.isWidenedRead, file.readsAhead, local.buffered != nil,
                local.streams.goesOn(offset: request.offset, byteCount: request.byteCount)
            {
                plan.sendWhole(by: .buffered)
            }
            self.plan = plan
            if plan.count > 0 && !plan.isDirect {
                file.fallBack(Self.misalignment(request, local.geometry))
            }
        case .remote(let reason):
            local = nil
            plan = SegmentPlan.make(
                offset: request.offset, byteCount: request.byteCount, memoryAddress: 0,
                isWrite: request.kind == .write, geometry: nil, policy: .rpc)
            file.fallBack(reason)
        }
    }

    private static func misalignment(
        _ request: Request, _ geometry: DirectGeometry
    ) -> FallbackReason {
        let block = UInt64(
            request.kind == .write ? geometry.offsetAlignment : geometry.readOffsetAlignment)
        let fits = request.offset % block == 0 && UInt64(request.byteCount) % block == 0
        return fits ? .misalignedMemory : .misaligned
    }

    /// Starts every segment, in ascending order.
    package func start() {
        let count = plan.count
        guard count > 0 else { return completion(0) }
        state.withLock { $0.pending = count }
        for index in 0..<count { startSegment(index, road: plan[index].road) }
    }

    private func startSegment(_ index: Int, road: DirectIO.Road) {
        SegmentRun(transfer: self, index: index, road: road).start()
    }

    /// The bytes of a segment in the caller's memory.
    func memory(of segment: Segment) -> UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(
            start: request.address + segment.bufferOffset, count: segment.byteCount)
    }

    /// A segment has ended; the last one completes the transfer.
    func segmentEnded(_ index: Int, road: DirectIO.Road, result: Int64) {
        let isMended =
            result < 0 && road != .rpc
            && Self.isMendedByRPC(
                Int32(truncatingIfNeeded: -result), isWrite: request.kind == .write)
        if isMended {
            file.fallBack(.redriven)
            if result == -Int64(EBADF) || result == -Int64(ESTALE) {
                file.setRoute(.remote(.localOpenFailed))
            }
            return startSegment(index, road: .rpc)
        }
        let isLast = state.withLock { state in
            state.results[index] = result
            state.pending -= 1
            return state.pending == 0
        }
        record(plan[index], road, result)
        if isLast { finish() }
    }

    /// Local errors after submission that another road may not meet; ENOSPC, EDQUOT and a write's
    /// EIO are the file's own and surface.
    ///
    /// A direct read answers EIO not for a bad disk only: where buffered writes have left blocks
    /// reserved and not yet given (XFS beyond the old end of file), fs/iomap/direct-io.c warns of
    /// a collision and gives up, while the server reads them through the page cache. A disk that
    /// is bad fails the server too.
    static func isMendedByRPC(_ errno: Int32, isWrite: Bool) -> Bool {
        switch errno {
        case EIO: !isWrite
        case EINVAL, EAGAIN, EBADF, ESTALE, EOPNOTSUPP, ECANCELED, ENOMEM: true
        default: false
        }
    }

    private func record(_ segment: Segment, _ road: DirectIO.Road, _ result: Int64) {
        guard result >= 0 else { return }
        if road != .rpc && request.kind == .write && result > 0 {
            file.state.localWriteEnded(
                offset: segment.offset, byteCount: Int(result),
                isStable: request.stable != .unstable)
        }
        file.record(road == .rpc ? .rpc : .local, byteCount: Int(result), started: started)
    }

    private func finish() {
        let results = state.withLock { $0.results }
        var moved: Int64 = 0
        for index in 0..<plan.count {
            let result = results[index]
            if result < 0 {
                return completion(moved > 0 ? moved : result)
            }
            moved += result
            if result < Int64(plan[index].byteCount) { break }
        }
        completion(moved)
    }
}

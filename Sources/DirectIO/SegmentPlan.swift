// Cuts one request into at most three segments and gives each the road it may travel.

/// What to do with I/O that does not fit the file's direct geometry.
public enum MisalignmentPolicy: String, CaseIterable, Hashable, Sendable {
    /// The whole I/O goes by RPC.
    case rpc
    /// The page-aligned middle goes direct, the edges by RPC.
    case split
    /// Everything stays local: reads widen to blocks and copy, write edges are buffered.
    case local
}

/// The way a segment travels.
package enum Road: UInt8, Hashable, Sendable {
    /// Direct I/O from the caller's own memory.
    case direct
    /// Direct I/O through an aligned buffer, because the caller's memory is misaligned.
    case bounceDirect
    /// A direct read widened to blocks, through an aligned buffer.
    case bounceRead
    /// The same file without O_DIRECT.
    case buffered
    case rpc
}

/// A contiguous part of a request.
package struct Segment: Hashable, Sendable {
    /// Bytes from the start of the file.
    package var offset: UInt64
    package var byteCount: Int
    /// Where the segment's bytes lie in the caller's memory.
    package var bufferOffset: Int
    package var road: Road

    package init(offset: UInt64, byteCount: Int, bufferOffset: Int, road: Road) {
        self.offset = offset
        self.byteCount = byteCount
        self.bufferOffset = bufferOffset
        self.road = road
    }

    /// One past the last byte.
    package var end: UInt64 { offset + UInt64(byteCount) }

    /// The blocks that hold the segment: what a `.bounceRead` reads.
    package func widened(to geometry: DirectGeometry) -> (offset: UInt64, byteCount: Int) {
        let block = UInt64(geometry.readOffsetAlignment)
        let start = offset / block * block
        return (start, Int((end + block - 1) / block * block - start))
    }
}

/// The segments of one request, ascending, tiling it exactly; a pure function of its inputs.
///
/// Edges are cut at pages, not at blocks: the server writes edges through its page cache, and a
/// page half buffered and half direct loses data when its write-back lands late.
package struct SegmentPlan: Sendable {
    /// The smallest unit at which buffered and direct bytes may meet.
    package static let pageByteCount = 4096

    private var segments: (Segment, Segment, Segment)
    /// 0 to 3.
    package private(set) var count: Int

    private init() {
        let none = Segment(offset: 0, byteCount: 0, bufferOffset: 0, road: .rpc)
        segments = (none, none, none)
        count = 0
    }

    package subscript(index: Int) -> Segment {
        precondition(index >= 0 && index < count, "segment \(index) of \(count)")
        return index == 0 ? segments.0 : index == 1 ? segments.1 : segments.2
    }

    /// The whole request is one `.direct` segment.
    package var isDirect: Bool { count == 1 && segments.0.road == .direct }

    /// The whole request is one read that must be widened to blocks and copied.
    package var isWidenedRead: Bool { count == 1 && segments.0.road == .bounceRead }

    /// Sends a request of one segment another way.
    package mutating func sendWhole(by road: Road) {
        precondition(count == 1, "a plan of \(count) segments has several roads")
        segments.0.road = road
    }

    private mutating func append(_ segment: Segment) {
        guard segment.byteCount > 0 else { return }
        switch count {
        case 0: segments.0 = segment
        case 1: segments.1 = segment
        default: segments.2 = segment
        }
        count += 1
    }

    /// Plans a request.
    /// - Parameters:
    ///   - memoryAddress: where the caller's bytes lie; only its alignment matters.
    ///   - geometry: nil if the file has no direct I/O.
    package static func make(
        offset: UInt64, byteCount: Int, memoryAddress: UInt, isWrite: Bool,
        geometry: DirectGeometry?, policy: MisalignmentPolicy
    ) -> SegmentPlan {
        guard byteCount > 0 else { return SegmentPlan() }
        func whole(_ road: Road) -> SegmentPlan {
            var plan = SegmentPlan()
            plan.append(Segment(offset: offset, byteCount: byteCount, bufferOffset: 0, road: road))
            return plan
        }
        // Past what a file offset can say: the server has the right error for it.
        let (end, overflow) = offset.addingReportingOverflow(UInt64(byteCount))
        guard !overflow, end <= UInt64(Int64.max) - (1 << 20) else { return whole(.rpc) }
        guard let geometry else { return whole(policy == .local ? .buffered : .rpc) }

        let block = UInt64(isWrite ? geometry.offsetAlignment : geometry.readOffsetAlignment)
        let fitsFile = offset % block == 0 && UInt64(byteCount) % block == 0
        if fitsFile && memoryAddress % UInt(geometry.memoryAlignment) == 0 {
            return whole(.direct)
        }
        switch policy {
        case .rpc: return whole(.rpc)
        case .local where !isWrite: return whole(.bounceRead)
        case .split, .local:
            if fitsFile { return whole(.bounceDirect) }
            return cut(
                offset: offset, end: end, memoryAddress: memoryAddress, geometry: geometry,
                edge: policy == .split ? .rpc : .buffered)
        }
    }

    /// A direct middle of whole pages between edges that travel by `edge`.
    private static func cut(
        offset: UInt64, end: UInt64, memoryAddress: UInt, geometry: DirectGeometry, edge: Road
    ) -> SegmentPlan {
        var plan = SegmentPlan()
        let page = UInt64(max(pageByteCount, geometry.offsetAlignment))
        let middle = (offset + page - 1) / page * page
        let tail = end / page * page
        guard middle < tail else {
            plan.append(
                Segment(
                    offset: offset, byteCount: Int(end - offset), bufferOffset: 0, road: edge))
            return plan
        }
        let head = Int(middle - offset)
        let address = memoryAddress &+ UInt(head)
        let fitsMemory = address % UInt(geometry.memoryAlignment) == 0
        plan.append(Segment(offset: offset, byteCount: head, bufferOffset: 0, road: edge))
        plan.append(
            Segment(
                offset: middle, byteCount: Int(tail - middle), bufferOffset: head,
                road: fitsMemory ? .direct : .bounceDirect))
        plan.append(
            Segment(
                offset: tail, byteCount: Int(end - tail), bufferOffset: Int(tail - offset),
                road: edge))
        return plan
    }
}

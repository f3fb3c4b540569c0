// A pool buffer that stands between a misaligned caller and direct I/O.
internal import DirectIO

/// A leased buffer as a reference, so that a segment can hold it across completions.
@safe
final class BounceLease: @unchecked Sendable {
    private let buffer: AlignedBuffer

    /// What one direct operation moves.
    struct Piece {
        let offset: UInt64
        let byteCount: Int
        /// Bytes before the wanted ones, of a read that was widened.
        let skip: Int
    }

    /// The largest slab of the engine's pool: 1 MiB from anywhere in a page, and a byte more, is
    /// one read of the pages it lies in, not two in turn.
    static let largest = (1 << 20) + 2 * SegmentPlan.pageByteCount

    /// Leases the largest buffer up to `wanted` that is free; nil if there is none.
    init?(pool: BufferPool, wanted: Int) {
        let page = SegmentPlan.pageByteCount
        var byteCount = min((wanted + 2 * page - 1) / page * page + page, Self.largest)
        while byteCount >= page {
            if let lease = pool.lease(byteCount: byteCount) {
                buffer = lease
                return
            }
            byteCount /= 2
            byteCount -= byteCount % page
        }
        return nil
    }

    var address: UnsafeMutableRawPointer { unsafe buffer.baseAddress }
    var bufferIndex: Int32 { buffer.bufferIndex }

    /// The next operation for a segment of which `moved` bytes are done.
    func piece(
        of segment: Segment, moved: Int, geometry: DirectGeometry, isWrite: Bool
    ) -> Piece {
        let start = segment.offset + UInt64(moved)
        if isWrite {
            let room = buffer.byteCount - buffer.byteCount % geometry.offsetAlignment
            return Piece(offset: start, byteCount: min(segment.byteCount - moved, room), skip: 0)
        }
        let block = UInt64(geometry.readOffsetAlignment)
        let room = buffer.byteCount - buffer.byteCount % geometry.readOffsetAlignment
        let first = start / block * block
        let last = (segment.end + block - 1) / block * block
        return Piece(
            offset: first, byteCount: min(Int(last - first), room), skip: Int(start - first))
    }

    func copyIn(_ bytes: UnsafeRawBufferPointer) {
        unsafe UnsafeMutableRawBufferPointer(start: address, count: buffer.byteCount)
            .copyMemory(from: bytes)
    }

    func copyOut(to target: UnsafeMutableRawBufferPointer, skipping skip: Int) {
        unsafe target.copyMemory(
            from: UnsafeRawBufferPointer(start: address + skip, count: target.count))
    }
}

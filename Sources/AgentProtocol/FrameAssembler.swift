// Cuts the stream of a socket into frames, whatever pieces it arrives in.

/// Bytes that arrived and are no whole frame yet. Holds one frame and one receive at most.
package struct FrameAssembler: Sendable {
    private var pending: [UInt8] = []
    private var start = 0

    package init() {}

    /// Bytes kept for later.
    package var byteCount: Int { pending.count - start }

    package mutating func append(_ bytes: some Collection<UInt8>) {
        if start == pending.count {
            pending.removeAll(keepingCapacity: true)
            start = 0
        } else if start > AgentProtocol.frameByteCountLimit {
            pending.removeFirst(start)
            start = 0
        }
        pending.append(contentsOf: bytes)
    }

    /// The next frame, or nil while it is not whole.
    /// - Throws: for a length that no frame has; the stream is of no more use then.
    package mutating func next() throws(AgentProtocolError) -> [UInt8]? {
        guard byteCount >= 4 else { return nil }
        let length = pending[start..<(start + 4)].reduce(0) { $0 << 8 | Int($1) }
        let limit = AgentProtocol.frameByteCountLimit
        guard length <= limit else { throw .tooLong(byteCount: length, limit: limit) }
        guard length >= 2 else { throw .truncated }
        guard byteCount >= 4 + length else { return nil }
        defer { start += 4 + length }
        return Array(pending[(start + 4)..<(start + 4 + length)])
    }
}

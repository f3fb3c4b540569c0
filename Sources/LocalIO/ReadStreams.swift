// Which misaligned reads follow one another: they go through the page cache, as the server would
// read them, so that the kernel reads ahead and neighbours share the block they both touch.
internal import Threads

/// The few streams of reads that an open local file is in the middle of.
///
/// A misaligned read by itself is widened to blocks and read direct. Where each begins at the end
/// of the one before, that loses to a server that reads through its page cache: the kernel has
/// read ahead of it (mm/readahead.c), and the block in which two reads meet came once. Such reads
/// take the same way here, without the RPC. Aligned reads never come here: they stay direct.
///
/// Any thread. A read that overtakes another of its stream begins an entry of its own, which the
/// reads after it go on.
final class ReadStreams: Sendable {
    private struct Stream {
        /// One past the last byte read; a read that begins here goes on.
        var next = UInt64.max
        /// Reads in a row so far.
        var run = 0
        /// When it was last gone on.
        var turn: UInt64 = 0
    }

    private struct State {
        var streams = InlineArray<8, Stream>(repeating: Stream())
        var turn: UInt64 = 0
    }

    /// Reads in a row after which the next is one of a stream.
    static let threshold = 2

    private let state = Lock(State())

    /// Counts a misaligned read; whether it goes on a stream. Offsets and counts in bytes.
    func goesOn(offset: UInt64, byteCount: Int) -> Bool {
        let end = offset &+ UInt64(byteCount)
        return state.withLock { state in
            state.turn += 1
            var oldest = 0
            for index in state.streams.indices {
                if state.streams[index].next == offset {
                    let run = state.streams[index].run
                    state.streams[index] = Stream(next: end, run: run + 1, turn: state.turn)
                    return run >= Self.threshold
                }
                if state.streams[index].turn < state.streams[oldest].turn { oldest = index }
            }
            state.streams[oldest] = Stream(next: end, run: 1, turn: state.turn)
            return false
        }
    }
}

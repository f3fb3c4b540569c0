// The client's submission queue as a road: each I/O goes as a page of the page cache does, to a
// worker's ring and back by its completion.
internal import DirectIO
internal import LocalIO
internal import PageCache
internal import Threads

/// Where completions come in from the workers' threads, until the job's own thread takes them.
private final class QueueBoard: PageTransferOwner {
    private struct State {
        var ended: [(slot: Int, result: Int)]
        var isWaiting = false
    }

    private let state: Lock<State>
    private let arrived = Semaphore()

    init(depth: Int) {
        var ended: [(slot: Int, result: Int)] = []
        ended.reserveCapacity(depth)
        state = Lock(State(ended: ended))
    }

    func ended(_ request: Int32, _ result: Int64) {
        let wakes = state.withLock { state in
            state.ended.append((Int(request), Int(result)))
            defer { state.isWaiting = false }
            return state.isWaiting
        }
        // One wake-up, however many come while the waiter is on its way.
        if wakes { arrived.signal() }
    }

    /// Moves what has ended to `taken`; false if that is nothing, and then `wait` is to follow.
    func take(_ taken: inout [(slot: Int, result: Int)]) -> Bool {
        state.withLock { state in
            swap(&state.ended, &taken)
            state.isWaiting = taken.isEmpty
            return !taken.isEmpty
        }
    }

    func wait(timeout: Duration) { _ = arrived.wait(timeout: timeout) }
}

/// The queue of a client and one of its files.
struct QueueDriver: RoadDriver, ~Copyable {
    private let file: LocalIOFile
    private let board: QueueBoard
    private let transfers: [PageTransfer]
    private var taken: [(slot: Int, result: Int)] = []

    init(file: LocalIOFile, depth: Int) {
        self.file = file
        board = QueueBoard(depth: depth)
        transfers = (0..<depth).map { _ in PageTransfer() }
        for transfer in transfers { transfer.owner = board }
        taken.reserveCapacity(depth)
    }

    mutating func submit(
        slot: Int, isWrite: Bool, buffer: UnsafeMutableRawBufferPointer, offset: UInt64
    ) -> Bool {
        guard let address = buffer.baseAddress else { return false }
        transfers[slot].start(
            unsafe PageIO(
                request: Int32(slot), file: CacheFileID(slot: 0, generation: 0),
                isWrite: isWrite, offset: offset, address: address, byteCount: buffer.count,
                isSync: false),
            file)
        return true
    }

    mutating func reap(timeout: Duration, _ body: (Int, Int) -> Void) -> Int {
        taken.removeAll(keepingCapacity: true)
        if !board.take(&taken) {
            board.wait(timeout: timeout)
            guard board.take(&taken) else { return 0 }
        }
        for (slot, result) in taken { body(slot, result) }
        return taken.count
    }

    mutating func abandon(inFlight: Int) -> Bool {
        var left = inFlight
        for _ in 0..<60 where left > 0 {
            left -= reap(timeout: .milliseconds(500)) { _, _ in }
        }
        return left <= 0
    }
}

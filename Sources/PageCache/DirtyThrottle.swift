// How fast dirty pages drain, and how long a writer pauses for what it has just dirtied
// (mm/page-writeback.c's balance_dirty_pages, much reduced).

/// The drain rate and the pauses that follow from it. All times in nanoseconds.
struct DirtyThrottle {
    /// Bytes a second, of completed writeback while there was some.
    /// Modest at first: a fast device corrects it in a moment, a slow one would queue it all.
    private(set) var rate: Double = 16 * 1_048_576
    private var windowStart: UInt64 = 0
    private var windowBytes = 0
    private var isBusy = false
    let backgroundPages: Int
    let hardPages: Int

    private static let window: UInt64 = 50_000_000
    /// How long a sample counts.
    private static let memory: UInt64 = 200_000_000
    static let shortestPause: UInt64 = 2_000_000
    static let longestPause: UInt64 = 200_000_000

    init(backgroundPages: Int, hardPages: Int) {
        self.backgroundPages = backgroundPages
        self.hardPages = hardPages
    }

    /// Writeback begins after there was none: idle time is not drain time.
    mutating func writebackStarted(now: UInt64) {
        guard !isBusy else { return }
        isBusy = true
        windowStart = now
        windowBytes = 0
    }

    /// - Parameter isBacklogged: more was waiting to be written. Without that a low figure says
    ///   how little there was to write, not how slow the device is.
    mutating func writebackEnded(
        byteCount: Int, stillBusy: Bool, isBacklogged: Bool, now: UInt64
    ) {
        windowBytes += byteCount
        let elapsed = now &- windowStart
        if elapsed >= Self.window {
            let sample = Double(windowBytes) * 1e9 / Double(elapsed)
            if sample > rate || isBacklogged {
                // Even-handed, or bursts would make the estimate drift to one side.
                let weight = Double(elapsed) / Double(elapsed + Self.memory)
                rate = max(rate + (sample - rate) * weight, 64 * 1024)
            }
            windowStart = now
            windowBytes = 0
        }
        if !stillBusy { isBusy = false }
    }

    /// Below this many pages nobody pauses.
    var freeRun: Int { (backgroundPages + hardPages) / 2 }

    /// What a writer pauses after dirtying `pages`: at the drain rate's share of each of `writers`,
    /// shrunk towards nothing as the hard limit comes near.
    func pause(dirtiedPages: Int, totalPages: Int, writers: Int) -> UInt64 {
        guard totalPages > freeRun, dirtiedPages > 0 else { return 0 }
        let room = Double(max(hardPages - totalPages, 0)) / Double(max(hardPages - freeRun, 1))
        let share = rate / Double(max(writers, 1)) * max(room * 2, 1.0 / 16)
        let pause = Double(dirtiedPages * pageByteCount) / share * 1e9
        return min(UInt64(pause), Self.longestPause)
    }
}

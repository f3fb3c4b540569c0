// Notices a sequential reader and says how far to read ahead of it (mm/readahead.c's idea: a
// window that doubles, and a mark in it whose reading asks for the next).

/// One opener's reading position. Pages.
struct ReadAhead: Sendable {
    /// Where a sequential reader would go on.
    private var expected: UInt64 = 0
    /// One past what has been asked for ahead.
    private var aheadEnd: UInt64 = 0
    private var window = 0

    private static let firstWindow = 32

    /// What to read ahead now that pages `first..<end` are being read; empty if nothing.
    mutating func advance(first: UInt64, end: UInt64, limit: Int) -> Range<UInt64> {
        // The same page again, or the next one, is sequential; small reads share pages.
        let isSequential = first == expected || (expected > 0 && first + 1 == expected)
        expected = end
        guard isSequential, limit > 0 else {
            window = 0
            aheadEnd = end
            return end..<end
        }
        if window == 0 {
            window = min(Self.firstWindow, limit)
            aheadEnd = end
        }
        aheadEnd = max(aheadEnd, end)
        // Half of the window is still ahead: enough for now.
        guard aheadEnd - end <= UInt64(window / 2) else { return end..<end }
        let start = aheadEnd
        aheadEnd = end + UInt64(window)
        window = min(window * 2, limit)
        return start..<max(aheadEnd, start)
    }
}

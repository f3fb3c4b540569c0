// When a wait ends. At depth 1 each look at the clock is a part of an I/O's time that shows, so
// it is looked at when the wait begins and after each sleep, and not in between.
internal import CLinux

/// The end of a wait that may consist of several sleeps.
package struct Deadline: Sendable {
    /// Monotonic nanoseconds.
    private let end: UInt64
    /// Nanoseconds that were left at the last look; -1: as long as it takes.
    package private(set) var left: Int64

    /// - Parameter timeout: nil for as long as it takes; below zero counts as zero.
    package init(_ timeout: Duration?) {
        guard let timeout else {
            (end, left) = (.max, -1)
            return
        }
        left = Self.nanoseconds(timeout)
        end = left == 0 ? 0 : clinux_monotonic_nanoseconds() &+ UInt64(left)
    }

    /// Looks at the clock.
    package mutating func look() {
        guard left > 0 else { return }
        let now = clinux_monotonic_nanoseconds()
        left = now >= end ? 0 : Int64(end - now)
    }

    /// Nothing was left at the last look.
    package var isOver: Bool { left == 0 }

    private static func nanoseconds(_ duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        return min(seconds, 1_000_000_000) * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}

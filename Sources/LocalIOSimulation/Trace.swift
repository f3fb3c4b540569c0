// What happened in a seed: a hash that two runs of it must share, and its last events for people.

/// A running hash over all events, the last few of them, and all if wanted.
package struct Trace {
    private struct Entry {
        var time: UInt64
        var task: Int
        var what: StaticString
        var a: Int
        var b: Int
        var c: Int
    }

    /// Over everything noted so far.
    package private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    private var entries: [Entry] = []
    private var next = 0
    private let isPrinted: Bool
    private static let kept = 200

    /// - Parameter isPrinted: every event goes to standard output at once.
    package init(isPrinted: Bool = false) {
        self.isPrinted = isPrinted
        entries.reserveCapacity(Self.kept)
    }

    mutating func add(
        time: UInt64, task: Int, _ what: StaticString, _ a: Int, _ b: Int, _ c: Int
    ) {
        mix(time)
        mix(UInt64(bitPattern: Int64(task)))
        mix(UInt64(what.utf8CodeUnitCount))
        mix(UInt64(bitPattern: Int64(a)))
        mix(UInt64(bitPattern: Int64(b)))
        mix(UInt64(bitPattern: Int64(c)))
        let entry = Entry(time: time, task: task, what: what, a: a, b: b, c: c)
        if isPrinted { print(Self.line(entry)) }
        if entries.count < Self.kept {
            entries.append(entry)
        } else {
            entries[next] = entry
        }
        next = (next + 1) % Self.kept
    }

    private mutating func mix(_ word: UInt64) {
        hash = (hash ^ word) &* 0x0000_0100_0000_01b3
        hash ^= hash >> 29
    }

    private static func line(_ entry: Entry) -> String {
        let microseconds = entry.time / 1000
        let who = entry.task < 0 ? "event" : "task \(entry.task)"
        return "  \(microseconds) µs  \(who)  \(entry.what) \(entry.a) \(entry.b) \(entry.c)"
    }

    /// The last events, oldest first, a line each.
    package var lastLines: [String] {
        let count = entries.count
        return (0..<count).map { Self.line(entries[(next + $0) % count]) }
    }
}

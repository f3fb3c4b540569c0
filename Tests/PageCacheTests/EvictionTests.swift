// The eviction policy's hit rate on seeded traces beside LRU, FIFO and the best possible.
import LocalIOBench
import LocalIOTesting
import Testing

@testable import PageCache

/// A sequence of page numbers.
struct Trace: CustomTestStringConvertible, Sendable {
    enum Kind: String, CaseIterable, Sendable {
        /// Zipf (exponent 1) over eight times the cache.
        case zipf
        /// The same, and every so often a scan of twice the cache.
        case zipfAndScans
        /// Half of all reads belong to one endless scan.
        case halfScan
        /// Zipf whose favourites change every tenth of the trace.
        case shifting
        /// Round and round over a little more than the cache: LRU's worst.
        case loop
    }

    static let frames = 1024
    static let length = 120_000
    let kind: Kind
    let pages: [UInt32]
    var testDescription: String { kind.rawValue }

    init(_ kind: Kind, seed: UInt64) {
        self.kind = kind
        var generator = SeededGenerator(seed: seed)
        let universe = Self.frames * 8
        let zipf = Zipf(count: universe)
        var pages: [UInt32] = []
        pages.reserveCapacity(Self.length)
        // Pages of scans are no favourite's.
        var scan = UInt32(universe)
        while pages.count < Self.length {
            let favourite = zipf.draw(&generator)
            switch kind {
            case .zipf: pages.append(favourite)
            case .zipfAndScans:
                pages.append(favourite)
                guard pages.count % 20_000 == 10_000 else { continue }
                for _ in 0..<Self.frames * 2 {
                    pages.append(scan)
                    scan += 1
                }
            case .halfScan:
                pages.append(favourite)
                pages.append(scan)
                scan += 1
            case .shifting:
                let epoch = UInt32(pages.count / (Self.length / 10))
                pages.append((favourite + epoch * 700) % UInt32(universe))
            case .loop: pages.append(UInt32(pages.count % (Self.frames * 5 / 4)))
            }
        }
        self.pages = pages
    }
}

/// Ranks with probability proportional to 1 / rank, spread over the page numbers.
struct Zipf {
    private let cumulative: [Double]

    init(count: Int) {
        var sum = 0.0
        cumulative = (1...count).map { rank in
            sum += 1 / Double(rank)
            return sum
        }
    }

    func draw(_ generator: inout SeededGenerator) -> UInt32 {
        let wanted = Double.random(in: 0..<(cumulative.last ?? 1), using: &generator)
        var (low, high) = (0, cumulative.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if cumulative[middle] <= wanted { low = middle + 1 } else { high = middle }
        }
        return UInt32(low)
    }
}

enum Replay {
    /// The policy that the page cache uses, driven as the page cache drives it.
    static func ours(_ trace: Trace) -> Double {
        let pages = FixedArray(PageRecord(), count: Trace.frames)
        var policy = EvictionPolicy(frameCount: Trace.frames)
        var frames: [UInt32: Int32] = [:]
        var free = Array((0..<Int32(Trace.frames)).reversed())
        var hits = 0
        func hash(_ file: Int32, _ index: UInt64) -> UInt64 { mix(index &+ 1) }
        for page in trace.pages {
            if let frame = frames[page] {
                hits += 1
                if pages[frame].frequency < 3 { pages[frame].frequency += 1 }
                continue
            }
            if free.isEmpty, let victim = policy.victim(pages, hash: hash) {
                frames[UInt32(pages[victim].index)] = nil
                free.append(victim)
            }
            guard let frame = free.popLast() else { return 0 }
            pages[frame] = PageRecord()
            pages[frame].file = 0
            pages[frame].index = UInt64(page)
            pages[frame].home = policy.home(hash: hash(0, UInt64(page)))
            // As a reader that waited for the page: its first read of it counts.
            pages[frame].frequency = 1
            policy.insert(frame, pages)
            frames[page] = frame
        }
        return Double(hits) / Double(trace.pages.count)
    }

    /// Evicts the page with the smallest time stamp; `renews` at each use, or only at entry.
    private static func byTime(_ trace: Trace, renews: Bool) -> Double {
        var stamps: [UInt32: Int] = [:]
        var queue: [(page: UInt32, stamp: Int)] = []
        var head = 0
        var hits = 0
        for (now, page) in trace.pages.enumerated() {
            if stamps[page] != nil {
                hits += 1
                guard renews else { continue }
            } else {
                while stamps.count >= Trace.frames {
                    let oldest = queue[head]
                    head += 1
                    if stamps[oldest.page] == oldest.stamp { stamps[oldest.page] = nil }
                }
            }
            stamps[page] = now
            queue.append((page, now))
        }
        return Double(hits) / Double(trace.pages.count)
    }

    static func leastRecentlyUsed(_ trace: Trace) -> Double { byTime(trace, renews: true) }
    static func firstInFirstOut(_ trace: Trace) -> Double { byTime(trace, renews: false) }

    /// Belady's: evicts the page whose next use is farthest away.
    static func best(_ trace: Trace) -> Double {
        var next = [Int](repeating: .max, count: trace.pages.count)
        var last: [UInt32: Int] = [:]
        for index in trace.pages.indices.reversed() {
            next[index] = last[trace.pages[index]] ?? .max
            last[trace.pages[index]] = index
        }
        var uses: [UInt32: Int] = [:]
        // The farthest next use on top; entries that no longer hold are passed over.
        var heap = Heap()
        var hits = 0
        for (index, page) in trace.pages.enumerated() {
            if uses[page] != nil {
                hits += 1
            } else if uses.count >= Trace.frames {
                while let top = heap.pop() {
                    if uses[top.page] == top.use {
                        uses[top.page] = nil
                        break
                    }
                }
            }
            uses[page] = next[index]
            heap.push((page, next[index]))
        }
        return Double(hits) / Double(trace.pages.count)
    }

    /// A binary heap with the largest use on top.
    private struct Heap {
        typealias Entry = (page: UInt32, use: Int)
        private var entries: [Entry] = []

        mutating func push(_ entry: Entry) {
            entries.append(entry)
            var child = entries.count - 1
            while child > 0, entries[(child - 1) / 2].use < entries[child].use {
                entries.swapAt(child, (child - 1) / 2)
                child = (child - 1) / 2
            }
        }

        mutating func pop() -> Entry? {
            guard let top = entries.first, let last = entries.popLast() else { return nil }
            guard !entries.isEmpty else { return top }
            entries[0] = last
            var parent = 0
            while parent * 2 + 1 < entries.count {
                var child = parent * 2 + 1
                if child + 1 < entries.count, entries[child + 1].use > entries[child].use {
                    child += 1
                }
                guard entries[child].use > entries[parent].use else { break }
                entries.swapAt(child, parent)
                parent = child
            }
            return top
        }
    }
}

@Suite struct EvictionTests {
    /// Prints the line of the table in the article Performance.
    @Test(arguments: Trace.Kind.allCases)
    func hitRateBesideOthers(kind: Trace.Kind) {
        let seed = testSeed()
        let trace = Trace(kind, seed: seed)
        let ours = Replay.ours(trace)
        let recent = Replay.leastRecentlyUsed(trace)
        let queue = Replay.firstInFirstOut(trace)
        let best = Replay.best(trace)
        let numbers = [ours, recent, queue, best].map { decimal($0 * 100, places: 1) }
        print(
            "hit rate, \(kind): ours \(numbers[0]) %, LRU \(numbers[1]) %, FIFO \(numbers[2]) %, "
                + "best possible \(numbers[3]) %, LOCALIO_SEED=\(seed)")
        #expect(ours <= best + 1e-9, "better than possible: the replay is wrong")
        #expect(recent <= best + 1e-9 && queue <= best + 1e-9)
        switch kind {
        case .zipf, .zipfAndScans, .halfScan:
            #expect(ours > recent && ours > queue, "seed \(seed)")
        case .loop:
            #expect(recent == 0 && ours > 0.1, "a loop must not empty the cache")
        case .shifting:
            // What was seen often lately must not hold on for long.
            #expect(ours > recent - 0.03 && ours > queue, "seed \(seed)")
        }
    }
}

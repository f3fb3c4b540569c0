// How sure a ratio of medians is: bootstrap intervals over the rounds.

/// A ratio of two roads' medians with the interval that holds it with 95 % confidence.
package struct RatioInterval: Hashable, Sendable {
    package var ratio: Double
    package var low: Double
    package var high: Double

    package init(ratio: Double, low: Double, high: Double) {
        self.ratio = ratio
        self.low = low
        self.high = high
    }

    /// "0.93 [0.90–0.97]".
    package var text: String {
        "\(decimal(ratio, places: 2)) [\(decimal(low, places: 2))–\(decimal(high, places: 2))]"
    }
}

/// The percentile bootstrap (Efron): rounds are drawn with replacement again and again, and what
/// the statistic does meanwhile shows how much of it is chance. Same samples, same answer.
package enum Bootstrap {
    static let resamples = 2000
    private static let tail = 0.025

    /// The ratio of the medians. Rounds of both roads lie next to each other in time, so a round
    /// is drawn as a pair where both have as many: what disturbed one disturbed the other.
    /// - Returns: nil without samples, or if the lower road did nothing.
    package static func ratio(_ above: [Double], over below: [Double]) -> RatioInterval? {
        let bottom = median(below)
        guard !above.isEmpty, !below.isEmpty, bottom > 0 else { return nil }
        var generator = SeededGenerator(seed: 1)
        var ratios: [Double] = []
        ratios.reserveCapacity(resamples)
        let isPaired = above.count == below.count
        for _ in 0..<resamples {
            let rounds = draw(above.count, &generator)
            let others = isPaired ? rounds : draw(below.count, &generator)
            let lower = median(others.map { below[$0] })
            if lower > 0 { ratios.append(median(rounds.map { above[$0] }) / lower) }
        }
        ratios.sort()
        guard !ratios.isEmpty else { return nil }
        let last = Double(ratios.count - 1)
        return RatioInterval(
            ratio: median(above) / bottom, low: ratios[Int(last * tail)],
            high: ratios[Int((last * (1 - tail)).rounded(.up))])
    }

    /// How often one run's ratio is above another's when rounds of both are drawn anew: 1 is
    /// certainly higher, 0 certainly lower. nil if either has no ratio.
    package static func confidence(
        _ now: (above: [Double], below: [Double]), above before: (above: [Double], below: [Double])
    ) -> Double? {
        guard let first = draws(now), let second = draws(before) else { return nil }
        let wins = zip(first, second).reduce(0.0) { sum, pair in
            sum + (pair.0 > pair.1 ? 1 : pair.0 == pair.1 ? 0.5 : 0)
        }
        return wins / Double(min(first.count, second.count))
    }

    private static func draws(_ pair: (above: [Double], below: [Double])) -> [Double]? {
        guard !pair.above.isEmpty, !pair.below.isEmpty else { return nil }
        var generator = SeededGenerator(seed: UInt64(pair.above.count) &+ 7)
        let isPaired = pair.above.count == pair.below.count
        return (0..<resamples).map { _ in
            let rounds = draw(pair.above.count, &generator)
            let others = isPaired ? rounds : draw(pair.below.count, &generator)
            let lower = median(others.map { pair.below[$0] })
            return lower > 0 ? median(rounds.map { pair.above[$0] }) / lower : 0
        }
    }

    private static func draw(_ count: Int, _ generator: inout SeededGenerator) -> [Int] {
        (0..<count).map { _ in Int(generator.next() % UInt64(count)) }
    }

    private static func median(_ values: [Double]) -> Double { Spread(values).median }
}

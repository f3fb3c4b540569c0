// The bars a comparison has to clear: ratios in a file, since nothing else travels from one
// machine to another.
internal import Yams

/// One bar of the thresholds file. A selector that is absent takes every value.
package struct Bar: Codable, Sendable {
    package var section: String
    package var rw: [String]?
    /// Sizes as fio writes them.
    package var bs: [String]?
    package var iodepth: [Int]?
    package var numjobs: [Int]?
    package var policy: [String]?
    package var device: [String]?
    package var server: [String]?
    /// The road that localio is compared with.
    package var over: String
    package var atLeast: Double

    enum CodingKeys: String, CodingKey, CaseIterable {
        case section, rw, bs, iodepth, numjobs, policy, device, server, over
        case atLeast = "at-least"
    }

    func applies(device here: String, server there: String) -> Bool {
        Self.takes(device, here) && Self.takes(server, there)
    }

    func takes(_ cell: CompareCell) -> Bool {
        guard cell.section == section else { return false }
        guard Self.takes(rw, cell.rw), Self.takes(iodepth, cell.depth) else { return false }
        guard Self.takes(numjobs, cell.jobs) else { return false }
        if let policy, !policy.contains(cell.policy ?? "") { return false }
        guard let bs else { return true }
        return bs.contains { ByteSize.parse($0) == cell.blockSize }
    }

    private static func takes<Value: Equatable>(_ wanted: [Value]?, _ value: Value) -> Bool {
        wanted?.contains(value) ?? true
    }
}

/// How one cell did against one bar.
package struct BarResult: Hashable, Sendable {
    package enum Verdict: String, Sendable {
        case met
        /// The median is below the bar, but its interval reaches it: chance may have done it.
        case undecided
        /// The whole interval lies below the bar.
        case missed
    }

    package var cell: String
    package var over: String
    package var atLeast: Double
    package var interval: RatioInterval

    package var verdict: Verdict {
        if interval.ratio >= atLeast { return .met }
        return interval.high >= atLeast ? .undecided : .missed
    }

    /// "direct: randread 4k, depth 16: localio / raw 0.71 [0.69–0.73], bar 0.90".
    package var text: String {
        "\(cell): localio / \(over) \(interval.text), bar \(decimal(atLeast, places: 2))"
    }
}

/// The thresholds file: YAML with a list `bars`.
package struct BarFile: Sendable {
    package var bars: [Bar]
    private let name: String

    private struct Content: Codable { var bars: [Bar] }

    /// - Throws: a usage error with the place of what is wrong.
    package init(path: String) throws(BenchError) {
        name = path
        guard let text = Files.text(at: path) else {
            throw BenchError(
                "--thresholds \(path): cannot be read; give a YAML file with a list 'bars'",
                kind: .usage)
        }
        do {
            try Self.checkKeys(text)
            bars = try YAMLDecoder().decode(Content.self, from: text).bars
        } catch let error as BenchError {
            throw BenchError("--thresholds \(path): \(error.message)", kind: .usage)
        } catch {
            throw BenchError("--thresholds \(path): \(Self.line(error))", kind: .usage)
        }
        for (number, bar) in bars.enumerated() { try check(bar, number + 1) }
    }

    /// A misspelled selector would make a bar wider without a word.
    private static func checkKeys(_ text: String) throws {
        guard let root = try Yams.compose(yaml: text)?.mapping, let bars = root["bars"]?.sequence
        else { throw BenchError("has no list 'bars'") }
        let known = Bar.CodingKeys.allCases.map(\.rawValue)
        for (number, bar) in bars.enumerated() {
            for key in bar.mapping?.keys.compactMap(\.string) ?? [] where !known.contains(key) {
                throw BenchError(
                    "bar \(number + 1): unknown key '\(key)'; must be of "
                        + known.joined(separator: ", "))
            }
        }
    }

    private func check(_ bar: Bar, _ number: Int) throws(BenchError) {
        func refuse(_ what: String) -> BenchError {
            BenchError("--thresholds \(name): bar \(number): \(what)", kind: .usage)
        }
        for size in bar.bs ?? [] where ByteSize.parse(size) == nil {
            throw refuse("bs '\(size)': must be a size such as 4k or 1m")
        }
        guard bar.atLeast > 0, bar.atLeast.isFinite else {
            throw refuse("at-least \(bar.atLeast): must be above 0")
        }
        guard CompareSection.names.contains(bar.section) else {
            throw refuse(
                "section '\(bar.section)': must be of "
                    + CompareSection.names.joined(separator: ", "))
        }
    }

    private static func line(_ error: any Error) -> String {
        "\(error)".split(separator: "\n").joined(separator: " ")
    }

    /// Every cell that a bar takes, against it.
    /// - Throws: if no bar takes any cell: a comparison that cannot fail compares nothing.
    package func judge(_ report: CompareReport) throws(BenchError) -> [BarResult] {
        var results: [BarResult] = []
        for bar in bars where bar.applies(device: report.device, server: report.server) {
            for cell in report.cells where bar.takes(cell) {
                guard let interval = cell.ratio(over: bar.over) else { continue }
                results.append(
                    BarResult(
                        cell: cell.key, over: bar.over, atLeast: bar.atLeast, interval: interval))
            }
        }
        guard !results.isEmpty else {
            throw BenchError(
                "--thresholds \(name): no bar takes any cell of this run "
                    + "(device \(report.device), server \(report.server))")
        }
        return results
    }
}

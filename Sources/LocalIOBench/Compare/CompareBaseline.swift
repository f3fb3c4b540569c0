// An earlier comparison beside this one: by ratios, because the machine may be another.
internal import Yams

/// How one ratio of one cell stands to the earlier run's.
package struct BaselineChange: Hashable, Sendable {
    package enum Verdict: String, Sendable { case improved, same, slower }

    package var cell: String
    package var over: String
    package var before: RatioInterval
    package var now: RatioInterval
    /// The share of bootstrap draws in which this run's ratio is the higher one.
    package var confidence: Double

    /// Below this share of change nobody would act, however certain it is.
    static let least = 0.03

    package var verdict: Verdict {
        guard before.ratio > 0 else { return .same }
        let change = now.ratio / before.ratio - 1
        if confidence >= 0.975 && change >= Self.least { return .improved }
        if confidence <= 0.025 && change <= -Self.least { return .slower }
        return .same
    }

    /// How sure the verdict is, in per cent.
    package var certainty: Double { max(confidence, 1 - confidence) * 100 }

    package var text: String {
        "\(cell): localio / \(over) \(before.text) -> \(now.text): \(verdict.rawValue) "
            + "(\(decimal(certainty, places: 0))%)"
    }
}

/// The JSON report of an earlier run.
package struct BaselineFile: Sendable {
    private struct Content: Decodable {
        struct Cell: Decodable {
            var cell: String
            var roads: [Road]
        }

        struct Road: Decodable {
            var road: String
            var rates: [Double]
        }

        var schema: Int
        var device: String
        var server: String
        var cells: [Cell]
    }

    private let rates: [String: [String: [Double]]]
    private let device: String
    private let server: String

    /// - Throws: a usage error if it is no report of `localio-bench compare --json`.
    package init(path: String) throws(BenchError) {
        guard let text = Files.text(at: path) else {
            throw BenchError(
                "--baseline \(path): cannot be read; give a file that --json has written",
                kind: .usage)
        }
        do {
            // JSON is YAML: one parser serves both.
            let content = try YAMLDecoder().decode(Content.self, from: text)
            guard content.schema == CompareReport.schema else {
                throw BenchError("schema \(content.schema), not \(CompareReport.schema)")
            }
            device = content.device
            server = content.server
            rates = Dictionary(
                content.cells.map { cell in
                    (
                        cell.cell,
                        Dictionary(
                            cell.roads.map { ($0.road, $0.rates) }, uniquingKeysWith: { $1 })
                    )
                }, uniquingKeysWith: { $1 })
        } catch {
            throw BenchError(
                "--baseline \(path): not a report of localio-bench compare --json", kind: .usage)
        }
    }

    /// Every ratio that both runs have.
    package func changes(in report: CompareReport) -> [BaselineChange] {
        report.cells.flatMap { cell in
            cell.others.compactMap { change(of: cell, over: $0) }
        }
    }

    private func change(of cell: CompareCell, over name: String) -> BaselineChange? {
        guard let known = rates[cell.key], let above = known[CompareCell.subject],
            let below = known[name], let before = Bootstrap.ratio(above, over: below),
            let now = cell.ratio(over: name), let mine = cell.road(CompareCell.subject)?.rates,
            let theirs = cell.road(name)?.rates,
            let confidence = Bootstrap.confidence((mine, theirs), above: (above, below))
        else { return nil }
        return BaselineChange(
            cell: cell.key, over: name, before: before, now: now, confidence: confidence)
    }

    /// What a reader of the changes has to know, or nil.
    package func caveat(_ report: CompareReport) -> String? {
        guard device != report.device || server != report.server else { return nil }
        return "the baseline was measured on \(device) beside \(server)"
    }
}

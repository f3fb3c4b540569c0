// How many instructions an I/O takes on each path, for people and for programs.

/// One path's figures.
struct InstructionResult: Sendable {
    var path: InstructionPath
    /// Of each round: user-space instructions per I/O.
    var rounds: [Double] = []
    /// I/Os that the queue had to try again, over all rounds.
    var retries = 0
    /// At most so many are right; nil without a threshold.
    var threshold: Int?

    /// Rounds differ by what other threads happened to do: the middle one counts.
    var perIO: Double {
        let sorted = rounds.sorted()
        guard !sorted.isEmpty else { return 0 }
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }

    /// Half the range of the rounds as a part of the figure.
    var spread: Double {
        guard let least = rounds.min(), let most = rounds.max(), perIO > 0 else { return 0 }
        return (most - least) / 2 / perIO
    }

    var isOver: Bool { threshold.map { perIO > Double($0) } ?? false }
}

/// The whole counting.
struct InstructionsReport: Sendable {
    var plan: InstructionsPlan
    var host: BenchReport.Host
    var results: [InstructionResult] = []

    /// Debug builds take several times as many.
    static var build: String {
        #if DEBUG
            "debug"
        #else
            "release"
        #endif
    }

    /// One line for each path over its threshold.
    var complaints: [String] {
        results.filter(\.isOver).map { result in
            "\(result.path.rawValue): \(decimal(result.perIO, places: 0)) instructions per I/O, "
                + "at most \(result.threshold ?? 0) are allowed"
        }
    }

    var text: String {
        var rows = [["path", "instructions/IO", "±", "at most", "", "retries"]]
        for result in results {
            rows.append([
                result.path.rawValue, decimal(result.perIO, places: 0),
                decimal(result.spread * 100, places: 1) + "%",
                result.threshold.map(String.init) ?? "-",
                result.threshold == nil ? "" : result.isOver ? "over" : "ok",
                String(result.retries),
            ])
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        var lines = rows.map { row in
            zip(row, widths).enumerated().map { column, cell in
                let (text, width) = cell
                let space = String(repeating: " ", count: width - text.count)
                // Words to the left, numbers to the right.
                return column == 0 || column == 4 ? text + space : space + text
            }.joined(separator: "  ")
        }
        lines.append("")
        lines.append(
            "user-space instructions of the client per I/O of 4k, from runs of \(plan.count) and "
                + "\(3 * plan.count) I/Os; \(plan.rounds) rounds, ± half the range")
        lines.append(
            "\(Self.build) build, embedded server (not counted), \(host.fileSystem), "
                + "kernel \(host.kernel)")
        return lines.map { $0.trimmingEnd + "\n" }.joined()
    }

    /// The stable form for programs; `schema` changes when a key changes its meaning.
    var json: JSON {
        .object([
            ("schema", .integer(1)), ("build", .string(Self.build)),
            ("block_size", .integer(InstructionFile.blockSize)), ("count", .integer(plan.count)),
            ("file_system", .string(host.fileSystem)), ("kernel", .string(host.kernel)),
            ("paths", .array(results.map(Self.json))),
        ])
    }

    private static func json(_ result: InstructionResult) -> JSON {
        .object([
            ("path", .string(result.path.rawValue)),
            ("instructions_per_io", .number(result.perIO, places: 1)),
            ("rounds", .array(result.rounds.map { .number($0, places: 1) })),
            ("retries", .integer(result.retries)),
            ("threshold", result.threshold.map { .integer($0) } ?? .null),
            ("over", .bool(result.isOver)),
        ])
    }
}

extension String {
    /// Without the spaces at its end.
    fileprivate var trimmingEnd: String {
        String(reversed().drop { $0 == " " }.reversed())
    }
}

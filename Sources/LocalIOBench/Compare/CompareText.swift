// A comparison as a table for a terminal and as Markdown for a CI summary.

extension CompareReport {
    private static let header = [
        "workload", "localio/s", "±", "× raw", "× rpc", "× others", "p50 µs", "p99 µs",
        "CPU µs", "fall-backs",
    ]

    private func cells(of cell: CompareCell) -> [String] {
        guard let subject = cell.road(CompareCell.subject) else { return [cell.title] }
        func ratio(_ name: String) -> String { cell.ratio(over: name)?.text ?? "-" }
        func latency(_ percent: Double) -> String {
            guard let index = RoundSample.curvePercentiles.firstIndex(of: percent),
                subject.curve.count > index
            else { return "-" }
            return decimal(subject.curve[index], places: 0)
        }
        let others = cell.others.filter { $0 != "raw" && $0 != "rpc" }
            .map { "\($0) \(ratio($0))" }.joined(separator: ", ")
        let fallbacks = subject.fallbacks.sorted { $0.key < $1.key }
            .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        return [
            cell.title, decimal(subject.spread.median, places: 0),
            decimal(subject.spread.relative * 100, places: 0) + "%", ratio("raw"), ratio("rpc"),
            others.isEmpty ? "-" : others, latency(50), latency(99),
            subject.cpuMicroseconds.map { decimal($0, places: 1) } ?? "-",
            fallbacks.isEmpty ? "none" : fallbacks,
        ]
    }

    /// The facts under every form of the report.
    var facts: [String] {
        var lines = [
            "\(isQuick ? "quick form, " : "")device \(device), server \(server), "
                + "\(host.fileSystem), kernel \(host.kernel), \(host.processors) processors; "
                + "medians of \(rounds) interleaved rounds, ± half the range, [95% bootstrap "
                + "interval]; seed \(seed)"
        ]
        if let context {
            let reason = context.ioFlusherReason.map { " (\($0))" } ?? ""
            lines.append(
                "localio: \(context.locality), engine \(context.engine), I/O flusher "
                    + "\(context.ioFlusher)\(reason)")
        }
        if !instructions.isEmpty {
            let counts = instructions.map { "\($0.path.rawValue) \(decimal($0.perIO, places: 0))" }
            lines.append("user-space instructions per I/O: " + counts.joined(separator: ", "))
        }
        return lines + notes
    }

    /// "14 bars: 12 met, 1 undecided, 1 missed", and a line for each that was not met.
    var judgement: [String] {
        guard !bars.isEmpty else { return [] }
        let undecided = bars.filter { $0.verdict == .undecided }
        var lines = [
            "\(bars.count) bars: \(bars.count - undecided.count - missed.count) met, "
                + "\(undecided.count) undecided, \(missed.count) missed"
        ]
        lines += missed.map { "missed: \($0.text)" }
        lines += undecided.map { "undecided: \($0.text)" }
        return lines
    }

    /// "30 ratios beside the baseline: …", and a line for each that has changed.
    var development: [String] {
        guard !changes.isEmpty else { return [] }
        let moved = changes.filter { $0.verdict != .same }
        let improved = moved.filter { $0.verdict == .improved }.count
        let summary =
            "\(changes.count) ratios beside the baseline: \(improved) improved, "
            + "\(changes.count - moved.count) the same, \(moved.count - improved) slower"
        return [summary] + moved.map(\.text)
    }

    /// For people at a terminal.
    package var table: String {
        var text = ""
        for section in sections {
            let rows = cells.filter { $0.section == section }.map { cells(of: $0) }
            let table = [Self.header] + rows
            let widths = Self.header.indices.map { column in
                table.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0
            }
            text += "\(CompareSection.titles[section] ?? section)\n"
            for row in table {
                var line = "  "
                for (column, cell) in row.enumerated() {
                    let padding = String(repeating: " ", count: widths[column] - cell.count)
                    let isText = column == 0 || column == Self.header.count - 1
                    line += (isText ? cell + padding : padding + cell) + "  "
                }
                while line.last == " " { line.removeLast() }
                text += line + "\n"
            }
            text += "\n"
        }
        return text + (facts + judgement + development).joined(separator: "\n") + "\n"
    }

    /// For a CI summary: the verdict first, the tables below it.
    package var markdown: String {
        var lines = ["## localio beside raw and loopback RPC", ""]
        lines += judgement.prefix(1) + [""]
        lines += judgement.dropFirst().map { "- \($0)" }
        if !development.isEmpty { lines += [""] + development.prefix(1) + [""] }
        lines += development.dropFirst().map { "- \($0)" }
        for section in sections {
            lines += ["", "### \(CompareSection.titles[section] ?? section)", ""]
            lines.append("| " + Self.header.joined(separator: " | ") + " |")
            let alignment = Self.header.indices.map {
                $0 == 0 || $0 == Self.header.count - 1 ? "---" : "--:"
            }
            lines.append("| " + alignment.joined(separator: " | ") + " |")
            for cell in cells where cell.section == section {
                lines.append("| " + cells(of: cell).joined(separator: " | ") + " |")
            }
        }
        lines += [""] + facts.flatMap { [$0, ""] }
        return lines.joined(separator: "\n")
    }
}

extension CompareReport {
    /// Changes when a key of the JSON changes its meaning.
    static let schema = 1

    /// The stable form for programs, and what `--baseline` reads.
    package var json: JSON {
        .object([
            ("schema", .integer(Self.schema)),
            (
                "host",
                .object([
                    ("kernel", .string(host.kernel)), ("processors", .integer(host.processors)),
                    ("file_system", .string(host.fileSystem)),
                    ("direct_io_unit", host.directIOUnit.map { .integer($0) } ?? .null),
                ])
            ),
            ("quick", .bool(isQuick)), ("device", .string(device)), ("server", .string(server)),
            ("seed", .unsigned(seed)), ("rounds", .integer(rounds)),
            (
                "curve_percentiles",
                .array(RoundSample.curvePercentiles.map { .number($0, places: 2) })
            ),
            ("cells", .array(cells.map(Self.json))), ("bars", .array(bars.map(Self.json))),
            ("changes", .array(changes.map(Self.json))),
            (
                "instructions_per_io",
                .object(
                    instructions.map { ($0.path.rawValue, .number($0.perIO, places: 1)) })
            ),
            ("notes", .array(notes.map { .string($0) })),
        ])
    }

    private static func json(_ cell: CompareCell) -> JSON {
        .object([
            ("cell", .string(cell.key)), ("section", .string(cell.section)),
            ("rw", .string(cell.rw)), ("bs", .integer(cell.blockSize)),
            ("iodepth", .integer(cell.depth)), ("numjobs", .integer(cell.jobs)),
            ("policy", cell.policy.map { .string($0) } ?? .null),
            ("files", cell.files.map { .integer($0) } ?? .null),
            ("file_bytes", cell.fileByteCount.map { .integer($0) } ?? .null),
            ("roads", .array(cell.roads.map(json))),
            (
                "ratios",
                .object(
                    cell.others.compactMap { name in
                        cell.ratio(over: name).map { (name, json($0)) }
                    })
            ),
        ])
    }

    private static func json(_ road: CompareRoad) -> JSON {
        .object([
            ("road", .string(road.name)),
            ("rates", .array(road.rates.map { .number($0, places: 2) })),
            ("bytes_per_second", .number(road.bytesPerSecond, places: 0)),
            ("latency_us", .array(road.curve.map { .number($0, places: 2) })),
            ("cpu_us_per_io", road.cpuMicroseconds.map { .number($0, places: 3) } ?? .null),
            (
                "server_cpu_us_per_io",
                road.serverCPUMicroseconds.map { .number($0, places: 3) } ?? .null
            ),
            (
                "fallbacks",
                .object(
                    road.fallbacks.sorted { $0.key < $1.key }.map { ($0.key, .integer($0.value)) })
            ),
        ])
    }

    private static func json(_ interval: RatioInterval) -> JSON {
        .object([
            ("ratio", .number(interval.ratio, places: 4)),
            ("low", .number(interval.low, places: 4)),
            ("high", .number(interval.high, places: 4)),
        ])
    }

    private static func json(_ bar: BarResult) -> JSON {
        .object([
            ("cell", .string(bar.cell)), ("over", .string(bar.over)),
            ("at_least", .number(bar.atLeast, places: 4)), ("interval", json(bar.interval)),
            ("verdict", .string(bar.verdict.rawValue)),
        ])
    }

    private static func json(_ change: BaselineChange) -> JSON {
        .object([
            ("cell", .string(change.cell)), ("over", .string(change.over)),
            ("before", json(change.before)), ("now", json(change.now)),
            ("verdict", .string(change.verdict.rawValue)),
            ("certainty_percent", .number(change.certainty, places: 1)),
        ])
    }
}

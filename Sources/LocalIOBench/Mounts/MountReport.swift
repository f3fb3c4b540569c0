// What `localio-bench mount` found, as a table and as JSON.

/// Figures by cell and road: MiB/s for the sequential cells, IOPS for the others.
struct MountReport {
    let plan: MountPlan
    let host: BenchReport.Host
    let samples: [MountCell: [MountRoad: [Double]]]
    /// Why a road has no figure in a cell.
    let failures: [MountCell: [MountRoad: String]]

    func spread(_ cell: MountCell, _ road: MountRoad) -> Spread? {
        guard failures[cell]?[road] == nil, let values = samples[cell]?[road] else { return nil }
        return Spread(values)
    }

    func ratio(_ cell: MountCell, _ road: MountRoad, to other: MountRoad) -> Double? {
        guard let above = spread(cell, road)?.median, let below = spread(cell, other)?.median,
            below > 0
        else { return nil }
        return above / below
    }

    /// The promises that this run could look at.
    var bars: [(cell: MountCell, bar: MountBar, ratio: Double)] {
        plan.cells.flatMap { cell in
            let besidePassthrough = ratio(cell, .localio, to: .passthrough)
            return MountBar.allCases.filter { bar in
                // The file system is the measure where passthrough_ll cannot be.
                bar.holds(cell) && !(bar == .directWrites && besidePassthrough != nil)
            }.compactMap { bar in
                ratio(cell, .localio, to: bar.other).map { (cell, bar, $0) }
            }
        }
    }

    /// No promise was seen broken, and there was one to look at.
    var isMet: Bool {
        let bars = bars
        return !bars.isEmpty && bars.allSatisfy { $0.ratio >= $0.bar.factor($0.cell) }
    }

    // MARK: - Text

    var text: String {
        let header = ["workload", "unit", "road", "median", "±", "× plain", "× rpc", "× pass."]
        var rows = [header]
        for cell in plan.cells {
            for road in plan.roads { rows.append(row(cell, road)) }
        }
        let widths = header.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        var text = ""
        var previous = ""
        for row in rows {
            if !previous.isEmpty, previous != row[0] { text += "\n" }
            previous = row[0]
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                line += (column < 3 ? cell + padding : padding + cell) + "  "
            }
            while line.last == " " { line.removeLast() }
            text += line + "\n"
        }
        return text + "\n" + footer.joined(separator: "\n") + "\n"
    }

    private func row(_ cell: MountCell, _ road: MountRoad) -> [String] {
        guard let spread = spread(cell, road) else {
            return [cell.title, cell.unit, road.rawValue, "fails", "", "", "", ""]
        }
        let ratios = [MountRoad.plain, .rpc, .passthrough].map { other in
            ratio(cell, road, to: other).map { decimal($0, places: 2) } ?? "-"
        }
        return [
            cell.title, cell.unit, road.rawValue, decimal(spread.median, places: 0),
            decimal(spread.relative * 100, places: 0) + "%",
        ] + ratios
    }

    private var footer: [String] {
        var lines = [
            "server \(plan.server.name), \(host.fileSystem), kernel \(host.kernel), "
                + "\(host.processors) processors; medians of \(plan.rounds) rounds, ± half the "
                + "range; files of \(ByteSize.text(plan.fileSize)), caches dropped before each"
        ]
        for (cell, bar, ratio) in bars {
            let verdict = ratio >= bar.factor(cell) ? "met" : "MISSED"
            let aside = bar == .peers ? besidePassthrough(cell) : ""
            lines.append(
                "\(cell.title): \(bar.text(cell)): \(decimal(ratio, places: 2)), \(verdict)"
                    + aside)
        }
        for cell in plan.cells {
            for road in plan.roads {
                guard let reason = failures[cell]?[road] else { continue }
                lines.append("\(cell.title): \(road.rawValue) fails: \(reason)")
            }
        }
        return lines + notes
    }

    /// The same question asked of two mounts: the peers' and ours beside passthrough_ll's.
    private func besidePassthrough(_ cell: MountCell) -> String {
        guard let share = cell.peerPassthroughShare,
            let ours = ratio(cell, .localio, to: .passthrough)
        else { return "" }
        let theirs = decimal(cell.peerShare / share, places: 2)
        return " (of passthrough_ll: \(decimal(ours, places: 2)), theirs \(theirs))"
    }

    private var notes: [String] {
        let measured = plan.roads.contains(.fuseNFS)
        return [
            (measured ? "turbonfs is" : "fuse-nfs and turbonfs are")
                + " not in Debian: shares of plain \"once\" reached are not of this run"
        ]
    }

    // MARK: - JSON

    /// The stable form for programs; `schema` changes when a key changes its meaning.
    var json: JSON {
        .object([
            ("schema", .integer(1)),
            (
                "host",
                .object([
                    ("kernel", .string(host.kernel)), ("processors", .integer(host.processors)),
                    ("file_system", .string(host.fileSystem)),
                ])
            ),
            ("server", .string(plan.server.name)), ("file_size", .integer(plan.fileSize)),
            ("rounds", .integer(plan.rounds)),
            (
                "results",
                .array(plan.cells.flatMap { cell in plan.roads.map { result(cell, $0) } })
            ),
            (
                "bars",
                .array(
                    bars.map { cell, bar, ratio in
                        .object([
                            ("cell", .string(cell.rawValue)), ("to", .string(bar.other.rawValue)),
                            ("ratio", .number(ratio, places: 4)),
                            ("at_least", .number(bar.factor(cell), places: 2)),
                            ("met", .bool(ratio >= bar.factor(cell))),
                        ])
                    })
            ),
            ("notes", .array(notes.map { .string($0) })),
        ])
    }

    private func result(_ cell: MountCell, _ road: MountRoad) -> JSON {
        let spread = spread(cell, road)
        func number(_ value: Double?) -> JSON { value.map { .number($0, places: 1) } ?? .null }
        return .object([
            ("cell", .string(cell.rawValue)), ("road", .string(road.rawValue)),
            ("unit", .string(cell.unit)), ("median", number(spread?.median)),
            ("minimum", number(spread?.minimum)), ("maximum", number(spread?.maximum)),
            ("failure", failures[cell]?[road].map { .string($0) } ?? .null),
        ])
    }
}

extension MountReport {
    /// The same as cells of a comparison: "plain" is its raw road.
    var compareCells: [CompareCell] {
        plan.cells.map { cell in
            CompareCell(
                section: "mount", rw: cell.access.rawValue, blockSize: cell.blockSize,
                depth: cell.isDeep ? 16 : 1, jobs: 1,
                policy: cell.isBuffered ? "buffered" : "direct",
                roads: plan.roads.compactMap { road in
                    guard let spread = spread(cell, road), let rates = samples[cell]?[road]
                    else { return nil }
                    // MiB a second are whole blocks of 1 MiB a second.
                    return CompareRoad(
                        name: road == .plain ? "raw" : road.rawValue, rates: rates,
                        bytesPerSecond: spread.median * Double(cell.blockSize))
                })
        }
    }
}

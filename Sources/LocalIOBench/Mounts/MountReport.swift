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

    /// A promise of the mount, and what one of its two forms came to.
    struct Promise {
        let cell: MountCell
        let bar: MountBar
        let road: MountRoad
        let ratio: Double

        var isMet: Bool { ratio >= bar.factor(cell) }
    }

    /// The promises that this run could look at, of either form of the mount.
    var promises: [Promise] {
        plan.cells.flatMap { cell in
            MountBar.allCases.filter { bar in
                // The file system is the measure where passthrough_ll cannot be.
                bar.holds(cell)
                    && !(bar == .directWrites && spread(cell, .passthrough) != nil)
            }.flatMap { bar in
                MountRoad.subjects.compactMap { road in
                    ratio(cell, road, to: bar.other).map {
                        Promise(cell: cell, bar: bar, road: road, ratio: $0)
                    }
                }
            }
        }
    }

    /// No promise was seen broken, and there was one to look at.
    var isMet: Bool {
        let promises = promises
        return !promises.isEmpty && promises.allSatisfy(\.isMet)
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
        for promise in promises {
            let verdict = promise.isMet ? "met" : "MISSED"
            let aside = promise.bar == .peers ? besidePassthrough(promise) : ""
            let what = "\(promise.road.rawValue) \(promise.bar.text(promise.cell))"
            lines.append(
                "\(promise.cell.title): \(what): \(decimal(promise.ratio, places: 2)), \(verdict)"
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
    private func besidePassthrough(_ promise: Promise) -> String {
        let cell = promise.cell
        guard let share = cell.peerPassthroughShare,
            let ours = ratio(cell, promise.road, to: .passthrough)
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
                    promises.map { promise in
                        .object([
                            ("cell", .string(promise.cell.rawValue)),
                            ("road", .string(promise.road.rawValue)),
                            ("to", .string(promise.bar.other.rawValue)),
                            ("ratio", .number(promise.ratio, places: 4)),
                            (
                                "at_least",
                                .number(promise.bar.factor(promise.cell), places: 2)
                            ),
                            ("met", .bool(promise.isMet)),
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
    /// The same as cells of a comparison: "plain" is its raw road, and each form of the mount has
    /// cells in which it is the road that is compared.
    var compareCells: [CompareCell] {
        plan.cells.flatMap { cell in
            MountRoad.subjects.filter { spread(cell, $0) != nil }.map { compareCell(cell, of: $0) }
        }
    }

    private func compareCell(_ cell: MountCell, of subject: MountRoad) -> CompareCell {
        let form = subject == .passedThrough ? "-passthrough" : ""
        return CompareCell(
            section: "mount", rw: cell.access.rawValue, blockSize: cell.blockSize,
            depth: cell.isDeep ? 16 : 1, jobs: 1,
            policy: (cell.isBuffered ? "buffered" : "direct") + form,
            roads: plan.roads.compactMap { road in
                if MountRoad.subjects.contains(road), road != subject { return nil }
                guard let spread = spread(cell, road), let rates = samples[cell]?[road]
                else { return nil }
                // MiB a second are whole blocks of 1 MiB a second.
                return CompareRoad(
                    name: Self.name(of: road), rates: rates,
                    bytesPerSecond: spread.median * Double(cell.blockSize))
            })
    }

    private static func name(of road: MountRoad) -> String {
        switch road {
        case .plain: "raw"
        case .localio, .passedThrough: CompareCell.subject
        default: road.rawValue
        }
    }
}

// A comparison as one HTML page that needs nothing else: tables, and plots as SVG inside it.

extension CompareReport {
    /// The whole page.
    package var page: String {
        var body = "<h1>localio beside raw and loopback RPC</h1>\n"
        for line in facts { body += "<p>\(escaped(line))</p>\n" }
        body += list("Bars", judgement) + list("Beside the baseline", development)
        for section in sections {
            body += "<h2>\(escaped(CompareSection.titles[section] ?? section))</h2>\n"
            let mine = cells.filter { $0.section == section }
            body += ratioPlots(section, mine)
            body += scalingPlots(mine)
            body += latencyPlots(mine)
            body += tableOfRoads(mine)
        }
        return """
            <!DOCTYPE html>
            <html lang="en"><head><meta charset="utf-8"><title>localio-bench compare</title>
            <style>
            body { font: 14px sans-serif; margin: 2em; color: #222; max-width: 1100px }
            table { border-collapse: collapse; margin: 1em 0 }
            td, th { border-bottom: 1px solid #ddd; padding: 2px 8px; text-align: right }
            td:first-child, th:first-child, td:nth-child(2), th:nth-child(2) { text-align: left }
            svg { margin: 6px; vertical-align: top } svg text { font: 11px sans-serif }
            svg .head { font-weight: bold; font-size: 12px } .grid { stroke: #ddd }
            .one { stroke: #333; stroke-dasharray: 4 2 } .missed { color: #b00 }
            </style></head><body>
            \(body)</body></html>

            """
    }

    private func escaped(_ text: String) -> String { ComparePlots.escaped(text) }

    private func list(_ title: String, _ lines: [String]) -> String {
        guard let first = lines.first else { return "" }
        let items = lines.dropFirst().map { line in
            let mark = line.hasPrefix("missed") ? " class=\"missed\"" : ""
            return "<li\(mark)>\(escaped(line))</li>\n"
        }.joined()
        return "<h2>\(title)</h2><p>\(escaped(first))</p>\n"
            + (items.isEmpty ? "" : "<ul>\n\(items)</ul>\n")
    }

    private func ratioPlots(_ section: String, _ mine: [CompareCell]) -> String {
        var others: [String] = []
        for name in mine.flatMap(\.others) where !others.contains(name) { others.append(name) }
        return others.map { other in
            let rows = mine.compactMap { cell in
                cell.ratio(over: other).map { (name: cell.title, over: other, interval: $0) }
            }
            return ComparePlots.ratios(title: "\(section): localio / \(other)", rows: rows)
        }.joined()
    }

    /// Operations a second over the depth or the threads, where there are several.
    private func scalingPlots(_ mine: [CompareCell]) -> String {
        scaling(mine, "depth", by: \.depth) { "\($0.rw) \($0.blockSize) \($0.jobs)" }
            + scaling(mine, "jobs", by: \.jobs) { "\($0.rw) \($0.blockSize) \($0.depth)" }
            + scaling(mine.filter { $0.files != nil }, "open files", by: { $0.files ?? 1 }) {
                "\($0.rw) files"
            }
            + scaling(
                mine.filter { $0.fileByteCount != nil }, "bytes of the file",
                by: { $0.fileByteCount ?? 1 }, label: ByteSize.text
            ) { "\($0.rw) bytes" }
    }

    private func scaling(
        _ mine: [CompareCell], _ what: String, by value: (CompareCell) -> Int,
        label: (Int) -> String = { String($0) }, group: (CompareCell) -> String
    ) -> String {
        var plots = ""
        var seen = Set<String>()
        for cell in mine where cell.policy == nil && seen.insert(group(cell)).inserted {
            let line = mine.filter { group($0) == group(cell) }
            let values = Set(line.map(value)).sorted()
            guard values.count > 2 else { continue }
            let series = cell.roads.map(\.name).map { name in
                PlotSeries(
                    name: name,
                    points: line.compactMap { one in
                        one.road(name).map { (Double(value(one)), $0.spread.median) }
                    }.sorted { $0.x < $1.x })
            }
            plots += ComparePlots.lines(
                title: "\(cell.rw) \(ByteSize.text(cell.blockSize)): operations/s by \(what)",
                xLabels: values.map { (Double($0), label($0)) }, yTitle: "operations/s",
                series: series, isXLogarithmic: true)
        }
        return plots
    }

    /// One curve for each road; the tail is stretched, as in HdrHistogram's plots.
    private func latencyPlots(_ mine: [CompareCell]) -> String {
        let shown = mine.filter { cell in
            cell.jobs == 1 && cell.roads.contains { !$0.curve.isEmpty }
                && (cell.depth == 1 || cell.depth == 16)
        }
        return shown.map { cell in
            let percents = RoundSample.curvePercentiles
            let places = percents.map { 100 / (100 - $0) }
            let labels = zip(places, percents).filter { [1, 50, 90, 99, 99.9, 99.99].contains($1) }
                .map { ($0, decimal($1, places: $1 > 99 ? 2 : 0)) }
            return ComparePlots.lines(
                title: "\(cell.title): latency by percentile", xLabels: labels, yTitle: "µs",
                series: cell.roads.filter { !$0.curve.isEmpty }.map { road in
                    PlotSeries(
                        name: road.name, points: zip(places, road.curve).map { (x: $0, y: $1) })
                }, isXLogarithmic: true)
        }.joined()
    }

    private func tableOfRoads(_ mine: [CompareCell]) -> String {
        var rows = "<tr><th>workload</th><th>road</th><th>a second</th><th>±</th><th>MiB/s</th>"
            + "<th>p50 µs</th><th>p99 µs</th><th>p99.9 µs</th><th>CPU µs</th>"
            + "<th>server CPU µs</th><th>localio / it</th></tr>\n"
        for cell in mine {
            for road in cell.roads {
                let values = [50.0, 99, 99.9].map { percent in
                    RoundSample.curvePercentiles.firstIndex(of: percent).flatMap {
                        road.curve.count > $0 ? decimal(road.curve[$0], places: 0) : nil
                    } ?? "-"
                }
                let columns =
                    [
                        cell.title, road.name, decimal(road.spread.median, places: 0),
                        decimal(road.spread.relative * 100, places: 0) + "%",
                        decimal(road.bytesPerSecond / 1_048_576, places: 1),
                    ] + values + [
                        road.cpuMicroseconds.map { decimal($0, places: 1) } ?? "-",
                        road.serverCPUMicroseconds.map { decimal($0, places: 1) } ?? "-",
                        cell.others.contains(road.name)
                            ? cell.ratio(over: road.name)?.text ?? "-" : "",
                    ]
                rows += "<tr>" + columns.map { "<td>\(escaped($0))</td>" }.joined() + "</tr>\n"
            }
        }
        return "<table>\n\(rows)</table>\n"
    }
}

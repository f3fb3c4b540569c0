// One report in the four forms people and programs read.

/// `--format`.
package enum ReportFormat: String, CaseIterable, Sendable {
    case table, json, csv, markdown
}

extension BenchReport {
    /// The whole report, ending in a newline.
    package func text(_ format: ReportFormat) -> String {
        switch format {
        case .table: tableText
        case .markdown: markdownText
        case .csv: csvText
        case .json: json.text() + "\n"
        }
    }

    private var header: [String] {
        [
            "workload", "road", "IOPS", "±", "MiB/s", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs/IO",
            "server", "× raw", "× rpc",
        ] + (buffered == nil ? [] : ["× direct", "RSS MiB"]) + ["fall-backs", "verified"]
    }

    /// Words stand to the left, numbers to the right.
    private func isText(_ column: Int) -> Bool { column < 2 || column > header.count - 3 }

    private var rows: [[String]] {
        results.map { result in
            let point = result.point
            let server = result.serverCPU.map { decimal($0, places: 1) } ?? "-"
            let toRaw = ratio(point, result.road, .raw).map { decimal($0, places: 2) } ?? "-"
            let toRPC = ratio(point, result.road, .rpc).map { decimal($0, places: 2) } ?? "-"
            let iops = result.spread(\.iops)
            let throughput = result.spread(\.bytesPerSecond).median / 1_048_576
            let numbers: [String] = [
                decimal(iops.median, places: 0), decimal(iops.relative * 100, places: 0) + "%",
                decimal(throughput, places: 1),
                decimal(result.spread(\.p50).median, places: 0),
                decimal(result.spread(\.p99).median, places: 0),
                decimal(result.spread(\.p999).median, places: 0),
                decimal(result.spread(\.cpuMicroseconds).median, places: 1), server, toRaw, toRPC,
            ]
            let words: [String] = [
                Self.fallbackText(result.fallbacks), result.verified ? "yes" : "no",
            ]
            return [point.title, result.road.rawValue] + numbers + bufferedCells(result) + words
        }
    }

    private func bufferedCells(_ result: BenchResult) -> [String] {
        guard buffered != nil else { return [] }
        return [
            ratio(result.point, result.road, .direct).map { decimal($0, places: 2) } ?? "-",
            decimal(Double(result.peakResidentBytes) / 1_048_576, places: 0),
        ]
    }

    private static func fallbackText(_ fallbacks: [String: Int]) -> String {
        if fallbacks.isEmpty { return "none" }
        return fallbacks.sorted { $0.key < $1.key }
            .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }

    /// Lines under the table: where this was measured and what the columns say.
    private var footer: [String] {
        var lines = [
            "server \(server), \(host.fileSystem), kernel \(host.kernel), "
                + "\(host.processors) processors; medians of \(rounds) rounds, "
                + "± half the range; file \(ByteSize.text(fileSize)), seed \(seed)"
                + (misalignment > 0 ? ", offsets misaligned by \(misalignment)" : "")
        ]
        if let context {
            let reason = context.ioFlusherReason.map { " (\($0))" } ?? ""
            lines.append(
                "localio: \(context.locality), engine \(context.engine), "
                    + "I/O flusher \(context.ioFlusher)\(reason)")
        }
        lines.append(
            "CPU µs/IO is this process's user and system time; \"server\" is the server's, "
                + "where it is ours")
        switch pageCache {
        case .leave: break
        case .drop: lines.append("each round began with nothing of the file in the page cache")
        case .warm: lines.append("each round began with all of the file in the page cache")
        }
        if let buffered {
            lines.append(
                "buffered: raw is the kernel's page cache, localio and rpc a client's of "
                    + "\(ByteSize.text(buffered.cacheByteCount)) each, direct is O_DIRECT at depth "
                    + "\(BenchRoad.directDepth); fsync "
                    + (buffered.fsyncEvery.map { "every \($0) writes" } ?? "at the end of a round")
                    + (buffered.isCold ? "; cold at each round" : ""))
            lines.append(
                "RSS MiB is this process's peak in the road's rounds, the pages of all clients "
                    + "included")
        }
        return lines + notes
    }

    private var tableText: String {
        let table = [header] + rows
        let widths = header.indices.map { column in
            table.map { $0[column].count }.max() ?? 0
        }
        var text = ""
        var previous: String?
        for row in table {
            if let previous, previous != row[0] { text += "\n" }
            previous = row[0]
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                line += isText(column) ? cell + padding : padding + cell
                line += "  "
            }
            while line.last == " " { line.removeLast() }
            text += line + "\n"
        }
        return text + "\n" + footer.joined(separator: "\n") + "\n"
    }

    private var markdownText: String {
        let alignment = header.indices.map { isText($0) ? "---" : "--:" }
        let lines = ([header, alignment] + rows).map { row in
            "| " + row.joined(separator: " | ") + " |"
        }
        return lines.joined(separator: "\n") + "\n\n" + footer.joined(separator: "\n\n") + "\n"
    }

    private var csvText: String {
        let names = [
            "rw", "bs", "iodepth", "numjobs", "road", "policy", "iops", "iops_min", "iops_max",
            "bytes_per_second", "p50_us", "p99_us", "p999_us", "cpu_us_per_io",
            "server_cpu_us_per_io", "ratio_to_raw", "ratio_to_rpc", "fallbacks", "verified",
            "ratio_to_direct", "rss_peak_bytes",
        ]
        let lines = results.map { result in
            let point = result.point
            let iops = result.spread(\.iops)
            let toDirect = ratio(point, result.road, .direct)
            let identity: [String] = [
                point.pattern.rawValue, String(point.blockSize), String(point.depth),
                String(point.jobs), result.road.rawValue, result.policy,
            ]
            let numbers: [String] = [
                decimal(iops.median, places: 1), decimal(iops.minimum, places: 1),
                decimal(iops.maximum, places: 1),
                decimal(result.spread(\.bytesPerSecond).median, places: 0),
                decimal(result.spread(\.p50).median, places: 2),
                decimal(result.spread(\.p99).median, places: 2),
                decimal(result.spread(\.p999).median, places: 2),
                decimal(result.spread(\.cpuMicroseconds).median, places: 2),
                result.serverCPU.map { decimal($0, places: 2) } ?? "",
            ]
            let relations: [String] = [
                ratio(point, result.road, .raw).map { decimal($0, places: 4) } ?? "",
                ratio(point, result.road, .rpc).map { decimal($0, places: 4) } ?? "",
                result.fallbacks.sorted { $0.key < $1.key }
                    .map { "\($0.key)=\($0.value)" }.joined(separator: " "),
                String(result.verified), toDirect.map { decimal($0, places: 4) } ?? "",
                String(result.peakResidentBytes),
            ]
            return (identity + numbers + relations).joined(separator: ",")
        }
        return ([names.joined(separator: ",")] + lines).joined(separator: "\n") + "\n"
    }
}

extension BenchReport {
    /// The stable form for programs; `schema` changes when a key changes its meaning.
    package var json: JSON {
        .object([
            ("schema", .integer(1)),
            (
                "host",
                .object([
                    ("kernel", .string(host.kernel)), ("processors", .integer(host.processors)),
                    ("file_system", .string(host.fileSystem)),
                    ("direct_io_unit", host.directIOUnit.map { .integer($0) } ?? .null),
                ])
            ),
            ("server", .string(server)),
            ("seed", .unsigned(seed)),
            ("file_size", .integer(fileSize)),
            ("offset_misalign", .integer(misalignment)),
            ("rounds", .integer(rounds)),
            ("buffered", bufferedJSON),
            ("page_cache", .string(pageCache.rawValue)),
            ("results", .array(results.map(Self.json))),
            ("ratios", .array(ratios.map(Self.json))),
            ("context", contextJSON),
            ("notes", .array(notes.map { .string($0) })),
        ])
    }

    private var bufferedJSON: JSON {
        guard let buffered else { return .null }
        return .object([
            ("cache", .integer(buffered.cacheByteCount)),
            ("fsync_every", buffered.fsyncEvery.map { .integer($0) } ?? .null),
            ("cold", .bool(buffered.isCold)), ("direct_iodepth", .integer(BenchRoad.directDepth)),
        ])
    }

    private var contextJSON: JSON {
        guard let context else { return .null }
        return .object([
            ("io_flusher", .string(context.ioFlusher)),
            ("io_flusher_reason", context.ioFlusherReason.map { .string($0) } ?? .null),
            ("engine", .string(context.engine)), ("locality", .string(context.locality)),
        ])
    }

    private static func json(_ result: BenchResult) -> JSON {
        let iops = result.spread(\.iops)
        func median(_ value: (RoundSample) -> Double) -> JSON {
            .number(result.spread(value).median, places: 2)
        }
        return .object([
            ("rw", .string(result.point.pattern.rawValue)),
            ("bs", .integer(result.point.blockSize)),
            ("iodepth", .integer(result.point.depth)),
            ("numjobs", .integer(result.point.jobs)),
            ("road", .string(result.road.rawValue)),
            ("policy", .string(result.policy)),
            ("iops", .number(iops.median, places: 1)),
            (
                "iops_spread",
                .object([
                    ("min", .number(iops.minimum, places: 1)),
                    ("max", .number(iops.maximum, places: 1)),
                ])
            ),
            ("bytes_per_second", median(\.bytesPerSecond)),
            (
                "latency_us",
                .object([
                    ("p50", median(\.p50)), ("p99", median(\.p99)), ("p999", median(\.p999)),
                ])
            ),
            ("cpu_us_per_io", median(\.cpuMicroseconds)),
            ("server_cpu_us_per_io", result.serverCPU.map { .number($0, places: 2) } ?? .null),
            ("rss_peak_bytes", .integer(result.peakResidentBytes)),
            (
                "fallbacks",
                .object(
                    result.fallbacks.sorted { $0.key < $1.key }
                        .map { ($0.key, .integer($0.value)) })
            ),
            ("verified", .bool(result.verified)),
        ])
    }

    private static func json(_ ratio: BenchRatio) -> JSON {
        .object([
            ("rw", .string(ratio.point.pattern.rawValue)),
            ("bs", .integer(ratio.point.blockSize)),
            ("iodepth", .integer(ratio.point.depth)),
            ("numjobs", .integer(ratio.point.jobs)),
            ("localio_to_raw", ratio.localioToRaw.map { .number($0, places: 4) } ?? .null),
            ("localio_to_rpc", ratio.localioToRPC.map { .number($0, places: 4) } ?? .null),
            ("localio_to_direct", ratio.localioToDirect.map { .number($0, places: 4) } ?? .null),
        ])
    }
}

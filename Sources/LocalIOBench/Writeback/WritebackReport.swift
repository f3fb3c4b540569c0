// What a writeback run found, for people and for programs.

/// Latencies of one kind of call, in microseconds.
struct LatencySummary: Sendable {
    var count = 0
    var p50 = 0.0
    var p99 = 0.0
    var maximum = 0.0

    /// - Parameter nanoseconds: each call's.
    init(_ nanoseconds: [UInt64]) {
        let sorted = nanoseconds.sorted()
        guard let last = sorted.last else { return }
        count = sorted.count
        p50 = Double(sorted[sorted.count / 2]) / 1000
        p99 = Double(sorted[min(sorted.count * 99 / 100, sorted.count - 1)]) / 1000
        maximum = Double(last) / 1000
    }

    var json: JSON {
        .object([
            ("count", .integer(count)), ("p50", .number(p50, places: 1)),
            ("p99", .number(p99, places: 1)), ("max", .number(maximum, places: 1)),
        ])
    }

    var text: String {
        func milliseconds(_ value: Double) -> String { decimal(value / 1000, places: 2) }
        return "p50 \(milliseconds(p50)) ms, p99 \(milliseconds(p99)) ms, "
            + "max \(milliseconds(maximum)) ms (\(count) calls)"
    }
}

/// One writer's progress.
struct WriterProgress: Sendable {
    var bytes = 0
    /// Nanoseconds: the longest single write, which is the longest time without progress.
    var longestWrite: UInt64 = 0
}

/// The cache and the process at a moment under load.
struct WritebackSample: Sendable {
    var seconds: Double
    /// nil where the kernel's page cache was measured.
    var dirtyBytes: Int?
    var writebackBytes: Int?
    /// By all writers.
    var acceptedBytes: Int
    var residentBytes: Int
}

/// The whole run.
struct WritebackReport: Sendable {
    var plan: WritebackPlan
    var host: BenchReport.Host
    var locality: String?
    var writers: [WriterProgress] = []
    /// Nanoseconds of the load, and of the writers' last fsync and close after it.
    var loadNanoseconds: UInt64 = 0
    var drainNanoseconds: UInt64 = 0
    var idleFsync = LatencySummary([])
    var loadFsync = LatencySummary([])
    /// The small file's write before each fsync.
    var loadSmallWrite = LatencySummary([])
    var samples: [WritebackSample] = []
    var residentAtStart = 0
    var peakResidentBytes = 0
    var groupPeakBytes: Int?
    var throttledNanoseconds: UInt64?
    var hardStops: UInt64?
    var drainRate: UInt64?
    /// Bytes of a writeback request on average.
    var requestBytes: Int?
    var fallbacks: [String: Int] = [:]

    var acceptedBytes: Int { writers.map(\.bytes).reduce(0, +) }
    var maximumDirtyBytes: Int? { samples.compactMap(\.dirtyBytes).max() }
    var maximumWritebackBytes: Int? { samples.compactMap(\.writebackBytes).max() }
    var longestWrite: UInt64 { writers.map(\.longestWrite).max() ?? 0 }
    /// Bytes a second from the load's begin until everything is durable.
    var durableRate: Double {
        Double(acceptedBytes) * 1e9 / Double(max(loadNanoseconds + drainNanoseconds, 1))
    }

    /// The memory that the load took above what was there before the cache was made.
    var residentGrowth: Int { max(peakResidentBytes - residentAtStart, 0) }

    private static func mebibytes(_ value: Int) -> String {
        decimal(Double(value) / 1_048_576, places: 1) + " MiB"
    }

    var text: String {
        let seconds = Double(loadNanoseconds) / 1e9
        let each = writers.map { $0.bytes }
        let limits = [
            plan.deviceLimit.map { "device \(ByteSize.text($0))/s" },
            plan.memoryLimit.map { "memory \(ByteSize.text($0))" },
        ].compactMap { $0 }
        let limitText = limits.isEmpty ? "" : ", limits: " + limits.joined(separator: ", ")
        let drain = decimal(Double(drainNanoseconds) / 1e9, places: 2)
        let stall = decimal(Double(longestWrite) / 1e6, places: 1)
        let group = groupPeakBytes.map { ", control group's peak \(Self.mebibytes($0))" } ?? ""
        let place = locality.map { ", \($0)" } ?? ""
        var lines: [String] = [
            "writeback: \(plan.road.rawValue), \(plan.writers) writers of "
                + "\(ByteSize.text(plan.blockSize)) blocks, cache "
                + "\(ByteSize.text(plan.cacheByteCount))\(limitText)",
            "\(host.fileSystem), kernel \(host.kernel), server \(plan.server.name)\(place)",
            "load:            \(decimal(seconds, places: 1)) s, "
                + "\(Self.mebibytes(acceptedBytes)) accepted, then \(drain) s to drain: "
                + "\(Self.mebibytes(Int(durableRate)))/s durable",
            "writers:         least \(Self.mebibytes(each.min() ?? 0)), most "
                + "\(Self.mebibytes(each.max() ?? 0)), longest without progress \(stall) ms",
        ]
        lines += [
            "fsync, idle:     \(idleFsync.text)",
            "fsync, load:     \(loadFsync.text)",
            "small write:     \(loadSmallWrite.text)",
            "fsync ratio:     p50 \(ratio(\.p50)), p99 \(ratio(\.p99)), max \(ratio(\.maximum))",
            "resident:        \(Self.mebibytes(residentAtStart)) before the cache, peak "
                + "\(Self.mebibytes(peakResidentBytes)), growth "
                + "\(Self.mebibytes(residentGrowth))\(group)",
        ]
        if let dirty = maximumDirtyBytes, let writeback = maximumWritebackBytes {
            lines.append(
                "cache:           dirty at most \(Self.mebibytes(dirty)), in writeback at most "
                    + "\(Self.mebibytes(writeback)), throttled "
                    + "\(decimal(Double(throttledNanoseconds ?? 0) / 1e9, places: 1)) s, "
                    + "hard stops \(hardStops ?? 0), drain rate "
                    + "\(Self.mebibytes(Int(clamping: drainRate ?? 0)))/s, requests of "
                    + "\((requestBytes ?? 0) >> 10) KiB")
        }
        if !fallbacks.isEmpty {
            lines.append(
                "fall-backs:      "
                    + fallbacks.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
                    .joined(separator: ", "))
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Under load as a multiple of idle.
    private func multiple(_ value: (LatencySummary) -> Double) -> Double? {
        let idle = value(idleFsync)
        return idle > 0 && loadFsync.count > 0 ? value(loadFsync) / idle : nil
    }

    private func ratio(_ value: (LatencySummary) -> Double) -> String {
        multiple(value).map { "× " + decimal($0, places: 1) } ?? "-"
    }

    /// The stable form for programs; `schema` changes when a key changes its meaning.
    var json: JSON {
        .object([("schema", JSON.integer(1))] + settings + progress + latencies + memory)
    }

    private static func optional(_ value: Int?) -> JSON { value.map { .integer($0) } ?? .null }

    private static func seconds(_ nanoseconds: UInt64?) -> JSON {
        nanoseconds.map { .number(Double($0) / 1e9, places: 3) } ?? .null
    }

    private static func number(_ value: Double?, places: Int) -> JSON {
        value.map { .number($0, places: places) } ?? .null
    }

    private var settings: [(String, JSON)] {
        [
            ("road", .string(plan.road.rawValue)),
            ("server", .string(plan.server.name)),
            ("locality", locality.map { .string($0) } ?? .null),
            ("file_system", .string(host.fileSystem)),
            ("kernel", .string(host.kernel)),
            ("writers", .integer(plan.writers)),
            ("bs", .integer(plan.blockSize)),
            ("file_size", .integer(plan.fileSize)),
            ("cache", .integer(plan.cacheByteCount)),
            ("device_limit", Self.optional(plan.deviceLimit)),
            ("memory_limit", Self.optional(plan.memoryLimit)),
        ]
    }

    private var progress: [(String, JSON)] {
        [
            ("load_seconds", Self.seconds(loadNanoseconds)),
            ("drain_seconds", Self.seconds(drainNanoseconds)),
            ("accepted_bytes", .integer(acceptedBytes)),
            ("durable_bytes_per_second", .number(durableRate, places: 0)),
            ("writer_bytes", .array(writers.map { JSON.integer($0.bytes) })),
            ("longest_write_ms", .number(Double(longestWrite) / 1e6, places: 3)),
        ]
    }

    private var latencies: [(String, JSON)] {
        [
            ("fsync_idle_us", idleFsync.json),
            ("fsync_load_us", loadFsync.json),
            ("small_write_load_us", loadSmallWrite.json),
            ("fsync_ratio_p50", Self.number(multiple(\.p50), places: 3)),
            ("fsync_ratio_p99", Self.number(multiple(\.p99), places: 3)),
        ]
    }

    private var memory: [(String, JSON)] {
        let reasons = fallbacks.sorted { $0.key < $1.key }
        return [
            ("rss_start_bytes", .integer(residentAtStart)),
            ("rss_peak_bytes", .integer(peakResidentBytes)),
            ("group_peak_bytes", Self.optional(groupPeakBytes)),
            ("dirty_max_bytes", Self.optional(maximumDirtyBytes)),
            ("writeback_max_bytes", Self.optional(maximumWritebackBytes)),
            ("throttled_seconds", Self.seconds(throttledNanoseconds)),
            ("hard_stops", hardStops.map { .unsigned($0) } ?? .null),
            ("drain_bytes_per_second", drainRate.map { .unsigned($0) } ?? .null),
            ("request_bytes", Self.optional(requestBytes)),
            ("fallbacks", .object(reasons.map { ($0.key, JSON.integer($0.value)) })),
            ("samples", .array(samples.map(Self.json))),
        ]
    }

    private static func json(_ sample: WritebackSample) -> JSON {
        .object([
            ("seconds", .number(sample.seconds, places: 3)),
            ("dirty_bytes", sample.dirtyBytes.map { .integer($0) } ?? .null),
            ("writeback_bytes", sample.writebackBytes.map { .integer($0) } ?? .null),
            ("accepted_bytes", .integer(sample.acceptedBytes)),
            ("rss_bytes", .integer(sample.residentBytes)),
        ])
    }
}

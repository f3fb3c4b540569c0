// What a mount says about itself: numbers for programs, lines for people.
internal import CLocalIOFUSE
internal import Foundation
internal import LocalIO
internal import Logging
internal import Synchronization
internal import Threads

/// A snapshot of a mount. Its JSON keys stay as they are; new ones may be added.
public struct MountStatus: Codable, Sendable {
    /// One road's totals; latencies in nanoseconds.
    public struct Road: Codable, Sendable {
        public var operations: UInt64
        public var bytes: UInt64
        public var p50_nanoseconds: UInt64?
        public var p99_nanoseconds: UInt64?
        public var p999_nanoseconds: UInt64?
        public var maximum_nanoseconds: UInt64?
    }

    public var version = 1
    public var url: String
    public var mount_point: String
    public var pid: Int32
    /// `local` or `remote`.
    public var locality: String
    /// How locality was proved, or the reason against it.
    public var reason: String
    public var explanation: String
    public var connected: Bool
    public var uptime_seconds: Double
    public var roads: [String: Road]
    public var fallbacks: [String: UInt64]
    public var open_files: Int
    public var nodes: Int
    public var lookups: UInt64
    public var operations: UInt64
    public var operations_active: Int
    /// Receive buffers that hold data on its way, and their size in all.
    public var writeback_buffers: UInt32
    public var writeback_buffers_limit: UInt32
    /// Bytes the kernel holds for this mount and has not sent yet; nil where it does not say.
    public var kernel_dirty_bytes: UInt64?
    public var kernel_writeback_bytes: UInt64?
    public var uncommitted_bytes: Int
    public var resent_writes: UInt64
    public var rpc_retransmissions: UInt64
    public var rpc_reconnects: UInt64
    public var engine: String
    /// `active`, or why it is not.
    public var io_context: String
    public var memory_locked: String
    public var oom_score: String
    public var writeback_cache: Bool
    /// Open files that the kernel reads and writes by itself, uncounted in `roads`; nil without
    /// passthrough.
    public var passed_through_files: Int?

    var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(self) else { return "{}\n" }
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    /// Reads the status of the mount at `mountPoint`.
    /// - Throws: one line that says what is wrong.
    public static func read(mountPoint: String) throws(MountFailure) -> (Self, json: String) {
        let path = mountPoint + "/" + StatusFile.name
        guard let data = FileManager.default.contents(atPath: path) else {
            if unsafe clfuse_is_stale(mountPoint) {
                throw MountFailure(
                    "\(mountPoint): its localio-mount has died; unmount it (fusermount3 -u) "
                        + "and mount it again")
            }
            throw MountFailure("\(mountPoint): no localio mount; give the directory it is at")
        }
        let text = String(decoding: data, as: UTF8.self)
        do {
            return (try JSONDecoder().decode(Self.self, from: data), text)
        } catch {
            throw MountFailure("\(path): not understood; is this localio-mount as new as that?")
        }
    }

    /// For people: one `name: value` a line.
    public var lines: [String] {
        var lines = [
            "\(url) on \(mount_point) (pid \(pid), up \(Int(uptime_seconds)) s)",
            "locality: \(locality) (\(reason)): \(explanation)",
            "server: \(connected ? "connected" : "not answering"), "
                + "\(rpc_reconnects) reconnects, \(rpc_retransmissions) calls sent again",
        ]
        for (name, road) in roads.sorted(by: { $0.key < $1.key }) {
            var line = "\(name): \(road.operations) I/Os, \(road.bytes) bytes"
            if let p50 = road.p50_nanoseconds, let p99 = road.p99_nanoseconds,
                let top = road.maximum_nanoseconds
            {
                line += ", p50 \(p50 / 1000) µs, p99 \(p99 / 1000) µs, most \(top / 1000) µs"
            }
            lines.append(line)
        }
        for (name, count) in fallbacks.sorted(by: { $0.key < $1.key }) {
            lines.append("fall-backs, \(name): \(count)")
        }
        if let passed_through_files {
            lines.append(
                "passed through: \(passed_through_files) open files, their I/O not counted here")
        }
        if let dirty = kernel_dirty_bytes, let writeback = kernel_writeback_bytes {
            lines.append("kernel cache: \(dirty) bytes dirty, \(writeback) in writeback")
        }
        lines.append("uncommitted: \(uncommitted_bytes) bytes, \(resent_writes) writes sent again")
        lines.append("open files: \(open_files), nodes: \(nodes), lookups: \(lookups)")
        lines.append(
            "operations: \(operations), \(operations_active) under way; "
                + "buffers \(writeback_buffers) of \(writeback_buffers_limit)")
        lines.append(
            "engine: \(engine); nested I/O: \(io_context); memory: \(memory_locked); "
                + "OOM score: \(oom_score)")
        return lines
    }
}

/// What the start of a nested-I/O context came to; in words, for the status.
struct ContextReport: Sendable {
    var memory = "not locked (off)"
    var oomScore = "unchanged (off)"
}

extension MountCore {
    func status() -> MountStatus {
        let statistics = client.statistics()
        let (locality, reason, explanation) = localityText
        var roads: [String: MountStatus.Road] = [:]
        for (road, totals) in statistics.roads {
            roads[road.rawValue] = MountStatus.Road(
                operations: totals.operations, bytes: totals.bytes,
                p50_nanoseconds: totals.latency?.p50, p99_nanoseconds: totals.latency?.p99,
                p999_nanoseconds: totals.latency?.p999,
                maximum_nanoseconds: totals.latency?.maximum)
        }
        let facts = facts.withLock { $0 }
        let (used, limit) = bufferCounts()
        let cache = facts.device.flatMap { KernelCache.read(device: $0) }
        let context: String =
            switch statistics.engine.context {
            case .active: "active"
            case .degraded(let why): "degraded: \(why)"
            }
        let uptime = (ContinuousClock.now - startedAt).components
        let session = session.statistics
        return MountStatus(
            url: "\(configuration.url)", mount_point: configuration.mountPoint, pid: getpid(),
            locality: locality, reason: reason, explanation: explanation,
            connected: client.session.isConnected,
            uptime_seconds: Double(uptime.seconds) + Double(uptime.attoseconds) * 1e-18,
            roads: roads,
            fallbacks: Dictionary(
                uniqueKeysWithValues: statistics.fallbacks.map { ($0.key.rawValue, $0.value) }),
            open_files: nodes.openCount, nodes: nodes.count, lookups: nodes.lookupCount,
            operations: counters.totalCount, operations_active: counters.activeCount,
            writeback_buffers: used, writeback_buffers_limit: limit,
            kernel_dirty_bytes: cache?.dirty, kernel_writeback_bytes: cache?.writeback,
            uncommitted_bytes: statistics.uncommittedBytes,
            resent_writes: statistics.resentWrites,
            rpc_retransmissions: session.retransmissions, rpc_reconnects: session.reconnects,
            engine: statistics.engine.kind.rawValue, io_context: context,
            memory_locked: facts.context.memory, oom_score: facts.context.oomScore,
            writeback_cache: configuration.writebackCache,
            passed_through_files: passage == nil
                ? nil : passedThroughCount.load(ordering: .relaxed))
    }

    private var localityText: (String, String, String) {
        switch client.locality {
        case .local(let proof): ("local", proof.rawValue, "file data goes to the local file")
        case .remote(let reason): ("remote", reason.rawValue, reason.explanation)
        }
    }
}

/// What the kernel's page cache holds of one mount, where debugfs says it.
enum KernelCache {
    static func read(device: String) -> (dirty: UInt64, writeback: UInt64)? {
        let path = "/sys/kernel/debug/bdi/\(device)/stats"
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        var values: [String: UInt64] = [:]
        for line in String(decoding: data, as: UTF8.self).split(separator: "\n") {
            let words = line.split { $0 == " " || $0 == ":" || $0 == "\t" }
            if words.count >= 2, let value = UInt64(words[1]) { values[String(words[0])] = value }
        }
        guard let dirty = values["BdiReclaimable"], let writeback = values["BdiWriteback"] else {
            return nil
        }
        return (dirty * 1024, writeback * 1024)
    }
}

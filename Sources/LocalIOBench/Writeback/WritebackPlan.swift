// The command line of `localio-bench writeback` as checked values.

/// The words as they were given; nil where an option is absent.
package struct WritebackArguments: Sendable {
    package var road: String?
    package var writers: String?
    package var bs: String?
    package var size: String?
    package var runtime: String?
    package var idle: String?
    package var cache: String?
    package var server: String?
    package var directory: String?
    package var fileSystem: String?
    package var deviceLimit: String?
    package var memoryLimit: String?
    package var json = false
    package var output: String?

    package init() {}
}

/// A writeback run that makes sense on paper.
struct WritebackPlan: Sendable {
    enum DeviceKind: String, CaseIterable, Sendable {
        case ext4, xfs
        case xfsOnZRAM = "xfs-zram"
    }

    var road: BenchRoad
    var writers: Int
    var blockSize: Int
    /// Of each writer's file, written round and round.
    var fileSize: Int
    var runtime: Duration
    /// For the small file's fsyncs before the writers start.
    var idle: Duration
    var cacheByteCount: Int
    var server: ServerChoice
    var directory: String?
    /// A file system of the run's own; nil: the directory's.
    var device: DeviceKind?
    /// Bytes a second of that device.
    var deviceLimit: Int?
    var memoryLimit: Int?
    var isJSON: Bool
    var output: String?

    /// - Throws: a usage error naming the option.
    init(_ arguments: WritebackArguments) throws(BenchError) {
        road = try BenchPlan.list("--road", arguments.road ?? "localio", BenchRoad.self)[0]
        guard road != .direct, road != .queue else {
            throw BenchError(
                "--road '\(road.rawValue)': must be of raw, localio, rpc", kind: .usage)
        }
        writers = try BenchPlan.integers("--writers", arguments.writers ?? "10", 0...256)[0]
        blockSize = try BenchPlan.size("--bs", arguments.bs ?? "256k")
        fileSize = try BenchPlan.size("--size", arguments.size ?? "64m")
        runtime = try BenchPlan.runtime(arguments.runtime ?? "10s")
        idle = try BenchPlan.runtime(arguments.idle ?? "3s")
        cacheByteCount = try BenchPlan.size("--cache", arguments.cache ?? "64m")
        server = try BenchPlan.server(arguments.server ?? "embedded")
        directory = arguments.directory
        device = try arguments.fileSystem.map { text throws(BenchError) in
            try BenchPlan.list("--file-system", text, DeviceKind.self)[0]
        }
        deviceLimit = try arguments.deviceLimit.map { text throws(BenchError) in
            try BenchPlan.size("--device-limit", text)
        }
        memoryLimit = try arguments.memoryLimit.map { text throws(BenchError) in
            try BenchPlan.size("--memory-limit", text)
        }
        isJSON = arguments.json
        output = arguments.output
        try check()
    }

    private func check() throws(BenchError) {
        guard fileSize >= blockSize, blockSize <= 64 << 20 else {
            throw BenchError(
                "--bs \(ByteSize.text(blockSize)): must be at most 64m and at most --size "
                    + ByteSize.text(fileSize), kind: .usage)
        }
        if deviceLimit != nil, device == nil || device == .xfsOnZRAM {
            throw BenchError(
                "--device-limit: give --file-system ext4 or xfs, so that only a device of the "
                    + "run's own is slowed", kind: .usage)
        }
        if device != nil, directory != nil {
            throw BenchError(
                "--directory and --file-system: give one of them; the latter makes its own place",
                kind: .usage)
        }
        if case .url = server, device != nil || directory == nil {
            throw BenchError(
                "--server with a URL: give --directory, the export's directory on this host",
                kind: .usage)
        }
    }
}

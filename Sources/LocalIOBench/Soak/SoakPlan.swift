// The command line of `localio-bench soak` as checked values.

/// The words as they were given; nil where an option is absent.
package struct SoakArguments: Sendable {
    package var ios: String?
    package var rw: String?
    package var way: String?
    package var bs: String?
    package var iodepth: String?
    package var size: String?
    package var device: String?
    package var server: String?
    package var seed: String?
    package var allowed: String?
    package var verify = false
    package var json = false
    package var output: String?

    package init() {}
}

/// A way of I/O through one client, each on a thread of its own.
package enum SoakWay: String, CaseIterable, Sendable {
    /// A channel's ring on the caller's thread.
    case channel
    /// The submission queue and its workers, as writeback goes.
    case queue
    /// One blocking call at a time.
    case inline
}

/// A soak that makes sense on paper.
struct SoakPlan: Sendable {
    /// I/Os of all ways together.
    var operations: Int
    var pattern: AccessPattern
    var ways: [SoakWay]
    var blockSize: Int
    var depth: Int
    var fileByteCount: Int
    var device: CompareDevice
    var server: ServerChoice
    var seed: UInt64
    /// Bytes that may be added after the first tenth.
    var allowed: Int
    var verify: Bool
    var isJSON: Bool
    var output: String?

    /// - Throws: a usage error naming the option.
    init(_ arguments: SoakArguments) throws(BenchError) {
        operations = try BenchPlan.integers(
            "--ios", arguments.ios ?? "10000000", 1000...1_000_000_000_000)[0]
        pattern = try BenchPlan.list("--rw", arguments.rw ?? "randrw", AccessPattern.self)[0]
        ways = try BenchPlan.list("--way", arguments.way ?? "channel,queue,inline", SoakWay.self)
        blockSize = try BenchPlan.size("--bs", arguments.bs ?? "4k")
        depth = try BenchPlan.integers("--iodepth", arguments.iodepth ?? "16", 1...1024)[0]
        fileByteCount = try BenchPlan.size("--size", arguments.size ?? "64m")
        device = try CompareDevice(arguments.device ?? "disk")
        server = try BenchPlan.server(arguments.server ?? "embedded")
        if case .url(let url) = server {
            throw BenchError(
                "--server '\(url)': a soak has a server of its own; embedded or ganesha",
                kind: .usage)
        }
        seed = try BenchPlan.seed(arguments.seed)
        allowed = try BenchPlan.size("--allowed", arguments.allowed ?? "2m")
        verify = arguments.verify
        isJSON = arguments.json
        output = arguments.output
        let blocks = fileByteCount / blockSize / ways.count
        guard blocks >= depth else {
            throw BenchError(
                "--size \(ByteSize.text(fileByteCount)) holds \(blocks) blocks of "
                    + "\(ByteSize.text(blockSize)) for each way, fewer than --iodepth \(depth); "
                    + "give a larger --size", kind: .usage)
        }
    }
}

// The command line as checked values: every wrong word gets one line that says what is right.
package import DirectIO

/// Which server a run measures beside.
package enum ServerChoice: Hashable, Sendable {
    case embedded
    case ganesha
    /// A running server's export.
    case url(String)

    package var name: String {
        switch self {
        case .embedded: "embedded"
        case .ganesha: "ganesha"
        case .url(let url): url
        }
    }
}

/// The words of the command line as they were given; nil where an option is absent.
package struct BenchArguments: Sendable {
    package var rw: String?
    package var bs: String?
    package var iodepth: String?
    package var numjobs: String?
    package var size: String?
    package var runtime: String?
    package var rounds: String?
    package var road: String?
    package var policy: String?
    package var misalign: String?
    package var server: String?
    package var directory: String?
    package var seed: String?
    package var verify = false
    package var buffered = false
    package var fsyncEvery: String?
    package var cache: String?
    package var cold = false
    package var pageCache: String?
    package var format: String?
    package var output: String?

    package init() {}
}

/// What a buffered run adds: the same blocking calls through the kernel's page cache and ours.
package struct BufferedOptions: Hashable, Sendable {
    /// Writes of a job between two fsyncs; nil: one fsync at the end of each round.
    package var fsyncEvery: Int?
    package var cacheByteCount: Int
    /// Every round begins with nothing cached.
    package var isCold: Bool
}

/// `--page-cache`: what the kernel has of the file when a round of an unbuffered run begins.
package enum PageCacheState: String, CaseIterable, Sendable {
    /// What the rounds before have left there.
    case leave
    case drop
    /// All of it, as where the server's other clients read the file.
    case warm
}

/// A run that makes sense on paper; the file system may still refuse it.
package struct BenchPlan: Sendable {
    package var points: [WorkloadPoint]
    package var fileSize: Int
    /// Per road and point, over all rounds.
    package var runtime: Duration
    package var rounds: Int
    package var roads: [BenchRoad]
    package var policy: MisalignmentPolicyName
    package var misalignment: Int
    package var server: ServerChoice
    package var directory: String?
    package var seed: UInt64
    package var verify: Bool
    /// nil: unbuffered.
    package var buffered: BufferedOptions?
    package var pageCache: PageCacheState
    package var format: ReportFormat
    package var output: String?

    /// - Throws: a usage error naming the option.
    package init(_ arguments: BenchArguments) throws(BenchError) {
        let patterns = try Self.list(
            "--rw", arguments.rw ?? "randread,randwrite,read,write", AccessPattern.self)
        let blockSizes = try arguments.bs.map { text throws(BenchError) in try Self.sizes(text) }
        buffered = try Self.buffered(arguments)
        pageCache = try Self.pageCache(arguments)
        let depths = try Self.integers(
            "--iodepth", arguments.iodepth ?? (buffered == nil ? "1,16" : "1"), 1...4096)
        let jobs = try Self.integers("--numjobs", arguments.numjobs ?? "1", 1...256)
        fileSize = try Self.size("--size", arguments.size ?? "64m")
        runtime = try Self.runtime(arguments.runtime ?? "2s")
        rounds = try Self.integers("--rounds", arguments.rounds ?? "5", 1...1000)[0]
        roads = try Self.list("--road", arguments.road ?? "raw,localio,rpc", BenchRoad.self)
        policy = try Self.list(
            "--policy", arguments.policy ?? "local", MisalignmentPolicyName.self)[0]
        misalignment = try Self.misalignment(arguments.misalign)
        server = try Self.server(arguments.server ?? "embedded")
        directory = arguments.directory
        seed = try Self.seed(arguments.seed)
        verify = arguments.verify
        format = try Self.list("--format", arguments.format ?? "table", ReportFormat.self)[0]
        output = arguments.output
        points = []
        for pattern in patterns {
            for blockSize in blockSizes ?? [pattern.usualBlockSize] {
                for depth in depths {
                    for count in jobs {
                        points.append(
                            WorkloadPoint(
                                pattern: pattern, blockSize: blockSize, depth: depth, jobs: count))
                    }
                }
            }
        }
        for point in points { try check(point) }
        try checkRoads()
    }

    /// Blocking calls have no depth; `direct` and the page caches' options belong to them only.
    private func checkRoads() throws(BenchError) {
        if buffered == nil, roads.contains(.direct) {
            throw BenchError(
                "--road direct: only with --buffered; raw is direct without it", kind: .usage)
        }
        if buffered != nil, roads.contains(.queue) {
            throw BenchError(
                "--road queue: not with --buffered, whose writeback goes by the queue anyway",
                kind: .usage)
        }
        if buffered != nil, let point = points.first(where: { $0.depth > 1 }) {
            throw BenchError(
                "--iodepth \(point.depth): --buffered makes one blocking call at a time per job; "
                    + "use --numjobs", kind: .usage)
        }
    }

    private static func buffered(
        _ arguments: BenchArguments
    ) throws(BenchError) -> BufferedOptions? {
        guard arguments.buffered else {
            let given = [
                arguments.fsyncEvery.map { _ in "--fsync-every" },
                arguments.cache.map { _ in "--cache" }, arguments.cold ? "--cold" : nil,
            ]
            guard let option = given.compactMap({ $0 }).first else { return nil }
            throw BenchError("\(option): only with --buffered", kind: .usage)
        }
        return BufferedOptions(
            fsyncEvery: try arguments.fsyncEvery.map { text throws(BenchError) in
                try integers("--fsync-every", text, 1...1_000_000_000)[0]
            },
            cacheByteCount: try size("--cache", arguments.cache ?? "64m"),
            isCold: arguments.cold)
    }

    private static func pageCache(
        _ arguments: BenchArguments
    ) throws(BenchError) -> PageCacheState {
        guard let text = arguments.pageCache else { return arguments.buffered ? .leave : .drop }
        if arguments.buffered {
            throw BenchError("--page-cache: not with --buffered, which has --cold", kind: .usage)
        }
        return try list("--page-cache", text, PageCacheState.self)[0]
    }

    /// The blocks and the buffers of a point fit the file and reasonable memory.
    private func check(_ point: WorkloadPoint) throws(BenchError) {
        let grid = BlockGrid(
            fileSize: fileSize, blockSize: point.blockSize, misalignment: misalignment)
        let each = grid.blockCount / point.jobs
        guard each >= point.depth else {
            throw BenchError(
                "--size \(ByteSize.text(fileSize)) holds \(each) blocks of "
                    + "\(ByteSize.text(point.blockSize)) per job, fewer than --iodepth "
                    + "\(point.depth); give a larger --size or a smaller --bs or --iodepth",
                kind: .usage)
        }
        let memory = point.blockSize * point.depth * point.jobs
        guard memory <= 4 << 30 else {
            throw BenchError(
                "\(point.title) needs \(memory >> 30) GiB of buffers, more than the limit of 4; "
                    + "lower --bs, --iodepth or --numjobs", kind: .usage)
        }
    }

    private static func words(_ option: String, _ text: String) throws(BenchError) -> [String] {
        let words = text.split(separator: ",").map {
            String($0.drop { $0 == " " }.prefix { $0 != " " })
        }
        guard !words.isEmpty, !words.contains("") else {
            throw BenchError("\(option) '\(text)': give at least one value", kind: .usage)
        }
        return words
    }

    static func list<Value>(
        _ option: String, _ text: String, _ type: Value.Type
    ) throws(BenchError) -> [Value]
    where Value: CaseIterable & RawRepresentable<String> & Hashable {
        var values: [Value] = []
        for word in try words(option, text) {
            guard let value = Value(rawValue: word) else {
                let known = Value.allCases.map(\.rawValue).joined(separator: ", ")
                throw BenchError("\(option) '\(word)': must be of \(known)", kind: .usage)
            }
            if !values.contains(value) { values.append(value) }
        }
        return values
    }

    static func integers(
        _ option: String, _ text: String, _ range: ClosedRange<Int>
    ) throws(BenchError) -> [Int] {
        var values: [Int] = []
        for word in try words(option, text) {
            guard let value = Int(word), range.contains(value) else {
                throw BenchError(
                    "\(option) '\(word)': must be a whole number from \(range.lowerBound) to "
                        + "\(range.upperBound)", kind: .usage)
            }
            if !values.contains(value) { values.append(value) }
        }
        return values
    }

    static func size(_ option: String, _ text: String) throws(BenchError) -> Int {
        guard let size = ByteSize.parse(text), size >= 4096 else {
            throw BenchError(
                "\(option) '\(text)': must be a size such as 64m or 1g, at least 4k", kind: .usage)
        }
        return size
    }

    private static func sizes(_ text: String) throws(BenchError) -> [Int] {
        var values: [Int] = []
        for word in try words("--bs", text) {
            guard let size = ByteSize.parse(word),
                (BlockPattern.blockSizeMinimum...64 << 20).contains(size)
            else {
                throw BenchError(
                    "--bs '\(word)': must be a size such as 4k or 1m, from "
                        + "\(BlockPattern.blockSizeMinimum) bytes to 64m", kind: .usage)
            }
            if !values.contains(size) { values.append(size) }
        }
        return values
    }

    static func runtime(_ text: String) throws(BenchError) -> Duration {
        guard let runtime = Period.parse(text), runtime >= .milliseconds(10) else {
            throw BenchError(
                "--runtime '\(text)': must be a time such as 2s or 500ms, at least 10ms",
                kind: .usage)
        }
        return runtime
    }

    private static func misalignment(_ text: String?) throws(BenchError) -> Int {
        guard let text else { return 0 }
        guard let value = ByteSize.parse(text), value < 1 << 20 else {
            throw BenchError(
                "--offset-misalign '\(text)': must be bytes from 0 to below 1m", kind: .usage)
        }
        return value
    }

    static func server(_ text: String) throws(BenchError) -> ServerChoice {
        if text == "embedded" { return .embedded }
        if text == "ganesha" { return .ganesha }
        guard text.hasPrefix("nfs://") else {
            throw BenchError(
                "--server '\(text)': must be embedded, ganesha or a URL like nfs://host/export",
                kind: .usage)
        }
        return .url(text)
    }

    static func seed(_ text: String?) throws(BenchError) -> UInt64 {
        guard let text else { return UInt64.random(in: 1...UInt64(UInt32.max)) }
        guard let seed = UInt64(text) else {
            throw BenchError("--seed '\(text)': must be a whole number", kind: .usage)
        }
        return seed
    }
}

/// `--policy`: what localio does with an I/O that direct I/O cannot take as it is.
package enum MisalignmentPolicyName: String, CaseIterable, Sendable {
    case rpc, split, local

    package var policy: MisalignmentPolicy {
        switch self {
        case .rpc: .rpc
        case .split: .split
        case .local: .local
        }
    }
}

// The fixed matrix of `localio-bench compare`, and its command line as checked values.

/// The words as they were given; nil where an option is absent.
package struct CompareArguments: Sendable {
    package var isQuick = false
    package var device: String?
    package var server: String?
    package var sections: String?
    package var size: String?
    package var rounds: String?
    package var runtime: String?
    package var seed: String?
    package var thresholds: String?
    package var baseline: String?
    package var json: String?
    package var markdown: String?
    package var html: String?

    package init() {}
}

/// One part of the matrix: a product of patterns, sizes, depths and jobs on the same roads.
struct CompareSection: Sendable {
    let name: String
    var rw: String
    var bs: String
    var iodepth = "1"
    var numjobs = "1"
    var roads = "raw,localio,rpc"
    var policy: String?
    /// nil: unbuffered.
    var fsyncEvery: Int?
    var isBuffered = false
    var isCold = false
    /// Of unbuffered sections: nil for the usual state, nothing.
    var pageCache: PageCacheState?

    /// In the order of the report.
    static let names = [
        "direct", "queue", "hot", "threads", "processor", "misaligned", "buffered", "fsync",
        "growth", "open", "mount", "instructions",
    ]

    /// What each shows, in words.
    static let titles = [
        "direct": "Aligned I/O that goes direct",
        "queue": "Aligned I/O through the submission queue, as writeback goes",
        "hot": "Reads of what the server's host has in its page cache",
        "threads": "Client threads, one I/O each",
        "processor": "I/Os per second of processor time, beside fio's io_uring engine",
        "misaligned": "Misaligned sizes under the three policies",
        "buffered": "Buffered: page cache, read-ahead and writeback",
        "fsync": "An fsync after every write",
        "growth": "Many open files, and large sparse ones",
        "open": "Opening and closing a file",
        "mount": "localio-mount, beside the file system and libfuse's passthrough_ll",
    ]

    static func all(quick: Bool) -> [CompareSection] { quick ? quickForm : fullForm }

    private static let odd = "4196,47008,1048577"

    private static let fullForm: [CompareSection] =
        [
            CompareSection(
                name: "direct", rw: "randread,randwrite,read,write", bs: "4k,64k,1m",
                iodepth: "1,4,16,64", numjobs: "1,2"),
            CompareSection(
                name: "queue", rw: "randread,randwrite", bs: "4k", iodepth: "1,16,64",
                roads: "raw,queue,rpc"),
            CompareSection(
                name: "queue", rw: "read,write", bs: "1m", iodepth: "16", roads: "raw,queue,rpc"),
            CompareSection(
                name: "hot", rw: "randread,read", bs: "4k,64k,1m", iodepth: "1,16",
                pageCache: .warm),
            CompareSection(
                name: "threads", rw: "randread,randwrite", bs: "4k", numjobs: "1,2,4,8,16"),
            processorForm,
        ]
        + MisalignmentPolicyName.allCases.map { policy in
            CompareSection(
                name: "misaligned", rw: "randread,randwrite,read,write", bs: odd, iodepth: "4",
                roads: "localio,rpc", policy: policy.rawValue)
        } + bufferedForm + [growthForm, openForm, mountForm, instructionsForm]

    private static let quickForm: [CompareSection] =
        [
            CompareSection(name: "direct", rw: "randread,randwrite", bs: "4k", iodepth: "1,16"),
            CompareSection(name: "direct", rw: "read,write", bs: "1m", iodepth: "16"),
            CompareSection(name: "direct", rw: "randread", bs: "4k", iodepth: "4", numjobs: "2"),
            CompareSection(
                name: "queue", rw: "randwrite", bs: "4k", iodepth: "16", roads: "raw,queue,rpc"),
            CompareSection(
                name: "hot", rw: "randread", bs: "4k,1m", iodepth: "16", pageCache: .warm),
            CompareSection(
                name: "misaligned", rw: "randread,randwrite", bs: "4196,47008", iodepth: "4",
                roads: "localio,rpc", policy: "local"),
        ] + bufferedForm + [growthForm, openForm]

    private static let bufferedForm: [CompareSection] = [
        CompareSection(
            name: "buffered", rw: "write", bs: "1m", roads: "raw,localio,rpc,direct",
            isBuffered: true),
        CompareSection(
            name: "buffered", rw: "read", bs: "1m", roads: "raw,localio,rpc,direct",
            isBuffered: true, isCold: true),
        CompareSection(
            name: "buffered", rw: "randread,randwrite", bs: "4k", isBuffered: true),
        CompareSection(
            name: "fsync", rw: "randwrite", bs: "4k", fsyncEvery: 1, isBuffered: true),
    ]

    /// Only their names count: these have measurements of their own.
    private static let growthForm = CompareSection(name: "growth", rw: "", bs: "")
    private static let processorForm = CompareSection(name: "processor", rw: "", bs: "")
    private static let mountForm = CompareSection(name: "mount", rw: "", bs: "")
    private static let instructionsForm = CompareSection(name: "instructions", rw: "", bs: "")
    private static let openForm = CompareSection(name: "open", rw: "", bs: "")
}

/// A comparison that makes sense on paper.
struct ComparePlan: Sendable {
    var isQuick: Bool
    var device: CompareDevice
    var server: ServerChoice
    var sections: [CompareSection]
    /// The full form needs 64 blocks of 1 MiB in flight in each of two jobs.
    var fileByteCount: Int
    var rounds: Int
    /// Per road and cell, over all rounds.
    var runtime: Duration
    var seed: UInt64
    var bars: BarFile?
    var baseline: BaselineFile?
    var json: String?
    var markdown: String?
    var html: String?

    /// - Throws: a usage error naming the option.
    init(_ arguments: CompareArguments) throws(BenchError) {
        isQuick = arguments.isQuick
        device = try CompareDevice(arguments.device ?? "disk")
        server = try BenchPlan.server(arguments.server ?? Self.usualServer)
        if case .url(let url) = server {
            throw BenchError(
                "--server '\(url)': a comparison has a server of its own; embedded or ganesha",
                kind: .usage)
        }
        let wanted = try arguments.sections.map { text throws(BenchError) in
            try Self.sections(text)
        }
        sections = CompareSection.all(quick: isQuick)
            .filter { wanted?.contains($0.name) ?? true }
        guard !sections.isEmpty else {
            throw BenchError(
                "--sections '\(arguments.sections ?? "")': not in the quick form; "
                    + "leave --quick out", kind: .usage)
        }
        fileByteCount = try BenchPlan.size("--size", arguments.size ?? (isQuick ? "64m" : "256m"))
        rounds = try BenchPlan.integers(
            "--rounds", arguments.rounds ?? (isQuick ? "5" : "7"), 3...1000)[0]
        runtime = try BenchPlan.runtime(arguments.runtime ?? (isQuick ? "750ms" : "1400ms"))
        seed = try BenchPlan.seed(arguments.seed)
        bars = try arguments.thresholds.map { path throws(BenchError) in
            try BarFile(path: path)
        }
        baseline = try arguments.baseline.map { path throws(BenchError) in
            try BaselineFile(path: path)
        }
        json = arguments.json
        markdown = arguments.markdown
        html = arguments.html
    }

    private static var usualServer: String {
        GaneshaServer.unavailableReason == nil ? "ganesha" : "embedded"
    }

    private static func sections(_ text: String) throws(BenchError) -> [String] {
        let words = text.split(separator: ",").map(String.init)
        for word in words where !CompareSection.names.contains(word) {
            throw BenchError(
                "--sections '\(word)': must be of \(CompareSection.names.joined(separator: ", "))",
                kind: .usage)
        }
        return words
    }

    /// Of one road in one round.
    var slice: Duration { runtime / rounds }

    /// One section as `localio-bench run` would be told it.
    func plan(_ section: CompareSection, in directory: String) throws(BenchError) -> BenchPlan {
        var words = BenchArguments()
        words.rw = section.rw
        words.bs = section.bs
        words.iodepth = section.iodepth
        words.numjobs = section.numjobs
        words.road = section.roads
        words.policy = section.policy
        words.buffered = section.isBuffered
        words.fsyncEvery = section.fsyncEvery.map(String.init)
        words.cache = section.isBuffered ? "32m" : nil
        words.cold = section.isCold
        words.pageCache = section.pageCache?.rawValue
        words.size = String(fileByteCount)
        words.rounds = String(rounds)
        words.runtime = "\(runtime.nanosecondCount / 1_000_000)ms"
        words.server = server.name
        words.directory = directory
        words.seed = String(seed)
        return try BenchPlan(words)
    }
}

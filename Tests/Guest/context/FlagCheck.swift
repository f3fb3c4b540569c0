// The check of the nested-I/O context: the flags of every thread before, under and after load.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import SystemPackage
internal import Threads

/// What went wrong, in one line.
struct Failure: Error {
    let message: String
    init(_ message: String) { self.message = message }
}

/// Starts an engine and reads every thread's flags: at once, with io-wq threads at work, and of
/// a ring that is not a worker's.
struct FlagCheck {
    private static let workerCount = 2
    let directory: String
    let isOn: Bool

    func run() throws {
        var configuration = IOEngine.Configuration()
        configuration.workers = Self.workerCount
        // Few, so that neither worker can take everything.
        configuration.depth = 8
        configuration.usesFlusherContext = isOn
        let engine = try IOEngine(configuration: configuration)
        let workers = try checkAtStart()
        try checkStatistics(engine.statistics)
        let watch = TaskWatch(workers: workers, expectsFlags: isOn)
        try makeRingThreads(engine, watch)
        try checkRingOfCaller(engine, watch)
        engine.shutdown()
        let found = watch.result
        guard found.wrong.isEmpty else {
            throw Failure("wrong flags: \(found.wrong.sorted().joined(separator: ", "))")
        }
        let count = workers.reduce(0) { $0 + (found.ringThreads[$1]?.count ?? 0) }
        let flags = isOn ? "both flags on each" : "no flag on any"
        print(
            "context \(isOn ? "on" : "off"): \(workers.count) workers and \(count) io-wq threads",
            "of their rings, \(found.looks) looks: \(flags), none on any other thread;",
            "statistics say \(engine.statistics.context)")
    }

    /// Before the first I/O. Answers the workers.
    private func checkAtStart() throws -> Set<Int32> {
        let tasks = Task.all()
        for task in tasks { print("  at start: \(task.description)") }
        let workers = tasks.filter { $0.name.hasPrefix("localio-") }
        guard workers.count == Self.workerCount else {
            throw Failure("\(workers.count) workers instead of \(Self.workerCount)")
        }
        for worker in workers {
            guard isOn ? worker.isFlusher : worker.hasNoFlusherFlag else {
                throw Failure("before its first I/O \(worker.description): wrong flags")
            }
        }
        let others = tasks.filter { !workers.contains($0) && !$0.hasNoFlusherFlag }
        guard others.isEmpty else {
            throw Failure("not a worker: \(others.map(\.description).joined(separator: ", "))")
        }
        return Set(workers.map(\.id))
    }

    private func checkStatistics(_ statistics: EngineStatistics) throws {
        guard statistics.kind == .ioUring else {
            throw Failure("no io_uring: \(statistics.ioUringRefusal ?? "?")")
        }
        switch statistics.context {
        case .active where isOn: return
        case .degraded where !isOn: return
        default: throw Failure("statistics say \(statistics.context)")
        }
    }

    /// fsync always goes to an io-wq thread; so do direct writes that make the file longer.
    private func makeRingThreads(_ engine: IOEngine, _ watch: TaskWatch) throws {
        let file = try openFile("flags", direct: true)
        guard let buffer = AlignedBuffer(byteCount: 4096) else { throw Failure("no memory") }
        let done = CompletionCount()
        let deadline = clinux_monotonic_nanoseconds() + 30_000_000_000
        var offset: UInt64 = 0
        while true {
            for number in 0..<64 {
                let operation =
                    number % 2 == 0
                    ? IOOperation.sync(fd: file.raw, dataOnly: true)
                    : unsafe IOOperation.write(
                        fd: file.raw, offset: offset,
                        from: UnsafeRawBufferPointer(buffer.mutableBytes))
                offset += number % 2 == 0 ? 0 : 4096
                guard engine.enqueue(operation, done.completion) else { throw Failure("busy") }
            }
            while !done.wait(64, timeout: .milliseconds(2)) { watch.look() }
            watch.look()
            if done.firstError != 0 { throw Failure("I/O failed with errno \(-done.firstError)") }
            if watch.workers.allSatisfy({ watch.result.ringThreads[$0] != nil }) { break }
            guard clinux_monotonic_nanoseconds() < deadline else {
                throw Failure("no io-wq thread of every worker in 30 s")
            }
        }
        withExtendedLifetime(buffer) {}
        withExtendedLifetime(file) {}
    }

    /// This thread's own ring: what it starts is no worker's and must not carry the flags.
    private func checkRingOfCaller(_ engine: IOEngine, _ watch: TaskWatch) throws {
        let file = try openFile("flags", direct: false)
        var queue = try InlineQueue(engine: engine, depth: 4)
        let me = clinux_gettid()
        for _ in 0..<100 where watch.result.ringThreads[me] == nil {
            var failed: Int64 = 0
            _ = queue.submit(.sync(fd: file.raw, dataOnly: true), token: 1)
            queue.flush()
            queue.reap(minimum: 1) { _, result in failed = min(failed, result) }
            guard failed == 0 else { throw Failure("fsync failed with errno \(-failed)") }
            watch.look()
        }
        guard watch.result.ringThreads[me] != nil else {
            throw Failure("no io-wq thread of the main thread's ring")
        }
    }

    private func openFile(_ name: String, direct: Bool) throws -> Descriptor {
        let path = "\(directory)/\(name)"
        do {
            return try Descriptor(
                path: FilePath(path),
                flags: O_RDWR | O_CREAT | (direct ? Descriptor.directFlag : 0))
        } catch { throw Failure("cannot open \(path): \(error)") }
    }
}

/// Counts completions of any worker; lives as long as the requests it is told of.
final class CompletionCount: Sendable {
    private let semaphore = Semaphore()
    private let state = Lock((waited: 0, firstError: Int64(0)))

    var completion: IOCompletion {
        unsafe IOCompletion(
            function: { context, _, result in
                guard let context = unsafe context else { return }
                unsafe Unmanaged<CompletionCount>.fromOpaque(context)
                    ._withUnsafeGuaranteedRef { $0.put(result) }
            },
            context: Unmanaged.passUnretained(self).toOpaque(), token: 0)
    }

    private func put(_ result: Int64) {
        if result < 0 {
            state.withLock { if $0.firstError == 0 { $0.firstError = result } }
        }
        semaphore.signal()
    }

    var firstError: Int64 { state.withLock { $0.firstError } }

    /// Waits for one of `count` more completions; true when all of them were there.
    func wait(_ count: Int, timeout: Duration) -> Bool {
        guard semaphore.wait(timeout: timeout) else { return false }
        return state.withLock { state in
            state.waited += 1
            if state.waited < count { return false }
            state.waited = 0
            return true
        }
    }
}

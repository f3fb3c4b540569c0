// A load like a page cache's writeback: many aligned writes in flight through the engine's queue,
// with page-cache edges and fsyncs among them, each block verified afterwards.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import SystemPackage
internal import Threads

/// What the load did; times in nanoseconds.
struct LoadResult: Sendable {
    var byteCount = 0
    var duration: UInt64 = 0
    var writes = 0
    var edges = 0
    var syncs = 0
    /// The longest time from queueing to completion.
    var slowestWrite: UInt64 = 0
    var slowestEdge: UInt64 = 0
    var slowestSync: UInt64 = 0
    /// Nothing completed for as long as the patience lasted.
    var isStalled = false
    var verifiedBlocks = 0

    mutating func add(_ other: LoadResult) {
        byteCount += other.byteCount
        writes += other.writes
        edges += other.edges
        syncs += other.syncs
        slowestWrite = max(slowestWrite, other.slowestWrite)
        slowestEdge = max(slowestEdge, other.slowestEdge)
        slowestSync = max(slowestSync, other.slowestSync)
        isStalled = isStalled || other.isStalled
    }
}

/// The load's size and the engine and files that it uses.
struct WritebackLoad: Sendable {
    static let writers = 4
    static let lanesPerWriter = 4
    /// 1 MiB, the largest write.
    static let largestBlocks = 256
    static let directBlocks = 1024
    static let edgeBlocks = 64
    static let patience = Duration.seconds(30)

    let directory: String
    /// To be written, in all.
    let byteCount: Int
    let seed: UInt64

    /// Writes `byteCount` bytes by several writers, waits for all, and reads everything back.
    /// - Throws: Failure for an I/O error or a block that is not as last written.
    func run(_ engine: IOEngine) throws -> LoadResult {
        // Empty again: a block that is never written must read as zeros.
        let direct = try open("direct", direct: true, extraFlags: O_TRUNC)
        let edges = try open("edges", direct: false, extraFlags: O_TRUNC)
        let lanes = Self.writers * Self.lanesPerWriter
        guard
            ftruncate(direct.raw, off_t(lanes * Self.directBlocks * Region.blockSize)) == 0,
            ftruncate(edges.raw, off_t(lanes * Self.edgeBlocks * Region.blockSize)) == 0
        else { throw Failure("ftruncate: errno \(errno)") }
        let writers = try (0..<Self.writers).map { index in
            try Writer(
                load: self, index: index, direct: direct.raw, edges: edges.raw, engine: engine)
        }
        let started = clinux_monotonic_nanoseconds()
        let threads = writers.enumerated().map { index, writer in
            OwnedThread(name: "writer-\(index)") { writer.run() }
        }
        for thread in threads { thread?.join() }
        var result = LoadResult()
        result.duration = clinux_monotonic_nanoseconds() - started
        for writer in writers { result.add(try writer.outcome()) }
        guard !result.isStalled else { return result }
        guard engine.syncBlocking(fd: edges.raw, dataOnly: false) == 0 else {
            throw Failure("fsync of the edges failed")
        }
        try verify(engine, writers, direct: direct.raw, &result)
        return result
    }

    private func verify(
        _ engine: IOEngine, _ writers: [Writer], direct: Int32, _ result: inout LoadResult
    ) throws {
        // The edges again past the page cache: what the disk has.
        let edges = try open("edges", direct: true)
        guard let buffer = AlignedBuffer(byteCount: Self.largestBlocks * Region.blockSize) else {
            throw Failure("no memory to verify")
        }
        for writer in writers {
            for lane in writer.lanes {
                let wrong = unsafe try lane.direct.wrongBlocks(
                    engine, fd: direct, buffer: buffer.mutableBytes)
                let wrongEdges = unsafe try lane.edge.wrongBlocks(
                    engine, fd: edges.raw, buffer: buffer.mutableBytes)
                guard wrong + wrongEdges == 0 else {
                    throw Failure("\(wrong) blocks and \(wrongEdges) edges are not as written")
                }
                result.verifiedBlocks +=
                    lane.direct.generations.count + lane.edge.generations.count
            }
        }
    }

    private func open(
        _ name: String, direct: Bool, extraFlags: Int32 = 0
    ) throws -> Descriptor {
        let path = "\(directory)/\(name)"
        do {
            return try Descriptor(
                path: FilePath(path),
                flags: O_RDWR | O_CREAT | extraFlags | (direct ? Descriptor.directFlag : 0))
        } catch { throw Failure("cannot open \(path): \(error)") }
    }
}

/// One request at a time of a writer, with its own memory and its own blocks.
final class Lane {
    let buffer: AlignedBuffer
    var direct: Region
    var edge: Region
    var kind = IOKind.write
    var isEdge = false
    var byteCount = 0
    var started: UInt64 = 0

    init(buffer: consuming AlignedBuffer, direct: Region, edge: Region) {
        self.buffer = buffer
        self.direct = direct
        self.edge = edge
    }
}

/// One writer: a thread that keeps its lanes' requests in the engine's queue. Its lanes are
/// touched by that thread, and by others only after it has been joined.
final class Writer: @unchecked Sendable {
    let lanes: [Lane]
    private let load: WritebackLoad
    private let engine: IOEngine
    private var generator: Generator
    private let semaphore = Semaphore()
    /// Token and result of what has completed, by the workers.
    private let finished = Lock<[(lane: Int, result: Int64)]>([])
    private var result = LoadResult()
    private var failure: Failure?
    private var requests = 0

    init(
        load: WritebackLoad, index: Int, direct: Int32, edges: Int32, engine: IOEngine
    ) throws {
        self.load = load
        self.engine = engine
        generator = Generator(seed: load.seed &+ UInt64(index))
        let count = WritebackLoad.lanesPerWriter
        lanes = try (0..<count).map { lane in
            let number = index * count + lane
            guard
                let buffer = AlignedBuffer(
                    byteCount: WritebackLoad.largestBlocks * Region.blockSize)
            else { throw Failure("no memory for a lane") }
            return Lane(
                buffer: buffer,
                direct: Region(
                    fd: direct, firstBlock: number * WritebackLoad.directBlocks,
                    blocks: WritebackLoad.directBlocks, seed: load.seed),
                edge: Region(
                    fd: edges, firstBlock: number * WritebackLoad.edgeBlocks,
                    blocks: WritebackLoad.edgeBlocks, seed: load.seed))
        }
        finished.withLock { $0.reserveCapacity(count) }
    }

    func outcome() throws -> LoadResult {
        if let failure { throw failure }
        return result
    }

    /// Until this writer's share is written, or nothing completes any more.
    func run() {
        let share = load.byteCount / WritebackLoad.writers
        var inFlight = 0
        for lane in lanes.indices where enqueue(lane) { inFlight += 1 }
        while inFlight > 0 {
            guard semaphore.wait(timeout: WritebackLoad.patience) else {
                result.isStalled = true
                return
            }
            guard let (lane, count) = finished.withLock({ $0.popLast() }) else { continue }
            inFlight -= 1
            finish(lanes[lane], count)
            if failure == nil && result.byteCount < share && enqueue(lane) { inFlight += 1 }
        }
    }

    /// Every 16th request is an fsync, every 8th an edge through the page cache, the others are
    /// direct writes of 4 KiB to 1 MiB.
    private func enqueue(_ index: Int) -> Bool {
        let lane = lanes[index]
        requests += 1
        lane.isEdge = requests % 8 == 1
        lane.kind = requests % 16 == 0 ? .dataSync : .write
        let bytes = unsafe lane.buffer.mutableBytes
        let operation: IOOperation
        if lane.kind == .dataSync {
            operation = .sync(fd: lane.direct.fd, dataOnly: true)
        } else if lane.isEdge {
            let block = Int.random(in: 0..<WritebackLoad.edgeBlocks, using: &generator)
            unsafe operation = lane.edge.nextWrite(block: block, count: 1, buffer: bytes)
        } else {
            let count = 1 << Int.random(in: 0...8, using: &generator)
            let last = WritebackLoad.directBlocks - count
            let block = Int.random(in: 0...last, using: &generator)
            unsafe operation = lane.direct.nextWrite(block: block, count: count, buffer: bytes)
        }
        lane.byteCount = operation.byteCount
        lane.started = clinux_monotonic_nanoseconds()
        let completion = unsafe IOCompletion(
            function: { context, token, result in
                guard let context = unsafe context else { return }
                unsafe Unmanaged<Writer>.fromOpaque(context)._withUnsafeGuaranteedRef {
                    $0.put(Int(token), result)
                }
            },
            context: Unmanaged.passUnretained(self).toOpaque(), token: UInt64(index))
        if engine.enqueue(operation, completion) { return true }
        failure = Failure("the engine is busy with few requests")
        return false
    }

    private func put(_ lane: Int, _ result: Int64) {
        finished.withLock { $0.append((lane, result)) }
        semaphore.signal()
    }

    private func finish(_ lane: Lane, _ count: Int64) {
        let time = clinux_monotonic_nanoseconds() - lane.started
        if count != Int64(lane.byteCount) {
            failure = Failure("a request of \(lane.byteCount) bytes was answered \(count)")
        } else if lane.kind == .dataSync {
            result.syncs += 1
            result.slowestSync = max(result.slowestSync, time)
        } else if lane.isEdge {
            result.edges += 1
            result.slowestEdge = max(result.slowestEdge, time)
        } else {
            result.writes += 1
            result.slowestWrite = max(result.slowestWrite, time)
        }
        result.byteCount += lane.byteCount
    }
}

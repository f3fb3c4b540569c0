// The measuring loop of one thread: keep `depth` I/Os in flight, time each, check each.
internal import CLinux
internal import Histogram
internal import Synchronization

/// What one job has to do.
struct Job: Sendable {
    /// How long or how far it runs.
    enum Extent: Sendable {
        /// I/Os are submitted until this monotonic time in nanoseconds.
        case until(UInt64)
        /// Until somebody else has had enough.
        case whileOn(JobSwitch)
        /// Every block of the region once, in order.
        case everyBlock
    }

    let point: WorkloadPoint
    let grid: BlockGrid
    let region: Range<Int>
    let extent: Extent
    /// Check every read.
    let verify: Bool
    let pattern: BlockPattern
    let generations: GenerationTable
    let seed: UInt64
}

/// Ends jobs from another thread.
final class JobSwitch: Sendable {
    private let off = Atomic(false)

    var isOn: Bool { !off.load(ordering: .relaxed) }
    func turnOff() { off.store(true, ordering: .relaxed) }
}

/// What one job did.
struct JobResult: Sendable {
    var operations = 0
    var bytes = 0
    /// Nanoseconds from submission to reaping.
    var latency = Histogram<UInt64>(
        highestTrackableValue: 100_000_000_000, numberOfSignificantValueDigits: .two)
}

/// An I/O of the loop's slot table.
private struct Slot {
    var block = 0
    var generation: UInt32 = 0
    var isWrite = false
    var submitted: UInt64 = 0
    var busy = false
}

/// The loop's memory: one buffer per slot, page-aligned, allocated before the clock starts. In huge
/// pages where the system gives them, the smallest loop's too: in how many pieces a block goes to
/// the device is else the luck of which page frames were free, and the roads' luck differs.
@safe
private struct SlotMemory: ~Copyable {
    private let address: UnsafeMutableRawPointer
    private let byteCount: Int
    private let stride: Int
    private let blockSize: Int

    init(slots: Int, blockSize: Int) throws(BenchError) {
        stride = (blockSize + 4095) / 4096 * 4096
        byteCount = max(stride * slots, Int(clinux_huge_page_bytes))
        self.blockSize = blockSize
        guard let address = unsafe clinux_map_io_memory(byteCount) else {
            throw BenchError(
                "no memory for \(slots) buffers of \(ByteSize.text(blockSize)); "
                    + "lower --iodepth, --numjobs or --bs")
        }
        unsafe self.address = unsafe address
    }

    deinit { unsafe clinux_unmap_memory(address, byteCount) }

    /// Keeps the pages forever: an I/O that could not be ended may still write to them.
    consuming func leak() { discard self }

    @inline(__always)
    func buffer(_ slot: Int) -> UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: address + slot * stride, count: blockSize)
    }
}

/// A stop signal is heard after this long at the latest. Made once: to make a Duration takes two
/// multiplications of 128 bits.
private let reapLimit: Duration = .milliseconds(500)

/// Without any completion for this long the other side is given up.
let stallLimit: Duration = .seconds(20)

extension Job {
    /// Runs the job on a driver that nobody else uses.
    func run<Driver: RoadDriver & ~Copyable>(
        _ driver: inout Driver, road: BenchRoad
    ) throws(BenchError) -> JobResult {
        let depth = max(1, min(point.depth, region.count))
        let memory = try SlotMemory(slots: depth, blockSize: grid.blockSize)
        var loop = Loop(job: self, road: road, depth: depth)
        do {
            try loop.run(&driver, memory)
        } catch {
            if !driver.abandon(inFlight: loop.inFlight) { memory.leak() }
            throw error
        }
        return loop.result
    }
}

private struct Loop {
    let job: Job
    let road: BenchRoad
    var result = JobResult()
    var inFlight = 0
    private var slots: [Slot]
    private var free: [Int]
    private var blockBusy: [Bool]
    private var generator: SeededGenerator
    private var sequence = 0
    private var failure: String?
    private var hasStarted = false

    init(job: Job, road: BenchRoad, depth: Int) {
        self.job = job
        self.road = road
        slots = Array(repeating: Slot(), count: depth)
        free = Array(0..<depth)
        blockBusy = Array(repeating: false, count: job.region.count)
        generator = SeededGenerator(seed: job.seed)
    }

    mutating func run<Driver: RoadDriver & ~Copyable>(
        _ driver: inout Driver, _ memory: borrowing SlotMemory
    ) throws(BenchError) {
        var lastProgress = monotonicNanoseconds()
        var now = lastProgress
        while true {
            try StopFlag.check()
            while !free.isEmpty, wantsMore(now) {
                guard submitOne(&driver, memory, now) else { break }
            }
            if inFlight == 0 { return }
            let reaped = driver.reap(timeout: reapLimit) { slot, outcome in
                unsafe complete(slot, outcome, memory.buffer(slot))
            }
            now = monotonicNanoseconds()
            if let failure { throw BenchError(failure) }
            if reaped < 0 {
                throw .system("\(road.rawValue): waiting for I/O", errno: Int32(reaped))
            }
            if reaped > 0 { lastProgress = now }
            if reaped == 0, now - lastProgress > stallLimit.nanosecondCount {
                throw BenchError(
                    "\(road.rawValue): no I/O has completed for "
                        + "\(stallLimit.components.seconds) s; is the server still there?")
            }
        }
    }

    private func wantsMore(_ now: UInt64) -> Bool {
        switch job.extent {
        // At least one, however late the machine let the job start.
        case .until(let end): now < end || !hasStarted
        case .whileOn(let power): power.isOn
        case .everyBlock: sequence < job.region.count
        }
    }

    /// False if the driver has no room.
    private mutating func submitOne<Driver: RoadDriver & ~Copyable>(
        _ driver: inout Driver, _ memory: borrowing SlotMemory, _ now: UInt64
    ) -> Bool {
        guard let slot = free.popLast() else { return false }
        let index = nextBlock()
        let block = job.region.lowerBound + index
        let offset = job.grid.offset(of: block)
        let isWrite = nextIsWrite()
        let buffer = unsafe memory.buffer(slot)
        let generation = job.generations[block] &+ (isWrite ? 1 : 0)
        if isWrite { unsafe job.pattern.fill(buffer, offset: offset, generation: generation) }
        let submitted = monotonicNanoseconds()
        guard unsafe driver.submit(slot: slot, isWrite: isWrite, buffer: buffer, offset: offset)
        else {
            free.append(slot)
            if job.extent.isPass || !job.point.pattern.isRandom { sequence -= 1 }
            return false
        }
        slots[slot] = Slot(
            block: block, generation: generation, isWrite: isWrite, submitted: submitted,
            busy: true)
        blockBusy[index] = true
        hasStarted = true
        inFlight += 1
        return true
    }

    private mutating func nextIsWrite() -> Bool {
        switch job.point.pattern {
        case .read, .randread: false
        case .write, .randwrite: true
        case .randrw: generator.next() & 1 == 0
        }
    }

    /// A block of the region that is not in flight: two writes of one block at once, or a read
    /// beside a write, have no right answer to check.
    private mutating func nextBlock() -> Int {
        let count = job.region.count
        if !job.extent.isPass && job.point.pattern.isRandom {
            var index = Int(generator.next() % UInt64(count))
            while blockBusy[index] { index = (index + 1) % count }
            return index
        }
        var index = sequence % count
        while blockBusy[index] {
            sequence += 1
            index = sequence % count
        }
        sequence += 1
        return index
    }

    private mutating func complete(
        _ number: Int, _ outcome: Int, _ buffer: UnsafeMutableRawBufferPointer
    ) {
        guard slots.indices.contains(number), slots[number].busy else {
            failure = failure ?? "\(road.rawValue): a completion for an I/O that is not in flight"
            return
        }
        let now = monotonicNanoseconds()
        let slot = slots[number]
        slots[number].busy = false
        blockBusy[slot.block - job.region.lowerBound] = false
        free.append(number)
        inFlight -= 1
        let verb = slot.isWrite ? "write" : "read"
        let offset = job.grid.offset(of: slot.block)
        guard outcome == buffer.count else {
            let what = outcome < 0 ? errorText(Int32(outcome)) : "only \(outcome) bytes"
            failure =
                failure
                ?? "\(road.rawValue): \(verb) of \(buffer.count) bytes at \(offset): \(what)"
            return
        }
        result.operations += 1
        result.bytes += outcome
        result.latency.record(now - slot.submitted)
        if slot.isWrite {
            job.generations[slot.block] = slot.generation
        } else if job.verify {
            let fault = unsafe job.pattern.fault(
                UnsafeRawBufferPointer(buffer), offset: offset, generation: slot.generation)
            if let fault {
                failure =
                    failure
                    ?? "\(road.rawValue): wrong data in the block at \(offset): \(fault)"
            }
        }
    }
}

extension Job.Extent {
    /// Every block once, rather than for a time.
    var isPass: Bool { if case .everyBlock = self { true } else { false } }
}

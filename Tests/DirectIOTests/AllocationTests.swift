// In steady state no I/O allocates, neither on the caller's thread nor on the worker's.
import CAllocationCounter
@testable import DirectIO
import Glibc
import Testing
import Threads

@Suite(
    .enabled(
        if: callocationcounter_available(), "a sanitizer owns malloc here, so nothing can count"))
struct AllocationTests {
    static let kinds = EngineTests.kinds

    /// What a worker's completions noted; written by one worker, read after the semaphore.
    final class WorkerProbe: @unchecked Sendable {
        let semaphore = Semaphore()
        var allocations: UInt64 = 0
        var failures = 0

        func completion() -> IOCompletion {
            IOCompletion(
                function: { context, _, result in
                    Unmanaged<WorkerProbe>.fromOpaque(context!)._withUnsafeGuaranteedRef { probe in
                        probe.allocations = callocationcounter_thread()
                        if result != 4096 { probe.failures += 1 }
                        probe.semaphore.signal()
                    }
                },
                context: Unmanaged.passUnretained(self).toOpaque(), token: 1)
        }
    }

    private func sample() throws -> (TemporaryFile, Int32) {
        let file = TemporaryFile()
        try file.fill([UInt8](repeating: 1, count: 1 << 20))
        let descriptor = try file.open()
        return (file, descriptor.release())
    }

    @Test func theCounterCounts() {
        let before = callocationcounter_thread()
        let semaphore = WorkerProbe()
        #expect(callocationcounter_thread() > before)
        withExtendedLifetime(semaphore) {}
    }

    @Test(arguments: kinds)
    func enqueueAllocatesNothing(kind: EngineKind) throws {
        let pool = try #require(BufferPool(classes: BufferPoolTests.small))
        let engine = try makeEngine(kind, workers: 1, threadWorkers: 1, pool: pool)
        let (file, raw) = try sample()
        let descriptor = Descriptor(owning: raw)
        let buffer = try lease(4096, from: pool)
        let probe = WorkerProbe()
        let completion = probe.completion()
        func round(_ count: Int) {
            for index in 0..<count {
                let isWrite = index % 2 == 0
                let bytes = buffer.mutableBytes
                let offset = UInt64(index % 256 * 4096)
                let operation =
                    isWrite
                    ? IOOperation.write(
                        fd: descriptor.raw, offset: offset, from: UnsafeRawBufferPointer(bytes))
                    : IOOperation.read(fd: descriptor.raw, offset: offset, into: bytes)
                if engine.enqueue(operation, completion) { probe.semaphore.wait() }
            }
        }
        round(100)
        let worker = probe.allocations
        let own = callocationcounter_thread()
        round(1000)
        let ownAfter = callocationcounter_thread()
        #expect(ownAfter == own)
        #expect(probe.allocations == worker)
        #expect(probe.failures == 0)
        #expect(engine.statistics.completed >= 1099)
        withExtendedLifetime(file) {}
    }

    @Test(arguments: kinds)
    func blockingCallersAllocateNothing(kind: EngineKind) throws {
        let engine = try makeEngine(kind)
        let (file, raw) = try sample()
        let descriptor = Descriptor(owning: raw)
        let buffer = try makeBuffer(4096)
        let sparse = TemporaryFile()
        let target = try sparse.open()
        try #require(ftruncate(target.raw, 1 << 26) == 0)
        var failures = 0
        func round(_ start: Int, _ count: Int) {
            for index in start..<start + count {
                let offset = UInt64(index % 256 * 4096)
                if engine.readBlocking(
                    fd: descriptor.raw, into: buffer.mutableBytes, offset: offset) != 4096
                {
                    failures += 1
                }
                // Allocates blocks, so that the way through the queue is taken, too.
                if engine.writeBlocking(
                    fd: target.raw, from: UnsafeRawBufferPointer(buffer.mutableBytes),
                    offset: UInt64(index * 8192)) != 4096
                {
                    failures += 1
                }
            }
        }
        // The pool of gates is the process's: tests beside this one may hold all that it has.
        let gates = (0..<256).map { _ in Gate.take() }
        for gate in gates { Gate.giveBack(gate) }
        round(0, 200)
        let own = callocationcounter_thread()
        round(200, 500)
        let ownAfter = callocationcounter_thread()
        #expect(ownAfter == own)
        #expect(failures == 0)
        withExtendedLifetime(file) {}
    }

    @Test(arguments: kinds)
    func anInlineQueueAllocatesNothing(kind: EngineKind) throws {
        let pool = try #require(BufferPool(classes: BufferPoolTests.small))
        let engine = try makeEngine(kind, pool: pool)
        let (file, raw) = try sample()
        let descriptor = Descriptor(owning: raw)
        let sparse = TemporaryFile()
        let target = try sparse.open()
        try #require(ftruncate(target.raw, 1 << 26) == 0)
        let buffer = try makeBuffer(16 * 4096)
        var queue = try InlineQueue(engine: engine, depth: 16)
        let mailbox = queue.mailbox
        var failures = 0
        func round(_ start: Int, _ count: Int, _ queue: inout InlineQueue) {
            for index in start..<start + count {
                for slot in 0..<15 {
                    let bytes = UnsafeMutableRawBufferPointer(
                        rebasing: buffer.mutableBytes[slot * 4096..<(slot + 1) * 4096])
                    let operation =
                        slot == 0
                        ? IOOperation.write(
                            fd: target.raw, offset: UInt64(index * 8192),
                            from: UnsafeRawBufferPointer(bytes))
                        : IOOperation.read(
                            fd: descriptor.raw, offset: UInt64(slot * 4096), into: bytes)
                    if queue.submit(operation, token: UInt64(slot)) != .queued { failures += 1 }
                }
                mailbox.post(token: 15, result: 4096)
                queue.reap(minimum: 16) { _, result in if result != 4096 { failures += 1 } }
            }
        }
        round(0, 100, &queue)
        let own = callocationcounter_thread()
        round(100, 200, &queue)
        let ownAfter = callocationcounter_thread()
        #expect(ownAfter == own)
        #expect(failures == 0)
        withExtendedLifetime(file) {}
    }

    @Test func leasesAndRangesAllocateNothing() throws {
        let pool = try #require(BufferPool(classes: BufferPoolTests.small))
        let lock = RangeLock()
        var failures = 0
        func round() {
            for index in 0..<500 {
                let leased = pool.lease(byteCount: 4096) != nil
                let range = PageRange(offset: UInt64(index * 4096), byteCount: 4096)
                let token = lock.acquireBlocking(range, index % 2 == 0 ? .direct : .buffered)
                if !leased || !lock.release(token) { failures += 1 }
            }
        }
        round()
        let own = callocationcounter_thread()
        round()
        let ownAfter = callocationcounter_thread()
        #expect(ownAfter == own)
        #expect(failures == 0)
    }
}

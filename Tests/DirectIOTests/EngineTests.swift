// The engine on real files, with rings and with threads.
import CLinux
import DirectIO
import Foundation
import Glibc
import SystemPackage
import Testing
import Threads

@Suite struct EngineTests {
    static let kinds: [EngineKind] = ringsAvailable ? [.ioUring, .threads] : [.threads]

    @Test(.enabled(if: ringsAvailable, "io_uring is refused here"))
    func ringsAreChosenWhereTheKernelGivesThem() throws {
        let statistics = try makeEngine(.ioUring).statistics
        #expect(statistics.kind == .ioUring && statistics.ioUringRefusal == nil)
        #expect(statistics.workers == 2)
    }

    @Test func threadsAreChosenOnDemand() throws {
        let statistics = try makeEngine(.threads).statistics
        #expect(statistics.kind == .threads && statistics.ioUringRefusal == nil)
    }

    @Test(arguments: kinds)
    func theContextIsWhatTheKernelReadsBack(kind: EngineKind) throws {
        // The same calls on a thread of ours say what the workers must have met.
        let box = StatusBox()
        let thread = try #require(
            OwnedThread(name: "flusher") {
                let status = clinux_set_io_flusher(true)
                box.status.withLock { $0 = status == 0 ? clinux_get_io_flusher() - 1 : status }
            })
        thread.join()
        let expected = box.status.withLock { $0 }
        switch try makeEngine(kind).statistics.context {
        case .active: #expect(expected == 0)
        case .degraded(let reason):
            #expect(expected != 0)
            #expect(reason.contains("CAP_SYS_RESOURCE"))
        }
    }

    @Test(arguments: kinds)
    func theContextSwitchedOffIsNotCalledActive(kind: EngineKind) throws {
        var configuration = IOEngine.Configuration()
        configuration.backend = kind == .threads ? .threads : .automatic
        configuration.usesFlusherContext = false
        let context = try IOEngine(configuration: configuration).statistics.context
        #expect(context == .degraded(reason: "switched off by usesFlusherContext"))
    }

    final class StatusBox: Sendable { let status = Lock<Int32>(0) }

    @Test(arguments: kinds)
    func randomBlocksComeBack(kind: EngineKind) throws {
        var generator = SeededGenerator(seed: testSeed("engine round trip \(kind)"))
        let pool = try #require(
            BufferPool(classes: [
                .init(byteCount: 4096, slabs: 8), .init(byteCount: 65536, slabs: 8),
            ]))
        let engine = try makeEngine(kind, pool: pool)
        let file = TemporaryFile()
        let descriptor = try file.open()
        var expected = [UInt8](repeating: 0, count: 1 << 20)
        try file.fill(expected)
        let results = Results()
        for round in 0..<60 {
            var buffers: [BufferPoolTests.Box] = []
            var taken = Set<Int>()
            for _ in 0..<8 {
                let pages = Int.random(in: 1...16, using: &generator)
                let first = Int.random(in: 0...(256 - pages), using: &generator)
                guard taken.isDisjoint(with: first..<(first + pages)) else { continue }
                taken.formUnion(first..<(first + pages))
                let byteCount = pages * 4096
                let box = BufferPoolTests.Box(
                    try lease(byteCount, from: pool))
                let bytes = randomBytes(byteCount, &generator)
                box.buffer.mutableBytes.copyBytes(from: bytes)
                expected.replaceSubrange(first * 4096..<(first + pages) * 4096, with: bytes)
                let token = UInt64(round * 100 + buffers.count)
                try #require(
                    engine.enqueue(
                        .write(
                            fd: descriptor.raw, offset: UInt64(first * 4096),
                            from: UnsafeRawBufferPointer(box.buffer.mutableBytes)),
                        results.completion(token)))
                buffers.append(box)
            }
            results.wait(buffers.count)
            for index in 0..<buffers.count {
                #expect(
                    results[UInt64(round * 100 + index)] == Int64(buffers[index].buffer.byteCount))
            }
        }
        let whole = try makeBuffer(1 << 20)
        #expect(
            engine.readBlocking(fd: descriptor.raw, into: whole.mutableBytes, offset: 0) == 1 << 20)
        #expect(whole.withUnsafeBytes { Array($0) } == expected)
        #expect(try file.contents() == expected)
        #expect(engine.syncBlocking(fd: descriptor.raw, dataOnly: true) == 0)
    }

    @Test(arguments: kinds)
    func aReadStopsAtTheEndOfTheFile(kind: EngineKind) async throws {
        let engine = try makeEngine(kind)
        let file = TemporaryFile()
        try file.fill([UInt8](repeating: 3, count: 5000))
        let descriptor = try file.open()
        let buffer = try makeBuffer(16384)
        let bytes = buffer.mutableBytes
        #expect(engine.readBlocking(fd: descriptor.raw, into: bytes, offset: 0) == 5000)
        #expect(
            engine.readBlocking(fd: descriptor.raw, into: buffer.mutableBytes, offset: 8192) == 0)
        let queued = await engine.perform(
            .read(fd: descriptor.raw, offset: 4096, into: buffer.mutableBytes))
        #expect(queued == 904)
        let synced = await engine.perform(.sync(fd: descriptor.raw, dataOnly: false))
        #expect(synced == 0)
    }

    @Test(arguments: kinds)
    func errorsAreTheKernels(kind: EngineKind) async throws {
        let engine = try makeEngine(kind)
        let file = TemporaryFile()
        try file.fill([UInt8](repeating: 3, count: 8192))
        let readOnly = try file.open(flags: O_RDONLY)
        let buffer = try makeBuffer(8192)
        let bytes = UnsafeRawBufferPointer(buffer.mutableBytes)
        #expect(await engine.perform(.read(fd: -1, offset: 0, into: buffer.mutableBytes)) == -9)
        #expect(await engine.perform(.write(fd: readOnly.raw, offset: 0, from: bytes)) == -9)
        #expect(engine.writeBlocking(fd: readOnly.raw, from: bytes, offset: 0) == -9)
        #expect(await engine.perform(.sync(fd: -1, dataOnly: true)) == -9)
        #expect(engine.syncBlocking(fd: -1, dataOnly: true) == -9)
    }

    @Test(arguments: kinds)
    func aFullQueueIsBusyAndCloseFinishesWhatWasAccepted(kind: EngineKind) throws {
        // A pipe nobody writes to keeps the only worker from completing.
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        let reader = Descriptor(owning: ends[0])
        let writer = Descriptor(owning: ends[1])
        let engine = try makeEngine(kind, workers: 1, depth: 2, queueCapacity: 3, threadWorkers: 1)
        let buffer = try makeBuffer(64)
        let target = UnsafeMutableRawBufferPointer(rebasing: buffer.mutableBytes[0..<1])
        let results = Results()
        var accepted: UInt64 = 0
        let limit = UInt64(kind == .threads ? 4 : 5)
        // Taking is asynchronous: offer until the worker and the queue are both full.
        while accepted < limit {
            // Offset -1 reads a pipe where it stands.
            let operation = IOOperation(
                kind: .read, fd: reader.raw, offset: .max, address: target.baseAddress,
                byteCount: 1)
            if engine.enqueue(operation, results.completion(accepted)) { accepted += 1 }
        }
        let operation = IOOperation(
            kind: .read, fd: reader.raw, offset: .max, address: target.baseAddress, byteCount: 1)
        #expect(!engine.enqueue(operation, results.completion(99)))
        #expect(engine.statistics.busy > 0)
        #expect(engine.statistics.queueDepth == Int(limit))
        let sent = [UInt8](repeating: 1, count: Int(limit))
        #expect(write(writer.raw, sent, sent.count) == sent.count)
        engine.drain()
        #expect(results.count == Int(limit))
        engine.shutdown()
        #expect(!engine.enqueue(operation, results.completion(100)))
        let statistics = engine.statistics
        #expect(statistics.completed == limit && statistics.queueDepth == 0)
        #expect(statistics.queueDepthPeak == Int(limit))
    }

    @Test(arguments: kinds)
    func shutdownFinishesWhatIsInFlight(kind: EngineKind) throws {
        let file = TemporaryFile()
        try file.fill([UInt8](repeating: 9, count: 1 << 20))
        let descriptor = try file.open()
        let buffer = try makeBuffer(1 << 20)
        for _ in 0..<10 {
            let engine = try makeEngine(kind)
            let results = Results()
            for page in 0..<256 {
                let slice = UnsafeMutableRawBufferPointer(
                    rebasing: buffer.mutableBytes[page * 4096..<(page + 1) * 4096])
                try #require(
                    engine.enqueue(
                        .read(fd: descriptor.raw, offset: UInt64(page * 4096), into: slice),
                        results.completion(UInt64(page))))
            }
            engine.shutdown()
            #expect(results.count == 256)
            #expect((0..<256).allSatisfy { results[UInt64($0)] == 4096 })
        }
    }

    @Test(.enabled(if: ringsAvailable, "threads cannot cancel what is in flight"))
    func cancellingEndsQueuedAndInFlightRequests() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        let reader = Descriptor(owning: ends[0])
        let writer = Descriptor(owning: ends[1])
        let engine = try makeEngine(.ioUring, workers: 1, depth: 1)
        let buffer = try makeBuffer(64)
        let results = Results()
        func operation() -> IOOperation {
            IOOperation(
                kind: .read, fd: reader.raw, offset: .max, address: buffer.baseAddress,
                byteCount: 1)
        }
        try #require(engine.enqueue(operation(), results.completion(1)))
        try #require(engine.enqueue(operation(), results.completion(2)))
        try #require(engine.enqueue(operation(), results.completion(3)))
        let context = results.completion(0).context
        // One is in flight or about to be, two and three wait behind it.
        #expect(engine.cancel(context: context, token: 2))
        #expect(engine.cancel(context: context, token: 1))
        results.wait(2)
        #expect(results[1] == Int64(-ECANCELED))
        #expect(results[2] == Int64(-ECANCELED))
        #expect(write(writer.raw, [UInt8](repeating: 7, count: 1), 1) == 1)
        results.wait(1)
        #expect(results[3] == 1)
    }

    @Test(arguments: kinds)
    func allocatingWritesGoThroughTheQueue(kind: EngineKind) throws {
        let engine = try makeEngine(kind)
        let file = TemporaryFile()
        let descriptor = try file.open()
        try #require(ftruncate(descriptor.raw, 1 << 22) == 0)
        let buffer = try makeBuffer(4096)
        buffer.mutableBytes.copyBytes(from: [UInt8](repeating: 0x5a, count: 4096))
        for page in 0..<200 {
            #expect(
                engine.writeBlocking(
                    fd: descriptor.raw, from: UnsafeRawBufferPointer(buffer.mutableBytes),
                    offset: UInt64(page * 8192)) == 4096)
        }
        // ext4 and XFS cannot allocate without blocking; the attempts are counted.
        #expect(engine.statistics.again > 0)
        #expect(engine.statistics.submitted == engine.statistics.again)
        let contents = try file.contents()
        #expect(contents.count == 1 << 22)
        #expect(
            (0..<200).allSatisfy { contents[$0 * 8192] == 0x5a && contents[$0 * 8192 + 4096] == 0 })
    }
}

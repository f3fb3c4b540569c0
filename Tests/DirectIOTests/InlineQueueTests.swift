// Front-end I/O: many in flight from one thread, the engine behind it on EAGAIN, the mailbox.
import DirectIO
import Glibc
import SystemPackage
import Testing
import Threads

@Suite struct InlineQueueTests {
    static let kinds = EngineTests.kinds

    /// A deep queue gives its results in parts: each once, and never fewer than were asked for.
    @Test(arguments: kinds, [1, 7, 32, 100, 128])
    func aDeepQueueGivesEveryResultOnce(kind: EngineKind, minimum: Int) throws {
        let depth = 128
        let engine = try makeEngine(kind)
        var queue = try InlineQueue(engine: engine, depth: depth)
        let file = TemporaryFile()
        try file.fill([UInt8](repeating: 5, count: 4096))
        let descriptor = try file.open()
        let pool = try #require(
            BufferPool(classes: [.init(byteCount: depth * 4096, slabs: 1)]))
        let memory = try lease(depth * 4096, from: pool)
        for round in 0..<5 {
            for slot in 0..<depth {
                let part = UnsafeMutableRawBufferPointer(
                    start: memory.baseAddress + slot * 4096, count: 4096)
                let read = IOOperation.read(fd: descriptor.raw, offset: 0, into: part)
                #expect(queue.submit(read, token: UInt64(slot)) == .queued)
            }
            var seen = Set<UInt64>()
            while seen.count < depth {
                let left = depth - seen.count
                var told = 0
                let count = queue.reap(minimum: min(minimum, left)) { token, result in
                    #expect(result == 4096)
                    #expect(seen.insert(token).inserted, "round \(round), twice: \(token)")
                    told += 1
                }
                #expect(count == told && count >= min(minimum, left))
            }
            #expect(queue.inFlight == 0)
        }
    }

    @Test(arguments: kinds)
    func randomReadsAndWritesComeBack(kind: EngineKind) throws {
        var generator = SeededGenerator(seed: testSeed("inline round trip \(kind)"))
        let pool = try #require(BufferPool(classes: [.init(byteCount: 4096, slabs: 16)]))
        let engine = try makeEngine(kind, pool: pool)
        var queue = try InlineQueue(engine: engine, depth: 16)
        #expect(queue.usesRing == (kind == .ioUring))
        let file = TemporaryFile()
        // Sparse: the first write of each block allocates and cannot be done without blocking.
        let descriptor = try file.open()
        try #require(ftruncate(descriptor.raw, 256 * 4096) == 0)
        var expected = [UInt8](repeating: 0, count: 256 * 4096)
        let buffers = try (0..<16).map { _ in
            BufferPoolTests.Box(try lease(4096, from: pool))
        }
        for _ in 0..<100 {
            let pages = Array((0..<256).shuffled(using: &generator).prefix(16))
            let writes = (0..<16).map { _ in Bool.random(using: &generator) }
            for slot in 0..<16 {
                let bytes = buffers[slot].buffer.mutableBytes
                if writes[slot] {
                    let random = randomBytes(4096, &generator)
                    bytes.copyBytes(from: random)
                    expected.replaceSubrange(
                        pages[slot] * 4096..<(pages[slot] + 1) * 4096, with: random)
                }
                let offset = UInt64(pages[slot] * 4096)
                let operation: IOOperation =
                    writes[slot]
                    ? .write(
                        fd: descriptor.raw, offset: offset, from: UnsafeRawBufferPointer(bytes))
                    : .read(fd: descriptor.raw, offset: offset, into: bytes)
                #expect(queue.submit(operation, token: UInt64(slot)) == .queued)
            }
            var seen = Set<UInt64>()
            while seen.count < 16 {
                queue.reap(minimum: 1) { token, result in
                    #expect(result == 4096)
                    seen.insert(token)
                }
            }
            for slot in 0..<16 where !writes[slot] {
                let page = pages[slot]
                #expect(
                    buffers[slot].buffer.withUnsafeBytes {
                        $0.elementsEqual(expected[page * 4096..<(page + 1) * 4096])
                    })
            }
        }
        if kind == .ioUring { #expect(engine.statistics.again > 0) }
        #expect(queue.inFlight == 0)
        #expect(try file.contents() == expected)
    }

    @Test(arguments: kinds)
    func aFullTableIsBusyAndTheEndDrains(kind: EngineKind) throws {
        let engine = try makeEngine(kind)
        let file = TemporaryFile()
        try file.fill([UInt8](repeating: 1, count: 1 << 16))
        let descriptor = try file.open()
        let buffer = try makeBuffer(1 << 16)
        do {
            var queue = try InlineQueue(engine: engine, depth: 4)
            for index in 0..<4 {
                let slice = UnsafeMutableRawBufferPointer(
                    rebasing: buffer.mutableBytes[index * 4096..<(index + 1) * 4096])
                let operation = IOOperation.read(
                    fd: descriptor.raw, offset: UInt64(index * 4096), into: slice)
                #expect(queue.submit(operation, token: 1) == .queued)
            }
            #expect(
                queue.submit(
                    .read(fd: descriptor.raw, offset: 0, into: buffer.mutableBytes), token: 2)
                    == .busy)
            queue.flush()
            #expect(queue.inFlight == 4)
        }
        #expect(buffer.withUnsafeBytes { $0[0..<16384].allSatisfy { $0 == 1 } })
        engine.drain()
        #expect(engine.statistics.queueDepth == 0)
    }

    @Test(arguments: kinds)
    func postsFromOtherThreadsWakeTheOwner(kind: EngineKind) throws {
        let engine = try makeEngine(kind)
        var queue = try InlineQueue(engine: engine, depth: 4, mailboxCapacity: 4)
        let mailbox = queue.mailbox
        let count: UInt64 = 2000
        let threads = try (0..<3).map { index in
            try #require(
                OwnedThread(name: "poster-\(index)") {
                    for token in 0..<count {
                        if index == 2 {
                            mailbox.completion(token: token)(Int64(index))
                        } else {
                            mailbox.post(token: token, result: Int64(index))
                        }
                    }
                })
        }
        var sums = [UInt64](repeating: 0, count: 3)
        var total = 0
        while total < Int(count) * 3 {
            total += queue.reap(minimum: 1) { token, result in sums[Int(result)] += token }
        }
        for thread in threads { thread.join() }
        #expect(sums == [UInt64](repeating: count * (count - 1) / 2, count: 3))
        #expect(queue.reap(minimum: 1, timeout: .milliseconds(10)) { _, _ in } == 0)
    }

    @Test(arguments: kinds)
    func shortReadsAndErrorsAreTold(kind: EngineKind) throws {
        let engine = try makeEngine(kind)
        let file = TemporaryFile()
        try file.fill([UInt8](repeating: 1, count: 5000))
        let descriptor = try file.open()
        let buffer = try makeBuffer(8192)
        var queue = try InlineQueue(engine: engine, depth: 8)
        func result(_ operation: IOOperation, _ queue: inout InlineQueue) -> Int64 {
            var answer: Int64 = .min
            #expect(queue.submit(operation, token: 5) == .queued)
            queue.reap(minimum: 1) { token, result in
                #expect(token == 5)
                answer = result
            }
            return answer
        }
        #expect(
            result(.read(fd: descriptor.raw, offset: 0, into: buffer.mutableBytes), &queue) == 5000)
        #expect(
            result(.read(fd: descriptor.raw, offset: 8192, into: buffer.mutableBytes), &queue) == 0)
        #expect(result(.read(fd: -1, offset: 0, into: buffer.mutableBytes), &queue) == -9)
        #expect(result(.sync(fd: descriptor.raw, dataOnly: true), &queue) == 0)
        let bytes = UnsafeRawBufferPointer(rebasing: buffer.mutableBytes[0..<0])
        #expect(result(.write(fd: descriptor.raw, offset: 0, from: bytes), &queue) == 0)
    }

    @Test(.enabled(if: ringsAvailable, "threads cannot cancel what is in flight"))
    func aCancelledRequestCompletesOnce() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        let reader = Descriptor(owning: ends[0])
        let writer = Descriptor(owning: ends[1])
        let engine = try makeEngine(.ioUring)
        let buffer = try makeBuffer(64)
        var queue = try InlineQueue(engine: engine, depth: 4)
        let operation = IOOperation(
            kind: .read, fd: reader.raw, offset: .max, address: buffer.baseAddress, byteCount: 1)
        #expect(queue.submit(operation, token: 1) == .queued)
        #expect(queue.submit(operation, token: 2) == .queued)
        queue.flush()
        // An empty pipe answers EAGAIN: both move to the engine before they are cancelled.
        #expect(queue.reap(minimum: 1, timeout: .milliseconds(10)) { _, _ in } == 0)
        queue.cancel(token: 1)
        var answers: [UInt64: Int64] = [:]
        queue.reap(minimum: 1) { answers[$0] = $1 }
        #expect(answers == [1: Int64(-ECANCELED)])
        #expect(write(writer.raw, [UInt8](repeating: 7, count: 1), 1) == 1)
        queue.reap(minimum: 1) { answers[$0] = $1 }
        #expect(answers[2] == 1)
    }
}

// The counted process: a client that does a number of I/Os on one path, and nothing else.
internal import DirectIO
internal import Glibc
internal import LocalIO
internal import SystemPackage
internal import Threads

/// Runs under Valgrind in a process of its own, beside a server that does not.
struct InstructionWork {
    let path: InstructionPath
    let url: String
    /// The export's directory on this host.
    let directory: FilePath
    /// Opens the file: Valgrind 3.19 has no openat2(2), so the counted process cannot itself.
    let agent: AgentChoice
    let count: Int

    /// - Returns: how many I/Os could not be done at once and were tried again by the queue.
    /// - Throws: also if an I/O left the path that is to be counted.
    func run() throws(BenchError) -> Int {
        let client = try ClientSession.connect(
            url, locality: path.isLocal ? .agent : .off, agent: agent)
        defer { client.closeBlocking() }
        if path.isLocal, case .remote = client.locality {
            throw BenchError("\(directory): \(ClientSession.text(client.locality))")
        }
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: InstructionFile.blockSize * path.batch, alignment: 4096)
        defer { unsafe memory.deallocate() }
        unsafe BlockPattern(seed: 1).fill(memory, offset: 0, generation: 1)
        switch path {
        case .inlineRead, .inlineWrite, .rpcRead, .rpcWrite:
            try unsafe blocking(client, memory)
        case .channelRead, .channelWrite: try unsafe channel(client, memory)
        case .queuedWrite: try unsafe queued(client, memory)
        case .mountRead, .mountWrite:
            throw BenchError("\(path.rawValue): the work of localio-mount, not of this program")
        }
        let statistics = client.statistics()
        if path.isLocal, let fallback = statistics.fallbacks.first(where: { $0.value > 0 }) {
            throw BenchError(
                "\(path.rawValue): \(fallback.value) I/Os went by RPC (\(fallback.key.rawValue)); "
                    + "choose a --directory with direct I/O")
        }
        return Int(statistics.engine.again)
    }

    private func failure(_ result: Int64) -> BenchError {
        result < 0
            ? .system(path.rawValue, errno: Int32(truncatingIfNeeded: result))
            : BenchError("\(path.rawValue): moved \(result) of \(InstructionFile.blockSize) bytes")
    }

    private func open(_ client: LocalIOClient) throws(BenchError) -> LocalIOFile {
        do throws(LocalIOError) {
            return try client.openBlocking(InstructionFile.name, .readWrite)
        } catch {
            throw BenchError("\(path.rawValue): cannot open \(InstructionFile.name): \(error)")
        }
    }

    private func close(_ file: LocalIOFile) throws(BenchError) {
        do throws(LocalIOError) {
            try file.closeBlocking()
        } catch { throw BenchError("\(path.rawValue): close: \(error)") }
    }

    // MARK: - Paths

    private func blocking(
        _ client: LocalIOClient, _ memory: UnsafeMutableRawBufferPointer
    ) throws(BenchError) {
        let file = try open(client)
        let writes = path == .inlineWrite || path == .rpcWrite
        var short: Int?
        do throws(LocalIOError) {
            for index in 0..<count {
                let offset = InstructionFile.offset(index)
                let moved =
                    writes
                    ? try unsafe file.writeBlocking(
                        from: UnsafeRawBufferPointer(memory), at: offset)
                    : try unsafe file.readBlocking(into: memory, at: offset)
                if moved != memory.count { short = moved }
            }
        } catch { throw BenchError("\(path.rawValue): \(error)") }
        if let short { throw failure(Int64(short)) }
        try close(file)
    }

    private func block(
        _ memory: UnsafeMutableRawBufferPointer, _ place: Int
    ) -> UnsafeMutableRawBufferPointer {
        let start = place * InstructionFile.blockSize
        return unsafe UnsafeMutableRawBufferPointer(
            rebasing: memory[start..<(start + InstructionFile.blockSize)])
    }

    private func channel(
        _ client: LocalIOClient, _ memory: UnsafeMutableRawBufferPointer
    ) throws(BenchError) {
        let file = try open(client)
        var failed: Int64?
        do throws(LocalIOError) {
            var channel = try IOChannel(client: client, depth: path.batch)
            for start in stride(from: 0, to: count, by: path.batch) {
                for index in start..<min(start + path.batch, count) {
                    let block = unsafe block(memory, index - start)
                    let offset = InstructionFile.offset(index)
                    let token = UInt64(index)
                    // There is room: everything of the batch before was reaped.
                    _ =
                        path == .channelWrite
                        ? unsafe channel.submitWrite(
                            file, from: UnsafeRawBufferPointer(block), at: offset, token: token)
                        : unsafe channel.submitRead(file, into: block, at: offset, token: token)
                }
                channel.reap(minimum: channel.inFlight) { _, result in
                    if result != Int64(InstructionFile.blockSize) { failed = failed ?? result }
                }
            }
        } catch { throw BenchError("\(path.rawValue): \(error)") }
        if let failed { throw failure(failed) }
        try close(file)
    }

    /// Told by the engine's workers.
    private final class Board: Sendable {
        let done = Semaphore()
        let failed = Lock(Int64?.none)
    }

    private func queued(
        _ client: LocalIOClient, _ memory: UnsafeMutableRawBufferPointer
    ) throws(BenchError) {
        let descriptor: Descriptor
        do {
            descriptor = try Descriptor(
                path: directory.appending(InstructionFile.name),
                flags: O_RDWR | Descriptor.directFlag)
        } catch { throw BenchError("\(path.rawValue): cannot open the file: \(error)") }
        let board = Board()
        let completion = unsafe IOCompletion(
            function: { context, _, result in
                guard let context = unsafe context else { return }
                let board = unsafe Unmanaged<Board>.fromOpaque(context).takeUnretainedValue()
                if result != Int64(InstructionFile.blockSize) {
                    board.failed.withLock { $0 = $0 ?? result }
                }
                board.done.signal()
            }, context: Unmanaged.passUnretained(board).toOpaque(), token: 0)
        for start in stride(from: 0, to: count, by: path.batch) {
            let end = min(start + path.batch, count)
            var accepted = 0
            for index in start..<end {
                let block = unsafe block(memory, index - start)
                let operation = unsafe IOOperation.write(
                    fd: descriptor.raw, offset: InstructionFile.offset(index),
                    from: UnsafeRawBufferPointer(block))
                if client.engine.enqueue(operation, completion) { accepted += 1 }
            }
            for _ in 0..<accepted { board.done.wait() }
            guard accepted == end - start else {
                throw BenchError("\(path.rawValue): the submission queue is full")
            }
        }
        if let failed = board.failed.withLock({ $0 }) { throw failure(failed) }
    }
}

// The unbound submission queue and its workers: any worker takes any request.
internal import CLinux
internal import Glibc
package import SystemPackage
internal import Threads

/// Local file I/O by workers of its own, and for callers who wait, from their own thread.
///
/// `enqueue` never runs I/O in its caller's context; `performBlocking` tries to. Everything is
/// allocated at start; a full queue answers false, it never grows.
package final class IOEngine: Sendable {
    /// How much the engine may hold.
    package struct Configuration: Hashable, Sendable {
        package enum Backend: Hashable, Sendable {
            /// io_uring, or threads where it is refused.
            case automatic
            case threads
        }
        package var backend = Backend.automatic
        /// Threads with a ring each; 1 to 32.
        package var workers = 2
        /// Requests in flight per worker.
        package var depth = 64
        /// Requests that wait for a worker.
        package var queueCapacity = 1024
        /// Threads where io_uring is refused; each has one request in flight; 1 to 32.
        package var threadWorkers = 8
        /// Workers ask for the nested-I/O context; false only to show what is missing without.
        package var usesFlusherContext = true
        package init() {}
    }

    let core: EngineCore
    private let threads: [OwnedThread]
    /// Registered with every ring; nil if the engine was made without one.
    package let pool: BufferPool?

    /// Starts the workers.
    /// - Throws: EAGAIN or ENOMEM if there are no threads or no memory left.
    package init(
        configuration: Configuration = Configuration(), pool: BufferPool? = nil
    ) throws(Errno) {
        let core = try EngineCore(configuration: configuration, pool: pool)
        self.core = core
        self.pool = pool
        var threads: [OwnedThread] = []
        let wanted = core.wantsRings ? core.configuration.workers : core.configuration.threadWorkers
        for index in 0..<wanted {
            guard
                let thread = OwnedThread(
                    name: "localio-\(index)", body: { EngineWorker.run(core: core, index: index) })
            else { break }
            threads.append(thread)
        }
        self.threads = threads
        core.waitForStart(of: threads.count)
        if threads.isEmpty { throw Errno.resourceTemporarilyUnavailable }
    }

    deinit { shutdown() }

    /// Queues an operation for a worker. Any thread; never blocks.
    /// - Returns: false if the queue is full or the engine is shut down; then the completion
    ///   will not be called.
    @inline(__always)
    package func enqueue(_ operation: IOOperation, _ completion: IOCompletion) -> Bool {
        core.push(operation, completion)
    }

    /// Tries to cancel the requests with this completion context and token.
    ///
    /// Their completions are still called, with -ECANCELED or with the result if they were
    /// faster; until then they own their memory.
    /// - Returns: false if nothing can be cancelled now.
    @discardableResult
    package func cancel(context: UnsafeMutableRawPointer?, token: UInt64) -> Bool {
        unsafe core.cancel(context: context, token: token)
    }

    /// Waits until every request accepted so far has completed and its completion returned.
    /// Not from a completion.
    package func drain() { core.drain() }

    /// Refuses new requests, finishes those accepted, joins the workers. Not from a completion.
    package func shutdown() {
        core.close()
        for thread in threads { thread.join() }
    }

    package var statistics: EngineStatistics { core.statistics }

    // MARK: for callers who wait

    /// Runs an operation and waits: at once on the caller's thread where that cannot block,
    /// else by the queue.
    /// - Returns: bytes or a negative errno, as `IOCompletion` has it.
    package func performBlocking(_ operation: IOOperation) -> Int64 {
        core.performBlocking(operation)
    }

    /// Reads into `buffer`; see `performBlocking`.
    package func readBlocking(
        fd: Int32, into buffer: UnsafeMutableRawBufferPointer, offset: UInt64, flags: Int32 = 0
    ) -> Int64 {
        unsafe core.performBlocking(.read(fd: fd, offset: offset, into: buffer, flags: flags))
    }

    /// Writes all of `buffer`; see `performBlocking`.
    package func writeBlocking(
        fd: Int32, from buffer: UnsafeRawBufferPointer, offset: UInt64, flags: Int32 = 0
    ) -> Int64 {
        unsafe core.performBlocking(.write(fd: fd, offset: offset, from: buffer, flags: flags))
    }

    /// Runs an operation on the caller's thread, which may wait for the device: no attempt without
    /// waiting, no hand-over to the queue.
    package func performHere(_ operation: IOOperation) -> Int64 {
        var transfer = Transfer(operation)
        return transfer.runBlocking()
    }

    /// fsync(2) or fdatasync(2) on the caller's thread; 0 or a negative errno.
    package func syncBlocking(fd: Int32, dataOnly: Bool) -> Int64 {
        var transfer = Transfer(.sync(fd: fd, dataOnly: dataOnly))
        return transfer.runBlocking()
    }

    /// Runs an operation by the queue and suspends until it has completed; the memory must
    /// live until then, also if the task is cancelled.
    /// - Returns: bytes or a negative errno; -EBUSY if the queue is full.
    package func perform(_ operation: IOOperation) async -> Int64 {
        let gate = Gate.take()
        let result = await gate.suspend { gate in
            if !core.push(operation, gate.completion) { gate.open(Int64(-EBUSY)) }
        }
        Gate.giveBack(gate)
        return result
    }
}

/// How the engine does its work.
public enum EngineKind: String, Hashable, Sendable {
    case ioUring = "io_uring"
    case threads
}

/// Whether the workers may be used to free memory: PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE.
public enum IOContextState: Hashable, Sendable {
    case active
    /// The rest of the rules holds; the reason says what the kernel refused.
    case degraded(reason: String)
}

/// Counts since the engine started.
public struct EngineStatistics: Hashable, Sendable {
    public var kind = EngineKind.threads
    /// Why the kernel refused io_uring, or nil.
    public var ioUringRefusal: String?
    public var context = IOContextState.degraded(reason: "no worker started")
    public var workers = 0
    /// Requests accepted and not completed, waiting or in flight.
    public var queueDepth = 0
    public var queueDepthPeak = 0
    public var submitted: UInt64 = 0
    public var completed: UInt64 = 0
    /// Requests refused because the queue was full.
    public var busy: UInt64 = 0
    /// Attempts without blocking that the kernel refused.
    public var again: UInt64 = 0
    /// The buffer pool is registered with every worker's ring.
    public var buffersRegistered = false
    /// The buffer pool and the workers' tables and stacks are locked in memory.
    public var memoryLocked = false
}

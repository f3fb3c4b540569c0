// One worker of the engine: an owned thread with its own ring, or with blocking calls.
internal import CLinux
internal import Glibc
internal import SystemPackage
internal import Threads

/// What `user_data` holds: slot + generation + kind.
struct UserData {
    enum Kind: UInt64 { case request = 1, doorbell, cancel }

    var rawValue: UInt64

    init(rawValue: UInt64) { self.rawValue = rawValue }
    init(_ kind: Kind, slot: Int = 0, generation: UInt16 = 0) {
        rawValue = kind.rawValue << 56 | UInt64(generation) << 32 | UInt64(UInt32(slot))
    }

    var kind: UInt64 { rawValue >> 56 }
    var slot: Int { Int(rawValue & 0xffff_ffff) }
    var generation: UInt16 { UInt16(truncatingIfNeeded: rawValue >> 32) }
}

/// A nested-I/O context, the user-space form of `PF_LOCAL_THROTTLE | PF_MEMALLOC_NOIO`: from
/// taking a request to its completion a worker allocates nothing, faults no page in and takes
/// no lock that a throttled writer holds across a wait.
enum EngineWorker {
    static func run(core: EngineCore, index: Int) {
        // Before the ring: the kernel threads that a ring starts inherit the thread's flags.
        let flusher = core.configuration.usesFlusherContext ? enterContext() : 0
        let stackLocked = clinux_lock_stack() == 0
        guard let table = RequestTable(capacity: core.configuration.depth) else {
            core.report(
                .init(
                    ringErrno: ENOMEM, flusherStatus: flusher, buffersRegistered: false,
                    memoryLocked: false))
            return runThread(core: core, index: index)
        }
        let locked = stackLocked && table.isLocked
        guard core.wantsRings else {
            core.report(
                .init(
                    ringErrno: 0, flusherStatus: flusher, buffersRegistered: false,
                    memoryLocked: locked))
            return runThread(core: core, index: index)
        }
        do throws(Errno) {
            let ring = try Ring(depth: core.configuration.depth + 16)
            try ring.start()
            var registered = false
            if let pool = core.pool {
                do throws(Errno) {
                    try ring.register(pool)
                    registered = true
                } catch {}  // Works without; the statistics say so.
            }
            core.report(
                .init(
                    ringErrno: nil, flusherStatus: flusher, buffersRegistered: registered,
                    memoryLocked: locked))
            var worker = RingWorker(
                core: core, index: index, ring: ring, table: table, registered: registered)
            worker.run()
        } catch {
            core.report(
                .init(
                    ringErrno: error.rawValue, flusherStatus: flusher, buffersRegistered: false,
                    memoryLocked: locked))
            runThread(core: core, index: index)
        }
    }

    /// Asks for the flags and reads them back; 0 or a negative errno.
    private static func enterContext() -> Int32 {
        let status = clinux_set_io_flusher(true)
        guard status == 0 else { return status }
        let read = clinux_get_io_flusher()
        return read == 1 ? 0 : (read < 0 ? read : -EINVAL)
    }

    /// The worker of the threads engine: one request at a time, with blocking calls.
    private static func runThread(core: EngineCore, index: Int) {
        let doorbell = unsafe core.doorbells[index].descriptor
        let wishes = UnsafeMutablePointer<CancelWish>.allocate(capacity: QueueState.wishCapacity)
        defer { unsafe wishes.deallocate() }
        var finished = 0
        var request: Request?
        while true {
            let take = unsafe core.take(
                worker: index, room: 1, finished: finished, sleeps: false, wishes: wishes
            ) { request = $0 }
            finished = 0
            if var current = request {
                request = nil
                let result =
                    current.isCancelled ? Int64(-ECANCELED) : current.transfer.runBlocking()
                current.completion(result)
                finished = 1
            } else if take.isClosed {
                return
            } else {
                clinux_wait_readable(doorbell, -1)
                _ = clinux_eventfd_drain(doorbell)
            }
        }
    }
}

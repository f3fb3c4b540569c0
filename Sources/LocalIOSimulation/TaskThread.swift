// The threads behind simulated tasks: pooled over the seeds, each runs when it gets the baton.
internal import Threads

/// One thread, or the caller's for the root task.
@safe
final class TaskThread: @unchecked Sendable {
    let baton = Semaphore()
    /// Set by whoever holds the baton, taken by the thread when it gets it.
    var job: (() -> Void)?
    fileprivate var isEnding = false

    fileprivate func run() {
        while true {
            baton.waitForReal()
            if isEnding { return }
            let work = job
            job = nil
            work?()
        }
    }

    /// The thread is in code that cannot be left: it stays there, asleep.
    func waitForever() -> Never { while true { baton.waitForReal() } }
}

/// The threads of one simulator, which runs one seed after the other.
@safe
final class TaskThreads: @unchecked Sendable {
    let root = TaskThread()
    private let cpu: Int?
    private var free: [TaskThread] = []
    private var all: [(TaskThread, OwnedThread)] = []

    /// - Parameter cpu: which of the CPUs everything runs on; nil: any.
    init(cpu: Int?) {
        self.cpu = cpu
        if let cpu { SimulatedThread.pin(cpu) }
    }

    func take() -> TaskThread {
        if let thread = free.popLast() { return thread }
        let thread = TaskThread()
        let cpu = cpu
        let owned = OwnedThread(name: "simulated") {
            if let cpu { SimulatedThread.pin(cpu) }
            thread.run()
        }
        precondition(owned != nil, "the system has no thread left for the simulation")
        if let owned { all.append((thread, owned)) }
        return thread
    }

    func giveBack(_ thread: TaskThread) { free.append(thread) }

    /// Ends the threads; only if all of them were given back.
    func stop() {
        guard free.count == all.count else { return }
        for (thread, _) in all {
            thread.isEnding = true
            thread.baton.signalForReal()
        }
        for (_, owned) in all { owned.join() }
        all = []
        free = []
    }
}

// The deterministic scheduler: one simulated thread runs at a time, and a seed decides which.
internal import LocalIOBench
internal import Threads

/// Virtual time, timed events and tasks that block for real but take turns.
///
/// Everything here is touched only by whoever holds the baton: the task that runs, or the task
/// that gave up its turn and is choosing the next one (it runs the events that come first, so
/// an event costs no change of threads). Events must not wait; that they do is a failure.
@safe
package final class Scheduler: ThreadSimulator, @unchecked Sendable {
    /// A simulated thread.
    final class Task {
        enum State { case idle, runnable, running, blocked }
        let name: String
        let runner: TaskThread
        var number = 0
        var state = State.runnable
        /// The semaphore it waits for, or 0.
        var semaphore: UInt = 0
        /// Counts waits, so that a timer of an earlier one is not taken for this one's.
        var wait: UInt64 = 0
        /// What it is doing, for people.
        var place = "starts"
        init(name: String, runner: TaskThread) {
            self.name = name
            self.runner = runner
        }
    }

    /// Nanoseconds of virtual time.
    private(set) package var clock: UInt64 = 1_000_000_000
    private(set) package var steps: UInt64 = 0
    private(set) package var failure: String?
    package var trace: Trace
    /// Called after every event and every turn.
    var afterStep: (() -> Void)?

    private var generator: SeededGenerator
    private let threads: TaskThreads
    private let root: Task
    private var tasks: [Task] = []
    private var runnable: [Task] = []
    private var started = 0
    /// nil while an event runs.
    private var current: Task?
    private var events = EventQueue()
    private let stepLimit: UInt64 = 5_000_000

    init(seed: UInt64, threads: TaskThreads, trace: Trace) {
        generator = SeededGenerator(seed: seed ^ 0x5eed_0f5c_4ed0_1e57)
        self.threads = threads
        self.trace = trace
        root = Task(name: "root", runner: threads.root)
        root.state = .running
        tasks = [root]
        current = root
    }

    // MARK: - For the world

    /// A number below `limit` (at least 1) from the seed.
    func random(_ limit: Int) -> Int { Int(generator.next() % UInt64(max(limit, 1))) }
    func random(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + random(range.upperBound - range.lowerBound + 1)
    }
    /// True once in `count` times.
    func oneIn(_ count: Int) -> Bool { random(count) == 0 }
    func chance(_ percent: Int) -> Bool { random(100) < percent }

    var currentName: String { current?.name ?? "event" }

    /// Notes what happened; cheap unless the trace is shown.
    func note(_ what: StaticString, _ a: Int = 0, _ b: Int = 0, _ c: Int = 0) {
        trace.add(time: clock, task: current?.number ?? -1, what, a, b, c)
    }

    /// Runs `body` after so many nanoseconds, on whatever thread; it must not wait.
    func after(_ nanoseconds: Int, _ body: @escaping () -> Void) {
        events.insert(at: clock + UInt64(max(nanoseconds, 0)), body)
    }

    /// The seed has failed: nothing runs on but the root, which tells.
    func fail(_ message: String) {
        if failure == nil { failure = message }
        guard let task = current, task !== root else { return }
        // A task cannot be unwound out of the code it is in: its thread is given up.
        current = root
        root.runner.baton.signalForReal()
        task.runner.waitForever()
    }

    // MARK: - Tasks

    /// Forgets what was still to happen.
    func end() {
        events = EventQueue()
        afterStep = nil
        tasks = []
        runnable = []
        parked = [:]
    }

    /// Starts a simulated thread.
    func spawn(_ name: String, _ body: @escaping () -> Void) {
        let runner = threads.take()
        let task = Task(name: name, runner: runner)
        started += 1
        task.number = started
        if let place = tasks.firstIndex(where: { $0.state == .idle }) {
            tasks[place] = task
        } else {
            tasks.append(task)
        }
        runnable.append(task)
        runner.job = { [unowned self] in
            SimulatedThread.set(self)
            body()
            self.ended(task)
            SimulatedThread.set(nil)
        }
    }

    private func ended(_ task: Task) {
        task.state = .idle
        task.place = "ended"
        steps += 1
        afterStep?()
        // Given back before the baton goes: it waits for its next job at once.
        threads.giveBack(task.runner)
        let next = choose()
        current = next
        next.runner.baton.signalForReal()
    }

    /// Makes the calling thread the root task's, until it is told nil.
    func adopt(_ isRunning: Bool) { SimulatedThread.set(isRunning ? self : nil) }

    /// Runs everything until no task but the root is left, or a failure.
    func runToEnd() {
        while failure == nil, tasks.contains(where: { $0 !== root && $0.state != .idle }) {
            root.state = .blocked
            root.place = "waits for the tasks"
            isRootWaiting = true
            turnEnds(root)
            isRootWaiting = false
        }
    }
    private var isRootWaiting = false

    /// The calling task lets others run.
    func yield(_ place: String = "between two steps") {
        guard let task = current else { return }
        task.place = place
        task.state = .runnable
        runnable.append(task)
        turnEnds(task)
    }

    /// The calling task waits for so much virtual time.
    func sleep(_ nanoseconds: Int) {
        guard let task = current else { return fail("an event sleeps") }
        task.place = "sleeps"
        block(task, nanoseconds: UInt64(nanoseconds))
    }

    /// The calling task waits until `isReady`, asked whenever `wake(place)` is called.
    func waitUntil(_ place: String, _ isReady: () -> Bool) {
        while !isReady() {
            guard let task = current else { return fail("an event waits: \(place)") }
            task.place = place
            block(task, nanoseconds: nil)
        }
    }

    /// Makes all tasks that wait at `place` look again.
    func wake(_ place: String) {
        for task in tasks where task.state == .blocked && task.place == place { resume(task) }
    }

    private func block(_ task: Task, nanoseconds: UInt64?) {
        task.state = .blocked
        task.wait += 1
        if let nanoseconds {
            let wait = task.wait
            after(Int(clamping: nanoseconds)) { [unowned self] in
                if task.state == .blocked && task.wait == wait { self.resume(task) }
            }
        }
        turnEnds(task)
    }

    private func resume(_ task: Task) {
        task.state = .runnable
        task.semaphore = 0
        runnable.append(task)
    }

    // MARK: - ThreadSimulator

    package func wait(for semaphore: UInt, nanoseconds: UInt64?) {
        guard let task = current else { return fail("an event waits for a semaphore") }
        if task.place == "runs" { task.place = "waits for a semaphore" }
        task.semaphore = semaphore
        block(task, nanoseconds: nanoseconds)
    }

    package func signalled(_ semaphore: UInt) {
        for task in tasks where task.state == .blocked && task.semaphore == semaphore {
            resume(task)
        }
    }

    // MARK: - Parking by number, for the cache

    private var permits: [Int32: Bool] = [:]
    private var parked: [Int32: Task] = [:]

    func park(_ waiter: Int32, nanoseconds: UInt64?) {
        if permits.removeValue(forKey: waiter) != nil { return yield() }
        guard let task = current else { return fail("an event parks") }
        task.place = "parked as \(waiter)"
        parked[waiter] = task
        block(task, nanoseconds: nanoseconds)
        parked[waiter] = nil
        permits[waiter] = nil
    }

    func unpark(_ waiter: Int32) {
        permits[waiter] = true
        if let task = parked[waiter], task.state == .blocked { resume(task) }
    }

    // MARK: - Turns

    /// The calling task's turn is over; returns when it has the next one.
    private func turnEnds(_ task: Task) {
        LockOrder.aboutToWait()
        steps += 1
        afterStep?()
        let next = choose()
        if next !== task {
            current = next
            next.runner.baton.signalForReal()
            task.runner.baton.waitForReal()
        }
        // Whoever chose this task set `current`.
        current = task
        task.state = .running
        task.place = "runs"
    }

    /// Runs events until a task's turn comes.
    private func choose() -> Task {
        current = nil
        while failure == nil {
            let isSoon = events.next.map { $0 <= clock + 2_000_000 } ?? false
            if !runnable.isEmpty, !(isSoon && oneIn(4)) {
                let place = random(runnable.count)
                let task = runnable[place]
                runnable.swapAt(place, runnable.count - 1)
                runnable.removeLast()
                return task
            }
            if isRootWaiting, !tasks.contains(where: { $0 !== root && $0.state != .idle }) {
                return root
            }
            guard let (time, body) = events.pop() else {
                failure = "deadlock: nobody can go on\n" + places
                return root
            }
            clock = max(clock, time)
            steps += 1
            if steps > stepLimit {
                failure = "no end after \(stepLimit) steps\n" + places
                return root
            }
            body()
            afterStep?()
        }
        return root
    }

    /// Where every task is, a line each.
    package var places: String {
        tasks.filter { $0.state != .idle && $0 !== root }
            .map { "    \($0.name): \($0.place)" }.joined(separator: "\n")
    }
}

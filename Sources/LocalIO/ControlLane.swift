// Where calls that block (open, probe, truncate, close) run for async callers, so that they
// never hold a thread of Swift's cooperative pool.
internal import DequeModule
internal import Threads

/// A few owned threads that run blocking control-plane work in order of arrival.
///
/// Metadata only: data I/O never passes through here.
final class ControlLane: Sendable {
    private struct State {
        var work: Deque<@Sendable () -> Void> = []
        var isClosed = false
    }

    private let state = Lock(State())
    private let available = Semaphore()
    private let threads = Lock<[OwnedThread]>([])
    private let threadCount: Int

    init(threadCount: Int) { self.threadCount = threadCount }

    /// Starts the threads; false if the system gave not even one.
    func start() -> Bool {
        for index in 0..<threadCount {
            guard let thread = OwnedThread(name: "lio-control-\(index)", body: { self.run() })
            else { break }
            threads.withLock { $0.append(thread) }
        }
        return threads.withLock { !$0.isEmpty }
    }

    private func run() {
        while true {
            available.wait()
            let work = state.withLock { $0.work.popFirst() }
            guard let work else { return }
            work()
        }
    }

    /// Queues `work`; false after `stop`.
    func submit(_ work: @escaping @Sendable () -> Void) -> Bool {
        let accepted = state.withLock { state in
            guard !state.isClosed else { return false }
            state.work.append(work)
            return true
        }
        if accepted { available.signal() }
        return accepted
    }

    /// Runs `body` on a control thread and hands its outcome to the waiting task.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable () throws(LocalIOError) -> Value
    ) async throws(LocalIOError) -> Value {
        let outcome: Result<Value, LocalIOError> = await withCheckedContinuation { waiter in
            let accepted = submit {
                do throws(LocalIOError) {
                    waiter.resume(returning: .success(try body()))
                } catch {
                    waiter.resume(returning: .failure(error))
                }
            }
            if !accepted { waiter.resume(returning: .failure(.closed("client"))) }
        }
        return try outcome.get()
    }

    /// Runs what is queued, then ends the threads. Must not be called from one of them.
    func stop() {
        state.withLock { $0.isClosed = true }
        let ending = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for _ in ending { available.signal() }
        for thread in ending { thread.join() }
    }
}

// Calls between the connections' readers and the workers; bounded by what connections may have
// in flight.
internal import DequeModule
internal import Threads

/// A queue of calls. Any thread.
final class RequestQueue: Sendable {
    private let waiting = Lock(Deque<Work>())
    private let count = Semaphore()

    func put(_ work: Work) {
        waiting.withLock { $0.append(work) }
        count.signal()
    }

    /// The next call, waited for; nil after `close`.
    func next() -> Work? {
        count.wait()
        return waiting.withLock { $0.popFirst() }
    }

    /// Lets every worker of `workerCount` return once the calls already here are done.
    func close(workerCount: Int) {
        for _ in 0..<workerCount { count.signal() }
    }
}

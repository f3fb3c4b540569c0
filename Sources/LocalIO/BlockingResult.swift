// Lets a blocked caller wait for a completion that another thread delivers.
internal import Threads

/// A value that one thread waits for and another delivers once.
final class BlockingResult<Value: Sendable>: Sendable {
    private let storage: Lock<Value>
    private let done = Semaphore()

    init(_ initial: Value) { storage = Lock(initial) }

    var value: Value { storage.withLock { $0 } }

    func finish(_ value: Value) {
        storage.withLock { $0 = value }
        done.signal()
    }

    /// Returns once `finish` has been called.
    func wait() { done.wait() }

    func wait(timeout: Duration) -> Bool { done.wait(timeout: timeout) }
}

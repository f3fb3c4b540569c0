// A place for one thread to wait for one result; pooled, so that waiting allocates nothing.
internal import Synchronization
internal import Threads

/// Opened once per wait by whoever has the result.
@safe
final class Gate: @unchecked Sendable {
    private let semaphore = Semaphore()
    /// Released by `open`, acquired by whoever waited: this, and not the semaphore or the
    /// continuation alone, orders everything before `open` for sanitizers, too.
    private let result = Atomic<Int64>(0)
    /// Resumed by `open` instead of the semaphore. Set before the gate is handed to anyone.
    /// Checked, because the resumption then runs inside the runtime: the unsafe one is inlined
    /// here, and Thread Sanitizer cannot see its order with the task that goes on.
    private var continuation: CheckedContinuation<Void, Never>?
    fileprivate var next: Gate?
    /// The next in a list of waiters, owned by the lock that keeps the list.
    var nextWaiter: Gate?

    func open(_ result: Int64) {
        let continuation = self.continuation
        self.result.store(result, ordering: .releasing)
        if let continuation {
            continuation.resume()
        } else {
            semaphore.signal()
        }
    }

    func wait() -> Int64 {
        semaphore.wait()
        return result.load(ordering: .acquiring)
    }

    /// Suspends until the gate is opened; `start` hands it to whoever will.
    func suspend(_ start: (Gate) -> Void) async -> Int64 {
        await withCheckedContinuation { continuation in
            self.continuation = continuation
            start(self)
        }
        defer { continuation = nil }
        return result.load(ordering: .acquiring)
    }

    /// Opens this gate; it must stay alive until then, as every gate of the pool does.
    var completion: IOCompletion {
        unsafe IOCompletion(
            function: openGate, context: Unmanaged.passUnretained(self).toOpaque(), token: 0)
    }

    private static let pool = Lock<Gate?>(nil)

    /// A free gate. Gates are never destroyed: the thread that opened one may still be in it.
    static func take() -> Gate {
        let free = pool.withLock { head in
            let gate = head
            head = gate?.next
            return gate
        }
        return free ?? Gate()
    }

    static func giveBack(_ gate: Gate) {
        pool.withLock { head in
            gate.next = head
            head = gate
        }
    }
}

private func openGate(_ context: UnsafeMutableRawPointer?, _ token: UInt64, _ result: Int64) {
    guard let context = unsafe context else { return }
    unsafe Unmanaged<Gate>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.open(result) }
}

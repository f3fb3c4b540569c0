// A place for one thread to wait for one result; pooled, so that waiting allocates nothing.
internal import Threads

/// Opened once per wait by whoever has the result.
@safe
final class Gate: @unchecked Sendable {
    private let semaphore = Semaphore()
    /// Written before `semaphore` is signalled, read after it was taken.
    private var result: Int64 = 0
    fileprivate var next: Gate?
    /// The next in a list of waiters, owned by the lock that keeps the list.
    var nextWaiter: Gate?

    func open(_ result: Int64) {
        self.result = result
        semaphore.signal()
    }

    func wait() -> Int64 {
        semaphore.wait()
        return result
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

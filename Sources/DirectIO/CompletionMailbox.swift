// Results from any thread to the one owner of an InlineQueue, with a doorbell for its sleep.
internal import Synchronization
internal import Threads

/// A bounded queue of (token, result) from many threads to one.
///
/// RPC completions and engine completions come this way; the owner takes them in
/// `InlineQueue.reap`, which sleeps for them and for its ring at once.
@safe
package final class CompletionMailbox: @unchecked Sendable {
    struct Message {
        /// The caller's token, or the user data of a slot that the engine finished.
        var token: UInt64
        var result: Int64
        var isSlot: Bool
    }

    @safe
    private struct State: @unchecked Sendable {
        let messages: UnsafeMutablePointer<Message>
        let capacity: Int
        var head = 0
        var count = 0
        /// The owner sleeps or is about to.
        var isAsleep = false
        /// Posters that wait for room.
        var blocked: Gate?
    }

    private let state: Lock<State>
    private let doorbell: Doorbell
    /// A hint that saves the owner the lock; exact whenever the lock is held.
    private let waiting = Atomic<Int>(0)

    /// - Parameter capacity: messages not yet taken; more than can be outstanding, or posters
    ///   will wait for the owner.
    /// - Returns: nil if the process has no descriptor left.
    init?(capacity: Int) {
        guard let doorbell = Doorbell() else { return nil }
        self.doorbell = doorbell
        let messages = UnsafeMutablePointer<Message>.allocate(capacity: max(capacity, 1))
        state = unsafe Lock(State(messages: messages, capacity: max(capacity, 1)))
    }

    deinit { state.withLock { unsafe $0.messages.deallocate() } }

    /// Hands a result to the owner. Any thread but the owner's while the box may be full.
    package func post(token: UInt64, result: Int64) {
        if put(Message(token: token, result: result, isSlot: false)) { ring() }
    }

    /// A completion that posts here; the mailbox must outlive it.
    package func completion(token: UInt64) -> IOCompletion {
        var completion = unsafe IOCompletion(
            function: postToMailbox, context: Unmanaged.passUnretained(self).toOpaque(),
            token: token)
        completion.mailboxKind = .message
        return completion
    }

    /// The same for a slot of the owner's table.
    func slotCompletion(_ userData: UserData) -> IOCompletion {
        var completion = unsafe IOCompletion(
            function: postSlotToMailbox, context: Unmanaged.passUnretained(self).toOpaque(),
            token: userData.rawValue)
        completion.mailboxKind = .slot
        return completion
    }

    /// Wakes the owner.
    func ring() { doorbell.ring() }

    /// - Returns: the owner sleeps: `ring` when no more follows at once.
    func put(_ message: Message) -> Bool {
        while true {
            var gate: Gate?
            var mustRing = false
            state.withLock { state in
                guard state.count < state.capacity else {
                    let own = Gate.take()
                    own.nextWaiter = state.blocked
                    state.blocked = own
                    gate = own
                    mustRing = state.isAsleep
                    state.isAsleep = false
                    return
                }
                let place = (state.head + state.count) % state.capacity
                unsafe (state.messages + place).initialize(to: message)
                state.count += 1
                waiting.store(state.count, ordering: .relaxed)
                mustRing = state.isAsleep
                state.isAsleep = false
            }
            guard let gate else { return mustRing }
            if mustRing { ring() }
            _ = gate.wait()
            Gate.giveBack(gate)
        }
    }

    // MARK: the owner's side

    var doorbellDescriptor: Int32 { doorbell.descriptor }

    func drainDoorbell() { doorbell.drain() }

    /// Something may be here.
    var hasMessages: Bool { waiting.load(ordering: .relaxed) > 0 }

    /// Announces that the owner sleeps; false if there is something to take first.
    func prepareToSleep() -> Bool {
        state.withLock { state in
            state.isAsleep = state.count == 0
            return state.isAsleep
        }
    }

    /// Takes up to `capacity` messages; the owner counts as awake again.
    func take(_ target: UnsafeMutablePointer<Message>, capacity: Int) -> Int {
        var blocked: Gate?
        let taken = state.withLock { state in
            state.isAsleep = false
            let count = min(state.count, capacity)
            for place in 0..<count {
                unsafe (target + place).initialize(
                    to: state.messages[(state.head + place) % state.capacity])
            }
            state.head = (state.head + count) % state.capacity
            state.count -= count
            waiting.store(state.count, ordering: .relaxed)
            if count > 0 {
                blocked = state.blocked
                state.blocked = nil
            }
            return count
        }
        while let gate = blocked {
            blocked = gate.nextWaiter
            gate.open(0)
        }
        return taken
    }
}

// The reference is counted here: once the message is in, the owner may take it and go.
private func postToMailbox(_ context: UnsafeMutableRawPointer?, _ token: UInt64, _ result: Int64) {
    guard let context = unsafe context else { return }
    let mailbox = unsafe Unmanaged<CompletionMailbox>.fromOpaque(context).takeUnretainedValue()
    if mailbox.put(.init(token: token, result: result, isSlot: false)) { mailbox.ring() }
}

private func postSlotToMailbox(
    _ context: UnsafeMutableRawPointer?, _ token: UInt64, _ result: Int64
) {
    guard let context = unsafe context else { return }
    let mailbox = unsafe Unmanaged<CompletionMailbox>.fromOpaque(context).takeUnretainedValue()
    if mailbox.put(.init(token: token, result: result, isSlot: true)) { mailbox.ring() }
}

extension IOCompletion {
    /// The mailbox behind this completion, so that a worker can tell it of many results and
    /// ring once; nil for any other function.
    var mailbox: CompletionMailbox? {
        guard mailboxKind != .none, let context = unsafe context else { return nil }
        return unsafe Unmanaged<CompletionMailbox>.fromOpaque(context).takeUnretainedValue()
    }

    func message(_ result: Int64) -> CompletionMailbox.Message {
        .init(token: token, result: result, isSlot: mailboxKind == .slot)
    }
}

// A caller that sends its request itself, while the connection's thread sleeps: a call that is
// alone on its connection then waits for one change of thread less. The thread lends what it owns
// under the inbox's lock when it goes to sleep, and waits for the sender to leave when it wakes.
internal import CLinux
internal import CNFS
internal import Glibc
internal import Threads

extension Connection {
    // MARK: - The thread

    /// Whether a caller may send while the thread sleeps so: the connection stands, nothing is
    /// half written, and the thread will wake in time to see the call's deadline pass.
    func isLendable(_ events: Int16, _ wakeTime: UInt64?) -> Bool {
        guard case .up = phase else { return false }
        return events & Int16(POLLOUT) == 0 && wakeTime != nil
    }

    /// The thread is awake: what it owns is its own again.
    func takeBack() {
        let mustWait = inbox.withLock { inbox in
            inbox.isSleeping = false
            inbox.isLent = false
            inbox.isAwaited = inbox.hasSender
            return inbox.hasSender
        }
        // For a write to a socket that takes what it has room for.
        if mustWait { senderLeft.wait() }
    }

    // MARK: - Whoever owns the context

    /// Puts what came in behind what waits.
    func queueIncoming() {
        for request in incoming {
            sequence += 1
            request.sequence = sequence
            waiting.append(request)
        }
        incoming.removeAll(keepingCapacity: true)
    }

    // MARK: - The sender

    /// Sends what is in the inbox, on the calling thread, which has set `hasSender`. Calls no
    /// completion, and never waits.
    @inline(never)
    func sendHere() {
        let isUnfinished = !isQuiet || !sendIncoming()
        let (isAwaited, mustRing) = inbox.withLock { inbox in
            inbox.hasSender = false
            let mustRing = isUnfinished && inbox.isSleeping
            if mustRing { inbox.isSleeping = false }
            defer { inbox.isAwaited = false }
            return (inbox.isAwaited, mustRing)
        }
        if isAwaited { senderLeft.signal() }
        if mustRing { doorbell.ring() }
    }

    /// Whether the socket has nothing to say. What it says comes first: if the server has gone, a
    /// call that was not sent yet is one that cannot have been carried out.
    private var isQuiet: Bool {
        var entry = pollfd(fd: socketDescriptor, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 0) == 0
    }

    /// - Returns: false if the thread must go on with it.
    private func sendIncoming() -> Bool {
        inbox.withLock { swap(&incoming, &$0.submissions) }
        queueIncoming()
        let before = ConnectionOfThread.current
        ConnectionOfThread.set(self)
        defer { ConnectionOfThread.set(before) }
        let earlier = slots.usedCount
        submitWaiting(clinux_monotonic_nanoseconds())
        statistics.sentByCaller(slots.usedCount - earlier)
        return writeHere() && unencodable.isEmpty
    }

    /// - Returns: false if the thread must go on with it.
    private func writeHere() -> Bool {
        guard let context = unsafe context else { return false }
        guard unsafe rpc_which_events(context) & Int32(POLLOUT) != 0 else { return true }
        let status = BrokenPipeSignal.blocked { unsafe rpc_service(context, Int32(POLLOUT)) }
        if status != 0 {
            sendFailure = unsafe errorText(context)
            return false
        }
        return unsafe rpc_which_events(context) & Int32(POLLOUT) == 0
    }
}

/// Not every libnfs writes with MSG_NOSIGNAL: without it a broken socket would end the process.
/// The signal is the writing thread's own, so blocking it there is enough.
enum BrokenPipeSignal {
    static func blockOnThisThread() {
        var signals = only()
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// The same on somebody else's thread, for one write: what came of it is taken away.
    static func blocked(_ write: () -> Int32) -> Int32 {
        var signals = only()
        var before = sigset_t()
        unsafe pthread_sigmask(SIG_BLOCK, &signals, &before)
        let status = write()
        guard unsafe sigismember(&before, SIGPIPE) == 0 else { return status }
        if status != 0 {
            var none = timespec()
            _ = unsafe sigtimedwait(&signals, nil, &none)
        }
        unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
        return status
    }

    private static func only() -> sigset_t {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGPIPE)
        return signals
    }
}

// One TCP connection to the server and the thread that owns it. libnfs is not thread-safe, so
// the rpc_context is made, used and destroyed on that thread alone, but for a caller that sends
// while it sleeps (Connection+Sending.swift); everyone else goes through the inbox. Each
// incarnation of the connection gets a fresh context.
internal import CLinux
internal import CNFS
internal import Glibc
internal import Logging
internal import NFSTypes
internal import Synchronization
internal import Threads

/// Where a connection goes and how it behaves.
struct ConnectionTarget: Sendable {
    /// Numeric, so that reconnecting never waits for a name server.
    let address: String
    let port: UInt16
    /// `host:port` for people.
    let server: String
    let configuration: SessionConfiguration
}

/// A connection: requests in, completions out.
@safe
final class Connection: @unchecked Sendable {
    struct Inbox: ~Copyable {
        var submissions: [Request] = []
        var cancellations: [UInt64] = []
        var isClosing = false
        /// The thread sleeps in poll, or is about to: whoever adds something rings.
        var isSleeping = false
        /// Asleep, it leaves what it owns to a caller that has something to send.
        var isLent = false
        /// Such a caller is at it.
        var hasSender = false
        /// The thread is awake and waits for that caller to leave.
        var isAwaited = false
    }

    enum Phase {
        case down(retryTime: UInt64)
        case connecting(deadline: UInt64)
        case up
    }

    // Shared with every thread.
    let index: Int
    let target: ConnectionTarget
    let inbox = Lock(Inbox())
    let doorbell: Doorbell
    let observer: ObserverBox
    let statistics = ConnectionStatistics()
    let logger: Logger
    /// Signalled by a sender that is awaited.
    let senderLeft = Semaphore()
    private let thread = Lock<OwnedThread?>(nil)

    // Confined to the thread, and to the sender while it sleeps.
    var phase = Phase.down(retryTime: 0)
    var context: OpaquePointer?
    /// The context's socket: libnfs forgets it when it fails, so it is closed from here.
    var socketDescriptor: Int32 = -1
    var incarnation: UInt64 = 0
    var isTearingDown = false
    var reconnectDelay: Duration
    var slots: SlotTable
    var waiting = RequestQueue()
    /// Put off by NFS3ERR_JUKEBOX; few, so a plain array.
    var putOff: [Request] = []
    var incoming: [Request] = []
    var refused: [(token: UInt, text: String)] = []
    var appliedCredentials: Credentials?
    var sequence: UInt64 = 0
    var nextTimeoutScan: UInt64 = 0
    /// `sequence` when the thread last slept a whole scan interval and nothing had come.
    var quietSequence: UInt64 = 0
    /// Calls that libnfs could not encode, which the thread is to fail.
    var unencodable: [(request: Request, cause: RPCError.Cause)] = []
    /// Why a sender could not write: the end of the incarnation, once the thread is awake.
    var sendFailure: String?
    var isClosed = false

    /// - Returns: nil if the process has no descriptor or thread left.
    init?(index: Int, target: ConnectionTarget, observer: ObserverBox, logger: Logger) {
        guard let doorbell = Doorbell() else { return nil }
        self.index = index
        self.target = target
        self.doorbell = doorbell
        self.observer = observer
        self.logger = logger
        reconnectDelay = target.configuration.reconnectDelay
        slots = SlotTable(count: target.configuration.inFlightLimit)
        guard let thread = OwnedThread(name: "nfs-\(index)", body: { self.run() }) else {
            return nil
        }
        self.thread.withLock { $0 = thread }
    }

    // MARK: - Any thread

    /// Hands a request over, or sends it here if it is the only one and the thread sleeps;
    /// answers why not, if it cannot be taken.
    func submit(_ request: Request) -> RPCError.Cause? {
        guard statistics.admit(1, limit: target.configuration.pendingLimit) else { return .busy }
        return post(maySend: statistics.pendingCount == 1) { inbox in
            guard !inbox.isClosing else { return false }
            inbox.submissions.append(request)
            return true
        } ? nil : refuse(1)
    }

    /// Hands the parts of one request over, in order and together.
    func submit(parts: [Request]) -> RPCError.Cause? {
        guard statistics.admit(parts.count, limit: target.configuration.pendingLimit) else {
            return .busy
        }
        return post { inbox in
            guard !inbox.isClosing else { return false }
            inbox.submissions.append(contentsOf: parts)
            return true
        } ? nil : refuse(parts.count)
    }

    private func refuse(_ count: Int) -> RPCError.Cause {
        for _ in 0..<count { statistics.finished() }
        return .closed
    }

    /// Ends the requests of this number with `.cancelled`.
    func cancel(number: UInt64) {
        post { inbox in
            guard !inbox.isClosing else { return false }
            inbox.cancellations.append(number)
            return true
        }
    }

    /// Fails what is pending with `.closed` and ends the thread; waits for it only if told to.
    /// - Returns: false if it was closed before.
    @discardableResult
    func close(waiting waits: Bool) -> Bool {
        let isFirst = post { inbox in
            defer { inbox.isClosing = true }
            return !inbox.isClosing
        }
        if waits { thread.withLock { $0 }?.join() }
        return isFirst
    }

    /// Changes the inbox, and wakes the thread if it sleeps or sends in its stead; answers what
    /// `change` answers.
    @inline(__always)
    @discardableResult
    private func post(maySend: Bool = false, _ change: (inout Inbox) -> Bool) -> Bool {
        let (isTaken, mustRing, sends) = inbox.withLock { inbox in
            let isTaken = change(&inbox)
            guard inbox.isSleeping else { return (isTaken, false, false) }
            if isTaken && maySend && inbox.isLent && !inbox.hasSender {
                inbox.hasSender = true
                return (isTaken, false, true)
            }
            inbox.isSleeping = false
            return (isTaken, true, false)
        }
        if sends { sendHere() }
        if mustRing { doorbell.ring() }
        return isTaken
    }

    // MARK: - The thread

    private func run() {
        BrokenPipeSignal.blockOnThisThread()
        ConnectionOfThread.set(self)
        while true {
            // Those of a sender: their callers wait, also if this is the end.
            failUnencodable()
            takeInbox()
            if isClosed { break }
            let now = clinux_monotonic_nanoseconds()
            advance(now)
            submitWaiting(now)
            failUnencodable()
            flush()
            sleep(until: wakeTime(now))
        }
        ConnectionOfThread.set(nil)
    }

    /// Takes everything that arrived since the last time, in one go.
    private func takeInbox() {
        var cancellations: [UInt64] = []
        let isClosing = inbox.withLock { inbox in
            swap(&incoming, &inbox.submissions)
            if !inbox.cancellations.isEmpty { swap(&cancellations, &inbox.cancellations) }
            return inbox.isClosing
        }
        queueIncoming()
        for number in cancellations { cancelOnThread(number: number) }
        if isClosing { closeOnThread() }
    }

    /// Waits for the doorbell, the socket or the time, and serves the socket.
    private func sleep(until wakeTime: UInt64?) {
        var events: Int16 = 0
        if let context = unsafe context { events = unsafe Int16(rpc_which_events(context)) }
        let isLent = isLendable(events, wakeTime)
        let before = sequence
        // Lent from here on, until it is taken back.
        let isAsleep = inbox.withLock { inbox in
            inbox.isSleeping =
                inbox.submissions.isEmpty && inbox.cancellations.isEmpty && !inbox.isClosing
            inbox.isLent = isLent
            return inbox.isSleeping
        }
        var timeout: Int32 = isAsleep ? -1 : 0
        if isAsleep, let wakeTime {
            let now = clinux_monotonic_nanoseconds()
            let rest = wakeTime > now ? (wakeTime - now + 999_999) / 1_000_000 : 0
            timeout = Int32(clamping: rest)
        }
        let (count, rang, socketEvents) = wait(events, timeout)
        // From here on the thread looks into the inbox before it sleeps again: completions that
        // submit the next request need not ring.
        if isAsleep { takeBack() }
        if count == 0 && sequence == before { quietSequence = sequence }
        if rang { doorbell.drain() }
        if let reason = sendFailure {
            sendFailure = nil
            lose(reason: reason)
        } else if socketEvents != 0 {
            service(Int32(socketEvents))
        }
    }

    private func wait(
        _ events: Int16, _ timeout: Int32
    ) -> (count: Int32, rang: Bool, socketEvents: Int16) {
        unsafe withUnsafeTemporaryAllocation(of: pollfd.self, capacity: 2) { descriptors in
            unsafe descriptors[0] = pollfd(
                fd: doorbell.descriptor, events: Int16(POLLIN), revents: 0)
            unsafe descriptors[1] = pollfd(fd: socketDescriptor, events: events, revents: 0)
            let count = unsafe poll(descriptors.baseAddress, 2, timeout)
            guard count > 0 else { return (count, false, 0) }
            return unsafe (count, descriptors[0].revents != 0, descriptors[1].revents)
        }
    }

    /// When something is to be done although nobody rings; nil for never.
    private func wakeTime(_ now: UInt64) -> UInt64? {
        var earliest = putOff.map(\.sendTime).min()
        func consider(_ time: UInt64) { earliest = min(earliest ?? time, time) }
        switch phase {
        case .down(let retryTime): consider(retryTime)
        case .connecting(let deadline): consider(deadline)
        case .up:
            if slots.usedCount > 0 {
                consider(nextTimeoutScan)
            } else if sequence != quietSequence {
                // Whoever sends meanwhile does not wake the thread, which must see the deadline.
                consider(now + scanInterval)
            }
        }
        return earliest
    }
}

extension Duration {
    /// Whole nanoseconds, at least 0.
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        return UInt64(seconds) &* 1_000_000_000 &+ UInt64(attoseconds / 1_000_000_000)
    }
}

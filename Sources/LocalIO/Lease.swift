// Whether the local road is open: taken by a successful probe, revoked when the server or the
// agent stops answering or says so, taken again when it is back.
internal import AgentProtocol
internal import CLinux
internal import Glibc
internal import Logging
internal import NFSClient
internal import SystemPackage
internal import Threads

/// Where local files are opened while the lease holds.
enum FileSource: Sendable {
    /// In the export's own directory, by this process.
    case directory(ExportRoot)
    /// By the agent.
    case agent(AgentConnection)
}

/// Tells one socket file from another at the same path.
struct SocketIdentity: Equatable {
    private let device: UInt64
    private let inode: UInt64
    private let changeSeconds: Int64
    private let changeNanoseconds: UInt32

    /// nil if there is nothing at `path`.
    init?(path: FilePath) {
        var status = clinux_stat()
        let answer = unsafe path.withPlatformString { name in
            unsafe clinux_statx(AT_FDCWD, name, false, &status)
        }
        guard answer == 0 else { return nil }
        device = status.device
        inode = status.inode
        changeSeconds = status.change_seconds
        changeNanoseconds = status.change_nanoseconds
    }
}

/// The client's right to local I/O, kept by one thread.
///
/// The kernel's LOCALIO never turns NFSv3 local again by default (nfs_localio, re-enable by an
/// I/O count of zero); here a thread watches the connection, probes with back-off and reopens.
final class Lease: Sendable {
    private struct State {
        var source: FileSource?
        var report = ProbeReport()
        var mustProbe = true
        /// Some open file goes by RPC that may get its local road back.
        var mustReopen = false
        /// Counts revocations: an open that began before one must not outlive it.
        var revocations: UInt64 = 0
        /// Connections that are over, whose threads are to be joined.
        var ended: [AgentConnection] = []
        /// Whether the local road was ever open: then a closed one is tried again by itself.
        var wasHeld = false
        /// When an agent that did not prove the server local is asked again, and the wait after
        /// that: it may have been starting, or the server may be elsewhere.
        var nextLook: ContinuousClock.Instant?
        var lookDelay = Duration.zero
        /// The agent's socket file when it was last asked; nil for none.
        var socketSeen: SocketIdentity?
        var isStopping = false
    }

    private let session: NFSSession
    private let configuration: ClientConfiguration
    private let logger: Logger
    private let lane: ControlLane
    private let state = Lock(State())
    private let wake = Semaphore()
    private let thread = Lock<OwnedThread?>(nil)

    init(
        session: NFSSession, configuration: ClientConfiguration, lane: ControlLane, logger: Logger
    ) {
        self.session = session
        self.configuration = configuration
        self.lane = lane
        self.logger = logger
    }

    /// Where to open files, and the count of revocations at that moment; no source while the
    /// local road is closed.
    var source: (source: FileSource?, revocations: UInt64) {
        state.withLock { ($0.source, $0.revocations) }
    }

    /// Whether nothing has been revoked since `revocations` was read; else the lease's thread
    /// opens files again.
    func stillHolds(_ revocations: UInt64) -> Bool {
        let holds = state.withLock { state in
            if state.revocations != revocations { state.mustReopen = true }
            return state.revocations == revocations
        }
        if !holds { wake.signal() }
        return holds
    }

    /// Has the lease's thread try again, at its next turn, to open files locally.
    func tryAgainLater() { state.withLock { $0.mustReopen = true } }

    var report: ProbeReport { state.withLock { $0.report } }

    /// Why there is no source.
    var reason: FallbackReason {
        if case .remote(let reason) = report.locality { return reason }
        return .leaseRevoked
    }

    /// Probes once, then watches. The client must call `stop`.
    func start(_ client: LocalIOClient) -> Bool {
        probe(client)
        guard configuration.locality != .off else { return true }
        session.setConnectionObserver { [weak self, weak client] event in
            guard let self, let client else { return }
            switch event {
            case .lost(_, _, let why): self.revoke(client, "the connection was lost: \(why)")
            case .restored: self.wake.signal()
            }
        }
        let watcher = OwnedThread(name: "lio-lease") { [weak client] in self.watch(client) }
        thread.withLock { $0 = watcher }
        return watcher != nil
    }

    private func probe(_ client: LocalIOClient) {
        let before = state.withLock { $0.revocations }
        let seen = socketIdentity()
        let lane = lane
        var (report, source) = LocalityProbe(
            session: session, configuration: configuration, logger: logger,
            later: { lane.submit($0) }
        ).run()
        state.withLock { state in
            // A server that went while it was probed has revoked what was not yet there.
            if source != nil && state.revocations != before {
                if case .agent(let connection) = source { state.ended.append(connection) }
                report.locality = .remote(.leaseRevoked)
                source = nil
            }
            state.report = report
            state.source = source
            if source != nil { state.wasHeld = true }
            let mayPass = state.wasHeld || report.locality == .remote(.agentRefused)
            state.mustProbe = source == nil && mayPass
            planLook(report.locality, &state)
            state.socketSeen = seen
        }
        for step in report.steps {
            logger.debug("probe: \(step.name): \(step.outcome) (\(step.duration))")
        }
        guard case .agent(let connection) = source else { return }
        let listens = connection.startReading { [weak self, weak client] event in
            guard let self, let client else { return }
            self.heard(event, from: connection, client)
        }
        if !listens { revoke(client, "no thread to be had for the agent's connection") }
    }

    /// Has an agent that did not prove the server local asked again, ever more rarely.
    private func planLook(_ locality: Locality, _ state: inout State) {
        let isUnproved =
            locality == .remote(.notClaimed) || locality == .remote(.programUnreachable)
        guard isUnproved, !state.mustProbe else {
            state.nextLook = nil
            state.lookDelay = .zero
            return
        }
        let (shortest, longest) = (
            configuration.probeBackoff.lowerBound, configuration.unprovedProbeInterval
        )
        state.lookDelay = min(max(state.lookDelay * 2, shortest), longest)
        state.nextLook = .now + state.lookDelay
    }

    /// On the agent connection's thread.
    private func heard(
        _ event: AgentEvent, from connection: AgentConnection, _ client: LocalIOClient
    ) {
        let isOurs = state.withLock { state in
            if case .agent(let current) = state.source { return current === connection }
            return false
        }
        guard isOurs else { return }
        switch event {
        case .ended(let why): revoke(client, why)
        case .revoked(.all): revoke(client, "the agent revoked it")
        case .revoked(.export(let number)):
            revokeSome(client, "export \(number)") { file in
                if case .local(let local) = file.currentRoute {
                    return local.ticket?.exportID == number
                }
                return false
            }
        case .revoked(.handle(let handle)):
            revokeSome(client, "file \(handle)") { $0.handle == handle }
        }
    }

    /// Stops new local I/O on some files at once; the agent is asked for them again later.
    private func revokeSome(
        _ client: LocalIOClient, _ what: String, _ isMeant: (LocalIOFile) -> Bool
    ) {
        state.withLock { state in
            state.revocations += 1
            state.mustReopen = true
        }
        client.revokeLocalFiles(where: isMeant)
        logger.info("the agent revoked \(what) of \(session.url)")
        wake.signal()
    }

    /// Stops new local I/O at once; what is in flight ends on its own.
    private func revoke(_ client: LocalIOClient, _ why: String) {
        let wasLocal = state.withLock { state in
            state.revocations += 1
            guard let source = state.source else { return false }
            if case .agent(let connection) = source {
                connection.close()
                state.ended.append(connection)
            }
            state.source = nil
            state.report.locality = .remote(.leaseRevoked)
            state.mustProbe = true
            return true
        }
        guard wasLocal else { return }
        client.revokeLocalFiles { _ in true }
        logger.notice("local I/O to \(session.url) is off: \(why)")
        wake.signal()
    }

    private func watch(_ client: LocalIOClient?) {
        weak let weakClient = client
        let shortest = configuration.probeBackoff.lowerBound
        var backoff = shortest
        while !state.withLock({ $0.isStopping }) {
            _ = wake.wait(timeout: pause(backoff))
            guard let client = weakClient, !state.withLock({ $0.isStopping }) else { return }
            joinEnded()
            if case .agent(let connection) = source.source { connection.sendReleasesLater() }
            if state.withLock({ $0.mustProbe }) {
                guard session.isConnected, answers() else { continue }
                backoff = regain(client) ? shortest : longer(backoff)
            } else if source.source == nil {
                lookAgain()
            } else if !answers() {
                revoke(client, "the server does not answer")
            } else if state.withLock({ $0.mustReopen }) {
                backoff = reopen(client) ? shortest : longer(backoff)
            }
        }
    }

    /// How long there is nothing to do.
    private func pause(_ backoff: Duration) -> Duration {
        let (isWaiting, nextLook) = state.withLock { ($0.mustProbe || $0.mustReopen, $0.nextLook) }
        if isWaiting { return backoff }
        guard let nextLook else { return configuration.heartbeatInterval }
        return min(configuration.heartbeatInterval, max(nextLook - .now, .zero))
    }

    private func longer(_ backoff: Duration) -> Duration {
        min(backoff * 2, configuration.probeBackoff.upperBound)
    }

    /// Probes again; true if the local road is open.
    private func regain(_ client: LocalIOClient) -> Bool {
        probe(client)
        guard source.source != nil else { return false }
        logger.notice("local I/O to \(session.url) is on again")
        return reopen(client)
    }

    /// Opens files locally again; false if one may have to be tried once more.
    private func reopen(_ client: LocalIOClient) -> Bool {
        state.withLock { $0.mustReopen = false }
        if client.reopenLocalFiles() { return true }
        state.withLock { $0.mustReopen = true }
        return false
    }

    /// An agent that was started after the client connected has a new socket file; one that
    /// proved nothing has its time to be asked again.
    private func lookAgain() {
        let now = socketIdentity()
        let mustProbe = state.withLock { state in
            let isNew = now != nil && now != state.socketSeen
            let isDue = state.nextLook.map { $0 <= .now } ?? false
            if isNew { state.lookDelay = .zero }
            if isNew || isDue { state.mustProbe = true }
            return isNew || isDue
        }
        if mustProbe { wake.signal() }
    }

    private func socketIdentity() -> SocketIdentity? {
        configuration.agentSocket.flatMap { SocketIdentity(path: $0) }
    }

    private func joinEnded() {
        let ended = state.withLock { state in
            defer { state.ended = [] }
            return state.ended
        }
        for connection in ended {
            connection.close()
            connection.join()
        }
    }

    /// Whether the server answers a NULL call in time.
    private func answers() -> Bool {
        let answer = BlockingResult(false)
        let request = session.start(.null, credentials: nil) { result in
            if case .success = result { answer.finish(true) } else { answer.finish(false) }
        }
        // In slices, so that closing a client whose server is dead need not wait it out.
        let deadline = ContinuousClock.now + configuration.heartbeatTimeout
        while ContinuousClock.now < deadline, !state.withLock({ $0.isStopping }) {
            if answer.wait(timeout: .milliseconds(100)) { return answer.value }
        }
        session.cancel(request)
        return false
    }

    func stop() {
        state.withLock { $0.isStopping = true }
        wake.signal()
        let ending = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        ending?.join()
        state.withLock { state in
            if case .agent(let connection) = state.source { state.ended.append(connection) }
            state.source = nil
        }
        joinEnded()
    }
}

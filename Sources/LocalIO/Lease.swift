// Whether the local road is open: taken by a successful probe, revoked when the server stops
// answering, taken again when it is back.
internal import Logging
internal import NFSClient
internal import SystemPackage
internal import Threads

/// The client's right to local I/O, kept by one thread.
///
/// The kernel's LOCALIO never turns NFSv3 local again by default (nfs_localio, re-enable by an
/// I/O count of zero); here a thread watches the connection, probes with back-off and reopens.
final class Lease: Sendable {
    private struct State {
        var root: ExportRoot?
        var report = ProbeReport()
        var mustProbe = true
        var isStopping = false
    }

    private let session: NFSSession
    private let configuration: ClientConfiguration
    private let logger: Logger
    private let state = Lock(State())
    private let wake = Semaphore()
    private let thread = Lock<OwnedThread?>(nil)

    init(session: NFSSession, configuration: ClientConfiguration, logger: Logger) {
        self.session = session
        self.configuration = configuration
        self.logger = logger
    }

    /// The proved directory; nil while the local road is closed.
    var root: ExportRoot? { state.withLock { $0.root } }

    var report: ProbeReport { state.withLock { $0.report } }

    /// Why there is no root.
    var reason: FallbackReason {
        if case .remote(let reason) = report.locality { return reason }
        return .leaseRevoked
    }

    /// Probes once, then watches. The client must call `stop`.
    func start(_ client: LocalIOClient) -> Bool {
        probe()
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

    private func probe() {
        let (report, root) = LocalityProbe(
            session: session, setting: configuration.locality, logger: logger
        ).run()
        state.withLock { state in
            state.report = report
            state.root = root
            state.mustProbe = false
        }
        for step in report.steps {
            logger.debug("probe: \(step.name): \(step.outcome) (\(step.duration))")
        }
    }

    /// Stops new local I/O at once; what is in flight ends on its own.
    private func revoke(_ client: LocalIOClient, _ why: String) {
        let wasLocal = state.withLock { state in
            guard state.root != nil else { return false }
            state.root = nil
            state.report.locality = .remote(.leaseRevoked)
            state.mustProbe = true
            return true
        }
        guard wasLocal else { return }
        client.revokeLocalFiles()
        logger.notice("local I/O to \(session.url) is off: \(why)")
        wake.signal()
    }

    private func watch(_ client: LocalIOClient?) {
        weak let weakClient = client
        var backoff = configuration.probeBackoff.lowerBound
        while !state.withLock({ $0.isStopping }) {
            let mustProbe = state.withLock { $0.mustProbe }
            _ = wake.wait(timeout: mustProbe ? backoff : configuration.heartbeatInterval)
            guard let client = weakClient, !state.withLock({ $0.isStopping }) else { return }
            guard state.withLock({ $0.mustProbe }) else {
                if root != nil && !answers() { revoke(client, "the server does not answer") }
                continue
            }
            guard session.isConnected, answers() else { continue }
            probe()
            if root != nil {
                client.reopenLocalFiles()
                backoff = configuration.probeBackoff.lowerBound
                logger.notice("local I/O to \(session.url) is on again")
            } else {
                state.withLock { $0.mustProbe = true }
                backoff = min(backoff * 2, configuration.probeBackoff.upperBound)
            }
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
    }
}

// The thread that watches the server: is it there, does it still export, does it still allow?
internal import AgentProtocol
internal import Logging
internal import NFSClient
internal import NFSTypes
internal import Threads

/// Watches the agent's own server and revokes what has lost its ground.
final class AgentWatcher: Sendable {
    private struct State {
        var isStopping = false
        /// Exports whose connection broke since the last look.
        var lost: Set<UInt32> = []
        var nextRejudgement = ContinuousClock.now
        var nextExportList = ContinuousClock.now
        /// Complaints that were logged already.
        var complaints: [UInt32: AgentDenial] = [:]
    }

    private let core: AgentCore
    private let bell = Semaphore()
    private let state = Lock(State())

    init?(core: AgentCore) {
        self.core = core
        let now = ContinuousClock.now
        state.withLock { state in
            state.nextRejudgement = now + core.configuration.intervals.rejudge
            state.nextExportList = now + core.configuration.intervals.exportList
        }
    }

    func stop() {
        state.withLock { $0.isStopping = true }
        bell.signal()
    }

    func wake() { bell.signal() }

    func run() {
        while !state.withLock({ $0.isStopping }) {
            look()
            _ = bell.wait(timeout: core.configuration.intervals.heartbeat)
        }
    }

    /// One look at everything that is due.
    func look() {
        let intervals = core.configuration.intervals
        beat()
        connect()
        let now = ContinuousClock.now
        let (rejudges, lists) = state.withLock { state in
            let due = (state.nextRejudgement <= now, state.nextExportList <= now)
            if due.0 { state.nextRejudgement = now + intervals.rejudge }
            if due.1 { state.nextExportList = now + intervals.exportList }
            return due
        }
        if lists { compareExports() }
        if rejudges { rejudge() }
    }

    /// Finds out whether the server still answers, and takes everything back if not.
    private func beat() {
        let lost = state.withLock { state in
            defer { state.lost = [] }
            return state.lost
        }
        let connected = core.exports.filter { $0.condition == .up }
        guard let first = connected.first else { return }
        var isDead = connected.contains { lost.contains($0.id) }
        if !isDead, let session = first.session {
            do throws(RPCError) {
                try session.performBlocking(.null)
            } catch {
                isDead = true
            }
        }
        guard isDead else { return }
        core.logger.notice("the server is gone")
        core.counters.count(\.serverLosses)
        // Grants that are under way fail by the epoch; only then is everything taken back.
        let sessions = connected.map { $0.disconnect(.down) }
        core.revokeAll()
        for session in sessions { AgentExport.close(session) }
    }

    private func connect() {
        if core.exports.isEmpty, core.configuration.exports.isEmpty {
            if let found = try? AgentExports.make(core.configuration, keeping: []) {
                core.setExports(found)
            }
        }
        for export in core.exports where export.condition == .down {
            if state.withLock({ $0.isStopping }) { return }
            let id = export.id
            do throws(AgentDenial) {
                try export.connect(logger: core.logger) { [weak self] in self?.noteLoss(id) }
                state.withLock { $0.complaints[id] = nil }
                core.logger.info("export ready", metadata: ["export": "\(export.mapping.path)"])
            } catch {
                complain(export, error)
                if error.reason == .serverGone { return }
            }
        }
    }

    private func noteLoss(_ id: UInt32) {
        state.withLock { _ = $0.lost.insert(id) }
        bell.signal()
    }

    private func complain(_ export: AgentExport, _ error: AgentDenial) {
        let isNew = state.withLock { state in
            defer { state.complaints[export.id] = error }
            return state.complaints[export.id]?.reason != error.reason
        }
        guard isNew else { return }
        core.logger.warning(
            "export not served",
            metadata: ["export": "\(export.mapping.path)", "reason": "\(error.text)"])
    }

    /// Exports that the server lists no longer are revoked; one that is back is connected again.
    private func compareExports() {
        guard
            let listed = try? NFSSession.exportsBlocking(
                of: AgentExport.url("/", core.configuration),
                timeout: core.configuration.intervals.serverTimeout)
        else { return }
        let paths = Set(listed.map(\.directory))
        for export in core.exports {
            let isListed = paths.contains { path in
                export.mapping.path == path || path == "/"
                    || export.mapping.path.hasPrefix(path + "/")
            }
            switch export.condition {
            case .up where !isListed: core.revoke(export, .removed)
            case .removed where isListed: AgentExport.close(export.disconnect(.down))
            default: break
            }
        }
    }

    /// Asks the server again about every file that is open.
    private func rejudge() {
        for question in core.opens.questions() {
            if state.withLock({ $0.isStopping }) { return }
            do throws(AgentDenial) {
                _ = try question.export.judge(
                    Judgements.Question(
                        handle: question.handle, access: question.access,
                        peer: question.client.peer.credentials))
            } catch {
                // A server that does not answer is the next heartbeat's business.
                if error.reason == .serverGone { return wake() }
                core.logger.info(
                    "file revoked", metadata: ["reason": "\(error.reason.name)"])
                core.revoke(question)
            }
        }
    }
}

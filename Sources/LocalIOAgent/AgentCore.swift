// What all threads of an agent share, and how an OPEN is answered.
internal import AgentProtocol
internal import DequeModule
internal import LocalIOServer
internal import Logging
internal import NFSTypes
internal import Threads

/// One agent's shared state. Any thread.
final class AgentCore: Sendable {
    private struct Work: Sendable {
        let client: AgentClient
        let export: AgentExport
        let request: AgentOpenRequest
        /// The export's, from before the server was asked.
        let epoch: UInt64
        /// What the server said.
        var verdict: Result<FileAttributes, AgentDenial>?
    }

    let configuration: AgentConfiguration
    let nonces: NonceTable
    let logger: Logger
    let opens: OpenTable
    let counters = AgentCounters()
    private let exportList = Lock([AgentExport]())
    private let queue = Lock(Deque<Work>())
    private let queued = Semaphore()
    private let inFlight = Lock(0)
    private let haste = Haste()

    init(configuration: AgentConfiguration, nonces: NonceTable, logger: Logger) {
        self.configuration = configuration
        self.nonces = nonces
        self.logger = logger
        opens = OpenTable(limits: configuration.limits)
    }

    var exports: [AgentExport] { exportList.withLock { $0 } }
    func setExports(_ exports: [AgentExport]) { exportList.withLock { $0 = exports } }

    /// The export that a client mounted by `path`, or by a directory below it.
    func export(_ path: String) -> AgentExport? {
        let bare = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        return exports.filter { export in
            let own = export.mapping.path
            return bare == own || own == "/" || bare.hasPrefix(own + "/")
        }.max { $0.mapping.path.utf8.count < $1.mapping.path.utf8.count }
    }

    // MARK: - OPEN

    /// Takes an OPEN in, or refuses it at once.
    func take(_ request: AgentOpenRequest, from client: AgentClient) {
        let requestID = request.requestID
        guard client.hasProved else {
            return refuse(
                client, requestID, .init(.notConfirmed, "prove locality first: REGISTER, CONFIRM"))
        }
        guard let export = export(request.exportPath) else {
            return refuse(
                client, requestID,
                .init(.unknownExport, "\(request.exportPath) is no export that this agent maps"))
        }
        if let reason = opens.refusal(for: client) {
            return refuse(client, requestID, .init(reason, "the limit of granted opens"))
        }
        // The inode of a grant that still holds is in memory, since it was opened a moment ago:
        // opening it here takes less than waking a worker for it.
        let work = Work(client: client, export: export, request: request, epoch: export.epoch)
        if grantUnasked(work) { return }
        guard client.begin(limit: configuration.limits.inFlightPerClient) else {
            return refuse(client, requestID, .init(.tooManyInFlight, "wait for answers first"))
        }
        let isTaken = inFlight.withLock { count in
            guard count < configuration.limits.inFlight else { return false }
            count += 1
            return true
        }
        guard isTaken else {
            client.end()
            return refuse(client, requestID, .init(.tooManyInFlight, "the agent is busy"))
        }
        // The server is asked from here, so that no worker waits for it.
        export.ask(request, as: client.peer.credentials) { verdict in
            var judged = work
            judged.verdict = verdict
            if self.isAnsweredHere(judged) { return self.end(judged) }
            self.queue.withLock { $0.append(judged) }
            self.queued.signal()
        }
    }

    /// Answers an OPEN by what the server has granted this user a moment ago.
    /// - Returns: false if a worker must ask.
    private func grantUnasked(_ work: Work) -> Bool {
        do throws(AgentDenial) {
            let file = try work.export.openGranted(
                work.request, as: work.client.peer.credentials)
            guard let file else { return false }
            try grant(file, work, isUnasked: true)
            return true
        } catch {
            return false
        }
    }

    /// Hands out an open file.
    private func grant(
        _ file: consuming FoundFile, _ work: Work, isUnasked: Bool
    ) throws(AgentDenial) {
        let record = OpenRecord(
            client: work.client, export: work.export, handle: work.request.handle,
            access: work.request.access)
        try opens.grant(record, epoch: work.epoch, request: work.request, file: file)
        counters.opened(isUnasked: isUnasked)
    }

    private func refuse(_ client: AgentClient, _ requestID: UInt64, _ denial: AgentDenial) {
        counters.refused(denial.reason)
        client.send(
            .refused(requestID: requestID, reason: denial.reason, text: denial.text))
    }

    /// A worker thread's body.
    func answerOpens() {
        while true {
            queued.wait()
            guard let work = queue.withLock({ $0.popFirst() }) else { return }
            if !work.client.isDead {
                do throws(AgentDenial) {
                    try answer(work, mayAsk: true)
                } catch {
                    refuse(work, error)
                }
            }
            end(work)
        }
    }

    /// Answers on the session's thread, if that needs nobody else: an inode that the server has
    /// just looked at is nearly always in memory. If it was not, the disk may be slow, and the
    /// workers wait for it for a while.
    /// - Returns: false if a worker is to do it.
    private func isAnsweredHere(_ work: Work) -> Bool {
        guard case .success = work.verdict else {
            do throws(AgentDenial) { _ = try work.verdict?.get() } catch { refuse(work, error) }
            return true
        }
        guard haste.isAllowed, !work.client.isDead else { return false }
        let start = ContinuousClock.now
        defer { haste.took(.now - start) }
        do throws(AgentDenial) {
            try answer(work, mayAsk: false)
        } catch {
            if error.reason == .differentFile { return false }
            refuse(work, error)
        }
        return true
    }

    private func answer(_ work: Work, mayAsk: Bool) throws(AgentDenial) {
        guard let verdict = work.verdict else { return }
        let file = try work.export.open(
            work.request, as: work.client.peer.credentials, judged: try verdict.get(),
            epoch: work.epoch, mayAsk: mayAsk)
        try grant(file, work, isUnasked: false)
    }

    private func refuse(_ work: Work, _ denial: AgentDenial) {
        logger.debug(
            "refused", metadata: ["reason": "\(denial.reason.name)", "text": "\(denial.text)"])
        refuse(work.client, work.request.requestID, denial)
    }

    /// Counts an OPEN out.
    private func end(_ work: Work) {
        work.client.end()
        inFlight.withLock { $0 -= 1 }
    }

    /// Lets the workers return.
    func stop(workerCount: Int) {
        queue.withLock { $0 = [] }
        for _ in 0..<workerCount { queued.signal() }
    }

    // MARK: - Revocation

    /// The server is gone, or the agent ends.
    func revokeAll(closing: Bool = false) {
        let count = opens.revoke(.all, closing: closing) { _ in true }
        if count > 0 { counters.revoked(opens: count) }
    }

    func revoke(_ export: AgentExport, _ condition: AgentExport.Condition) {
        let session = export.disconnect(condition)
        let count = opens.revoke(.export(export.id)) { $0.export === export }
        if count > 0 { counters.revoked(opens: count) }
        AgentExport.close(session)
        logger.notice("export revoked", metadata: ["export": "\(export.mapping.path)"])
    }

    /// The server lets this client have the file no longer.
    func revoke(_ record: OpenRecord) {
        let count = opens.revoke(.handle(record.handle)) {
            $0.client === record.client && $0.handle == record.handle
        }
        if count > 0 { counters.revoked(opens: count) }
    }
}

/// Whether opening files is quick at present. Any thread.
private final class Haste: Sendable {
    private static let limit = Duration.milliseconds(1)
    private static let pause = Duration.seconds(1)
    private let slowUntil = Lock(ContinuousClock.now)

    var isAllowed: Bool { slowUntil.withLock { $0 <= .now } }

    func took(_ duration: Duration) {
        if duration > Self.limit { slowUntil.withLock { $0 = .now + Self.pause } }
    }
}

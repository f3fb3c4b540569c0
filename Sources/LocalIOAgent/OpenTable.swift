// What the agent has handed out: to whom, and what must be taken back when.
internal import AgentProtocol
internal import NFSTypes
internal import Threads

/// One granted open.
struct OpenRecord: Sendable {
    let client: AgentClient
    let export: AgentExport
    let handle: FileHandle
    let access: AgentAccess
}

/// The granted opens. Any thread.
///
/// Answers and revocations are sent with the table's lock held (a send never waits): so a
/// client sees OPENED before the REVOKE that concerns it, and nothing is granted after its
/// ground has gone.
final class OpenTable: Sendable {
    private struct State {
        var next: UInt64 = 1
        var records: [UInt64: OpenRecord] = [:]
        var byClient: [UInt64: Set<UInt64>] = [:]
        var isClosed = false
    }

    private let limits: AgentLimits
    private let state = Lock(State())

    init(limits: AgentLimits) { self.limits = limits }

    var count: Int { state.withLock { $0.records.count } }
    func count(of client: AgentClient) -> Int {
        state.withLock { $0.byClient[client.id]?.count ?? 0 }
    }

    func add(_ client: AgentClient) { state.withLock { $0.byClient[client.id] = [] } }

    /// Forgets a client and what it had.
    func remove(_ client: AgentClient) {
        state.withLock { state in
            for openID in state.byClient.removeValue(forKey: client.id) ?? [] {
                state.records[openID] = nil
            }
        }
    }

    /// Room for one more, before the work of opening.
    func refusal(for client: AgentClient) -> AgentRefusal? {
        state.withLock { Self.refusal($0, client, limits) }
    }

    private static func refusal(
        _ state: borrowing State, _ client: AgentClient, _ limits: AgentLimits
    ) -> AgentRefusal? {
        if state.isClosed { return .shuttingDown }
        let own = state.byClient[client.id]?.count ?? 0
        let isFull = state.records.count >= limits.opens || own >= limits.opensPerClient
        return isFull ? .tooManyOpens : nil
    }

    /// Notes an open and sends it.
    /// - Parameter epoch: the export's, from before the server was asked.
    func grant(
        _ record: OpenRecord, epoch: UInt64, request: AgentOpenRequest, file: consuming FoundFile
    ) throws(AgentDenial) {
        let isDirect = file.isDirect
        let attributes = file.attributes
        let descriptors = file.takeDescriptors()
        let denial: AgentDenial? = state.withLock { state in
            if let reason = Self.refusal(state, record.client, limits) {
                return AgentDenial(reason, "this agent has no room for it")
            }
            guard record.export.epoch == epoch, record.export.condition == .up else {
                return AgentDenial(.serverGone, "the server went away meanwhile; try later")
            }
            guard state.byClient[record.client.id] != nil else {
                return AgentDenial(.shuttingDown, "the client has gone")
            }
            let openID = state.next
            state.next += 1
            state.records[openID] = record
            state.byClient[record.client.id]?.insert(openID)
            record.client.send(
                .opened(
                    AgentOpenReply(
                        requestID: request.requestID, openID: openID, exportID: record.export.id,
                        access: record.access, isDirect: isDirect,
                        hasBuffered: descriptors.count > 1, attributes: attributes)),
                descriptors: descriptors)
            return nil
        }
        guard let denial else { return }
        for descriptor in descriptors { _ = AgentDescriptor(descriptor) }
        throw denial
    }

    func release(_ openID: UInt64, by client: AgentClient) {
        state.withLock { state in
            guard state.byClient[client.id]?.remove(openID) != nil else { return }
            state.records[openID] = nil
        }
    }

    /// Takes back what `concerns` says and tells each client once per message.
    /// - Returns: how many opens that were.
    @discardableResult
    func revoke(
        _ revocation: AgentRevocation, closing: Bool = false,
        _ concerns: (OpenRecord) -> Bool
    ) -> Int {
        state.withLock { state in
            if closing { state.isClosed = true }
            var clients: [UInt64: AgentClient] = [:]
            let gone = state.records.filter { concerns($0.value) }
            for (openID, record) in gone {
                state.records[openID] = nil
                state.byClient[record.client.id]?.remove(openID)
                clients[record.client.id] = record.client
            }
            for client in clients.values { client.send(.revoke(revocation)) }
            return gone.count
        }
    }

    /// One open for each different question to the server.
    func questions() -> [OpenRecord] {
        struct Question: Hashable {
            let client: UInt64
            let handle: FileHandle
            let access: AgentAccess
        }
        let records = state.withLock { Array($0.records.values) }
        var seen = Set<Question>()
        return records.filter { record in
            seen.insert(
                Question(
                    client: record.client.id, handle: record.handle, access: record.access)
            ).inserted
        }
    }
}

extension FoundFile {
    /// The descriptors, which the caller now owns: direct first.
    consuming func takeDescriptors() -> [Int32] {
        let first = direct.take()
        guard let second = buffered?.take() else { return [first] }
        return [first, second]
    }
}

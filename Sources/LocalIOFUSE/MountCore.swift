// What all operations of a mount share: the client, the nodes, the requests under way.
internal import CLocalIOFUSE
internal import Glibc
internal import LocalIO
internal import Logging
internal import NFSClient
internal import NFSTypes
internal import Synchronization
internal import Threads

/// The translator between the kernel's requests and the client. Any thread.
final class MountCore: Sendable {
    private struct Watched {
        let request: Request
        var task: Task<Void, Never>?
    }

    let configuration: MountConfiguration
    let client: LocalIOClient
    let nodes: NodeTable
    let logger: Logger
    let counters = OperationCounters()
    let dataPath = DataGate()
    /// Open files that the kernel reads and writes by itself.
    let passedThroughCount = Atomic<Int>(0)
    let hasWarnedOfPassage = Atomic<Bool>(false)
    /// Files that were unlinked while open and are not removed yet.
    let hidden = Lock(0)
    private let watched = Lock<[UInt64: Watched]>([:])
    private let nextNumber = Atomic<UInt64>(1)
    let startedAt = ContinuousClock.now
    let facts = Lock(MountFacts())

    init(
        configuration: MountConfiguration, client: LocalIOClient, root: FileAttributes,
        logger: Logger
    ) {
        self.configuration = configuration
        self.client = client
        self.logger = logger
        nodes = NodeTable(root: client.session.root, fileID: root.fileID)
    }

    // MARK: - Requests

    /// Makes the request an object that a killed caller's answer can reach.
    func request(_ operation: clfuse_operation) -> Request? {
        guard let raw = unsafe operation.request else { return nil }
        var groups: [UInt32] = []
        if operation.uid != 0 {
            unsafe withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { room in
                let count = unsafe clfuse_request_groups(raw, room.baseAddress, Int32(room.count))
                if count > 0 { groups = unsafe Array(room.prefix(Int(count))) }
            }
        }
        let number = nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue
        let request = unsafe Request(
            RawRequest(pointer: raw), number: number,
            credentials: Credentials(uid: operation.uid, gid: operation.gid, groups: groups)
        ) {
            // Not weak: a side table would slow down every count of references to the core, and
            // the request goes from `watched` with its answer.
            self.answered($0)
        }
        watched.withLock { $0[number] = Watched(request: request) }
        unsafe clfuse_request_watch(raw, number)
        return request
    }

    private func answered(_ number: UInt64) {
        _ = watched.withLock { $0.removeValue(forKey: number) }
    }

    /// The caller of a request has been killed: it is answered now, whatever becomes of the call.
    func killed(_ number: UInt64) {
        guard let watched = watched.withLock({ $0[number] }) else { return }
        watched.request.fail(EINTR)
        watched.task?.cancel()
    }

    /// Runs an operation as a task.
    func run(
        _ operation: clfuse_operation,
        _ body: @escaping @Sendable (MountCore, Request) async throws(MountError) -> Void
    ) {
        guard let request = request(operation) else { return }
        counters.began()
        let task = Task {
            do throws(MountError) {
                try await body(self, request)
                // Only an operation that forgot to answer gets here unanswered.
                request.fail(EIO)
            } catch {
                request.fail(error.errno)
            }
            self.counters.ended()
        }
        watched.withLock { $0[request.number]?.task = task }
    }

    // MARK: - Calls

    var session: NFSSession { client.session }

    /// Runs a call that may be sent twice.
    func call<Reply: Sendable>(
        _ call: NFSCall<Reply>, as credentials: Credentials
    ) async throws(MountError) -> Reply {
        while true {
            do throws(RPCError) {
                return try await session.perform(call, credentials: credentials)
            } catch {
                guard isHard, !Task.isCancelled, await mayRepeat(error) else {
                    throw MountError(error)
                }
            }
        }
    }

    /// Runs a call that changes names. If the connection broke before its answer, a hard mount
    /// sends it again, as the kernel's does; an answer of `done` then means that the first one
    /// was carried out.
    /// - Parameter toleratesDone: take `done` for success at the first answer too.
    /// - Returns: nil in that case.
    func change<Reply: Sendable>(
        _ call: NFSCall<Reply>, as credentials: Credentials, done: NFSStatus,
        toleratesDone: Bool = false
    ) async throws(MountError) -> Reply? {
        try await changeNames(done: done, toleratesDone: toleratesDone) {
            [session] () async throws(RPCError) in
            try await session.perform(call, credentials: credentials)
        }
    }

    /// `change` of whatever makes the call.
    func changeNames<Reply: Sendable>(
        done: NFSStatus, toleratesDone: Bool = false,
        _ perform: @Sendable () async throws(RPCError) -> Reply
    ) async throws(MountError) -> Reply? {
        var isRepeated = toleratesDone
        while true {
            do throws(RPCError) {
                return try await perform()
            } catch {
                if isRepeated && error.isAnswer(done) { return nil }
                guard isHard, !Task.isCancelled, await mayRepeat(error) else {
                    throw MountError(error)
                }
                isRepeated = true
            }
        }
    }

    private var isHard: Bool { configuration.client.session.recovery == .hard }

    private func mayRepeat(_ error: RPCError) async -> Bool {
        switch error.cause {
        case .connectionLost, .timedOut: return true
        case .busy:
            try? await Task.sleep(for: .milliseconds(10))
            return true
        default: return false
        }
    }

    /// A node the kernel named; ESTALE for one that is not known.
    func node(_ id: UInt64) throws(MountError) -> Node {
        guard let node = nodes.node(id) else { throw MountError(ESTALE) }
        return node
    }

    func attributes(
        of handle: FileHandle, _ known: FileAttributes?, as credentials: Credentials
    ) async throws(MountError) -> FileAttributes {
        if let known { return known }
        return try await call(.getAttributes(handle), as: credentials)
    }
}

/// How many operations are under way, and how many there were.
final class OperationCounters: Sendable {
    private let active = Atomic<Int>(0)
    private let total = Atomic<UInt64>(0)

    func began() {
        active.add(1, ordering: .relaxed)
        total.add(1, ordering: .relaxed)
    }
    func ended() { active.subtract(1, ordering: .releasing) }

    var activeCount: Int { active.load(ordering: .acquiring) }
    var totalCount: UInt64 { total.load(ordering: .relaxed) }
}

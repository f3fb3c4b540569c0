// One export: its directory here, the session with its server, and the server's judgement.
internal import AgentProtocol
internal import CLinux
internal import Logging
package import NFSClient
internal import NFSTypes
internal import Threads

/// An export that files are handed out of. Any thread.
package final class AgentExport: Sendable {
    /// Whether OPENs are taken.
    enum Condition: Sendable, Hashable {
        /// Not connected yet, or the server is gone.
        case down
        case up
        /// The server exports it no longer.
        case removed
    }

    private struct State {
        var condition = Condition.down
        var session: NFSSession?
        var root: DecodedHandle?
        var finder: FileFinder
        /// Grows each time files of this export are revoked.
        var epoch: UInt64 = 0
    }

    package let id: UInt32
    package let mapping: ExportMapping
    private let configuration: AgentConfiguration
    private let state: Lock<State>
    private let judgements: Judgements

    package init(
        id: UInt32, mapping: ExportMapping, configuration: AgentConfiguration
    ) throws(AgentError) {
        self.id = id
        self.mapping = mapping
        self.configuration = configuration
        judgements = Judgements(lifetime: configuration.intervals.rejudge)
        state = Lock(State(finder: try FileFinder(directory: mapping.directory)))
    }

    var condition: Condition { state.withLock { $0.condition } }
    var isExported: Bool { condition != .removed }
    var epoch: UInt64 { state.withLock { $0.epoch } }
    var session: NFSSession? { state.withLock { $0.session } }

    /// The URL of the export at the agent's own server.
    package static func url(_ path: String, _ configuration: AgentConfiguration) -> NFSURL {
        NFSURL(
            host: configuration.serverAddress, exportPath: path, nfsPort: configuration.nfsPort,
            mountPort: configuration.mountPort)
    }

    /// How the agent talks to its server: soft, so that a dead server shows at once.
    package static func sessionConfiguration(
        _ configuration: AgentConfiguration
    ) -> SessionConfiguration {
        SessionConfiguration(
            connections: 1, requestTimeout: configuration.intervals.serverTimeout,
            connectTimeout: configuration.intervals.serverTimeout, recovery: .soft(retries: 0))
    }

    /// Mounts, and proves that the directory is the export's.
    /// - Parameter lost: runs on the session's thread when its connection breaks.
    func connect(
        logger: Logger, lost: @escaping @Sendable () -> Void
    ) throws(AgentDenial) {
        // Opened again each time: something may have been mounted there meanwhile.
        let finder: FileFinder
        do throws(AgentError) {
            finder = try FileFinder(directory: mapping.directory)
        } catch {
            throw AgentDenial(.cannotFind, error.description)
        }
        let session: NFSSession
        do throws(RPCError) {
            session = try NFSSession.connectBlocking(
                to: Self.url(mapping.path, configuration),
                configuration: Self.sessionConfiguration(configuration), logger: logger)
        } catch {
            if case .mountRefused = error.cause {
                throw AgentDenial(.unknownExport, error.description)
            }
            throw AgentDenial(.serverGone, error.description)
        }
        do throws(AgentDenial) {
            try prove(session, finder)
        } catch {
            session.closeBlocking()
            throw error
        }
        session.setConnectionObserver { if case .lost = $0 { lost() } }
        state.withLock { state in
            state.session = session
            state.root = DecodedHandle(session.root)
            state.finder = finder
            state.condition = .up
        }
    }

    /// The export's root at the server must be the directory here.
    private func prove(_ session: NFSSession, _ finder: FileFinder) throws(AgentDenial) {
        let attributes: FileAttributes
        do throws(RPCError) {
            attributes = try session.performBlocking(.getAttributes(session.root))
        } catch {
            throw AgentDenial(.serverGone, error.description)
        }
        guard attributes.type == .directory, attributes.fileID == finder.inode else {
            throw AgentDenial(
                .differentFile,
                "\(finder.directory) has inode \(finder.inode), the server's \(mapping.path) "
                    + "has \(attributes.fileID): map it to the directory that the server exports")
        }
        guard let decoded = DecodedHandle(session.root), decoded.hasKernelHandle,
            let own = finder.kernelHandle
        else { return }
        guard own.type == decoded.kernelType, own.bytes == decoded.kernelBytes else {
            throw AgentDenial(
                .differentFile,
                "\(finder.directory) and the server's \(mapping.path) are different directories "
                    + "with one inode number: map it to the directory that the server exports")
        }
    }

    /// Takes no more OPENs; what was judged before counts no more.
    /// - Returns: the session, for `close` once everyone has been told: closing waits.
    func disconnect(_ condition: Condition) -> NFSSession? {
        state.withLock { state in
            defer {
                state.session = nil
                state.condition = condition
                state.epoch += 1
            }
            return state.session
        }
    }

    static func close(_ session: NFSSession?) {
        session?.setConnectionObserver(nil)
        session?.closeBlocking()
    }

    // MARK: - OPEN

    /// Asks the server what it grants the caller: `completion` is called once, on the session's
    /// thread or, if there is nothing to ask, on this one; it must not wait. Never waits.
    func ask(
        _ request: AgentOpenRequest, as peer: Credentials,
        completion: @escaping @Sendable (Result<FileAttributes, AgentDenial>) -> Void
    ) {
        do throws(AgentDenial) {
            try check(request)
        } catch {
            return completion(.failure(error))
        }
        judge(
            Judgements.Question(handle: request.handle, access: request.access, peer: peer),
            completion: completion)
    }

    /// What can be told without the server.
    private func check(_ request: AgentOpenRequest) throws(AgentDenial) {
        let (condition, root) = state.withLock { ($0.condition, $0.root) }
        switch condition {
        case .up: break
        case .down: throw Self.serverGone
        case .removed: throw AgentDenial(.unknownExport, "the server exports it no longer")
        }
        try FileFinder.check(hint: request.pathHint)
        guard let root else { return }
        let decoded = DecodedHandle(request.handle)
        guard let decoded, decoded.server == root.server, decoded.scope == root.scope else {
            throw AgentDenial(.foreignHandle, "that is no handle of \(mapping.path)")
        }
    }

    /// What the server grants, asked in one call: the attributes come with ACCESS (RFC 1813,
    /// section 3.3.4), or by GETATTR from a server that leaves them out.
    private func judge(
        _ question: Judgements.Question,
        completion: @escaping @Sendable (Result<FileAttributes, AgentDenial>) -> Void
    ) {
        guard let session else {
            return completion(.failure(Self.serverGone))
        }
        let (handle, rights, peer) = (question.handle, question.access.rights, question.peer)
        let judgements = judgements
        @Sendable func deny(_ denial: AgentDenial) {
            judgements.forget(question)
            completion(.failure(denial))
        }
        session.start(.access(handle, rights), credentials: peer) { answer in
            switch answer {
            case .failure(let error): deny(Self.denial(error))
            case .success(let reply) where !reply.granted.isSuperset(of: rights):
                deny(
                    AgentDenial(
                        .serverDenied, "the server does not let uid \(peer.uid) open it like that"))
            case .success(let reply):
                if let attributes = reply.attributes { return completion(.success(attributes)) }
                session.start(.getAttributes(handle), credentials: peer) { answer in
                    switch answer {
                    case .success(let attributes): completion(.success(attributes))
                    case .failure(let error): deny(Self.denial(error))
                    }
                }
            }
        }
    }

    /// The same; waits for the server.
    func judge(_ question: Judgements.Question) throws(AgentDenial) -> FileAttributes {
        let verdict = Answer<FileAttributes, AgentDenial>(unanswered: Self.serverGone)
        judge(question) { verdict.set($0) }
        return try verdict.wait()
    }

    private static let serverGone = AgentDenial(
        .serverGone, "the server does not answer; try later")

    private static func denial(_ error: RPCError) -> AgentDenial {
        let reason: AgentRefusal =
            switch error.status {
            case .some(.stale): .staleHandle
            case .some(.badHandle), .some(.invalid), .some(.badType), .some(.serverFault):
                .badHandle
            case .some(.jukebox): .serverGone
            case .some: .serverDenied
            case .none: .serverGone
            }
        return AgentDenial(reason, error.description)
    }

    /// Finds and opens what the server has just granted.
    ///
    /// - Parameters:
    ///   - epoch: from before the server was asked.
    ///   - mayAsk: the server may be asked once more, and waited for, if another file seems to be
    ///     at the path; else `differentFile` is no last word.
    func open(
        _ request: AgentOpenRequest, as peer: Credentials, judged: FileAttributes, epoch: UInt64,
        mayAsk: Bool
    ) throws(AgentDenial) -> FoundFile {
        let finder = state.withLock { $0.finder }
        let question = Judgements.Question(
            handle: request.handle, access: request.access, peer: peer)
        var attributes = judged
        guard attributes.type == .regular else {
            throw AgentDenial(.notRegularFile, "only regular files are handed out")
        }
        let candidate = try finder.find(
            DecodedHandle(request.handle), hint: request.pathHint, finding: configuration.finding)
        let status: clinux_stat
        do throws(AgentDenial) {
            status = try FileFinder.verify(candidate, attributes)
        } catch {
            guard mayAsk, error.reason == .differentFile, !candidate.isProved else {
                throw error
            }
            // The server may have believed attributes of long ago: let it look again.
            refresh(request.handle)
            attributes = try judge(question)
            status = try FileFinder.verify(candidate, attributes)
        }
        if candidate.isProved {
            judgements.keep(question, attributes, epoch: epoch, status: status)
        }
        return try FileFinder.open(
            candidate, attributes, access: request.access, wantsBuffered: request.wantsBuffered)
    }

    /// Opens what the server has granted this caller a moment ago, if nothing says that it would
    /// not again; nil: ask it.
    func openGranted(
        _ request: AgentOpenRequest, as peer: Credentials
    ) throws(AgentDenial) -> FoundFile? {
        let question = Judgements.Question(
            handle: request.handle, access: request.access, peer: peer)
        let (finder, epoch) = state.withLock { ($0.finder, $0.epoch) }
        guard let attributes = judgements.attributes(question, epoch: epoch) else { return nil }
        let candidate = try finder.find(
            DecodedHandle(request.handle), hint: request.pathHint, finding: configuration.finding)
        let status = try FileFinder.verify(candidate, attributes)
        guard candidate.isProved, Judgements.isSame(attributes, status) else {
            judgements.forget(question)
            return nil
        }
        return try FileFinder.open(
            candidate, attributes, access: request.access, wantsBuffered: request.wantsBuffered)
    }

    /// COMMIT makes servers that cache attributes look at the file, and changes nothing.
    private func refresh(_ handle: FileHandle) {
        guard let session else { return }
        _ = try? session.performBlocking(.commit(handle))
    }
}

// The agent: starts its threads, stops them, and takes another configuration.
package import LocalIOServer
package import Logging
internal import Metrics
internal import NFSClient
internal import Threads

/// An agent beside one NFS server on this host.
///
/// Threads: one reads all clients (`AgentReactor`), some answer OPENs, one watches the server
/// (`AgentWatcher`), and those of the LOCALIO program. Methods may be called from any thread.
package final class Agent: Sendable {
    private struct Running {
        let core: AgentCore
        let reactor: AgentReactor
        let watcher: AgentWatcher
        let program: LocalIOProgramServer?
        let threads: [OwnedThread]
    }

    package let configuration: AgentConfiguration
    private let nonces: NonceTable
    /// The embedded server in this process answers UUID_IS_LOCAL on its own port.
    private let isEmbedded: Bool
    private let logger: Logger
    private let running = Lock(Running?.none)

    /// - Parameter nonces: those that an embedded server in this process claims; nil to answer
    ///   the LOCALIO program on a port of its own.
    package init(
        _ configuration: AgentConfiguration, nonces: NonceTable? = nil,
        logger: Logger = Logger(label: "localio.agent")
    ) {
        self.configuration = configuration
        self.logger = logger
        isEmbedded = nonces != nil
        self.nonces =
            nonces
            ?? NonceTable(
                limits: configuration.limits.nonces,
                comparesAddresses: configuration.comparesAddresses)
    }

    deinit { stop() }

    /// Listens, and answers from then on. The server need not run yet.
    package func start() throws(AgentError) {
        guard running.withLock({ $0 == nil }) else {
            throw AgentError("this agent was started before")
        }
        let socket = try AgentSocketFile(configuration)
        let core = AgentCore(configuration: configuration, nonces: nonces, logger: logger)
        core.setExports(try AgentExports.make(configuration, keeping: []))
        let program = try startProgram()
        guard let reactor = AgentReactor(core: core, socket: socket),
            let watcher = AgentWatcher(core: core)
        else { throw AgentError("the system gives no more descriptors") }
        // The first look at the server is over before anyone is answered.
        watcher.look()
        var threads: [OwnedThread?] = (0..<configuration.workers).map { number in
            OwnedThread(name: "localio-open-\(number)") { core.answerOpens() }
        }
        threads.append(OwnedThread(name: "localio-agent") { reactor.run() })
        threads.append(OwnedThread(name: "localio-watch") { watcher.run() })
        let running = Running(
            core: core, reactor: reactor, watcher: watcher, program: program,
            threads: threads.compactMap { $0 })
        guard running.threads.count == threads.count else {
            Self.stop(running)
            throw AgentError("the system gives no more threads")
        }
        self.running.withLock { $0 = running }
        logger.info("agent listens", metadata: ["socket": "\(configuration.socketPath)"])
    }

    private func startProgram() throws(AgentError) -> LocalIOProgramServer? {
        if isEmbedded { return nil }
        do throws(ServerError) {
            let program = try LocalIOProgramServer(
                nonces: nonces, address: configuration.programAddress,
                port: configuration.programPort, logger: logger)
            if configuration.registersProgram, !program.register() {
                logger.notice(
                    "no portmapper took the LOCALIO program: clients need its port",
                    metadata: ["port": "\(program.port)"])
            }
            return program
        } catch {
            throw AgentError("the LOCALIO program: \(error)")
        }
    }

    /// The port of the LOCALIO program; nil when not running or at the embedded server's port.
    package var programPort: Int? { running.withLock { $0?.program?.port } }

    /// Revokes everything, closes all connections and joins all threads.
    package func stop() {
        let running = running.withLock { running in
            defer { running = nil }
            return running
        }
        guard let running else { return }
        Self.stop(running)
        logger.info("agent stopped")
    }

    private static func stop(_ running: Running) {
        running.watcher.stop()
        running.core.revokeAll(closing: true)
        running.reactor.stop()
        running.core.stop(workerCount: running.core.configuration.workers)
        for thread in running.threads { thread.join() }
        running.program?.stop()
        for export in running.core.exports { AgentExport.close(export.disconnect(.down)) }
    }

    /// Takes the exports of another configuration; what else changed needs a restart.
    package func reload(_ new: AgentConfiguration) throws(AgentError) {
        guard let running = running.withLock({ $0 }) else { return }
        let old = running.core.exports
        let exports = try AgentExports.make(new, keeping: old)
        running.core.setExports(exports)
        for export in old where !exports.contains(where: { $0 === export }) {
            running.core.revoke(export, .removed)
        }
        running.watcher.wake()
        logger.info("configuration read again", metadata: ["exports": "\(exports.count)"])
    }

    /// The answer to STATUS.
    package var statusJSON: String {
        guard let running = running.withLock({ $0 }) else { return "{}" }
        return AgentStatus.json(running.core, clients: running.reactor.clientSummaries)
    }
}

/// The exports of a configuration.
package enum AgentExports {
    /// Opens the directory of each mapping; those that are the same as before are kept.
    package static func make(
        _ configuration: AgentConfiguration, keeping old: [AgentExport]
    ) throws(AgentError) -> [AgentExport] {
        let mappings =
            configuration.exports.isEmpty ? discover(configuration) : configuration.exports
        var next = (old.map(\.id).max() ?? 0) + 1
        var exports: [AgentExport] = []
        for mapping in mappings {
            if let same = old.first(where: { $0.mapping == mapping && $0.isExported }) {
                exports.append(same)
                continue
            }
            exports.append(
                try AgentExport(id: next, mapping: mapping, configuration: configuration))
            next += 1
        }
        return exports
    }

    /// What the server lists and what is a directory of that name here; each is proved when it
    /// is connected.
    package static func discover(_ configuration: AgentConfiguration) -> [ExportMapping] {
        do throws(RPCError) {
            let listed = try NFSSession.exportsBlocking(
                of: AgentExport.url("/", configuration),
                timeout: configuration.intervals.serverTimeout)
            return listed.map { ExportMapping(path: $0.directory, directory: $0.directory) }
                .filter { (try? FileFinder(directory: $0.directory)) != nil }
        } catch {
            return []
        }
    }
}

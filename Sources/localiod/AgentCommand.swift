// `localiod agent`: the agent as a program, until SIGTERM.
internal import ArgumentParser
internal import LocalIOAgent
internal import Logging
internal import ServiceLifecycle
internal import Threads
internal import UnixSignals

struct AgentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "Hand out local files to clients of the NFS server on this host.",
        discussion: """
            Listens at a Unix socket, asks the NFS server with each client's own credentials, and \
            hands over what the server allows. Every setting is a key of the configuration file, \
            a variable LOCALIO_… of the environment and a flag; the latter count more. SIGTERM \
            and SIGINT end it with exit status 0; SIGHUP makes it read the exports again.
            """)

    @OptionGroup var options: AgentOptions

    func run() throws {
        let settings: AgentConfiguration
        do { settings = try options.configuration() } catch { Complaint.exit("\(error)") }
        var logger = Logger(label: "localiod") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = settings.logLevel
        let agent = Agent(settings, logger: logger)
        let service = AgentService(agent: agent, options: options, logger: logger)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [service], gracefulShutdownSignals: [.sigterm, .sigint],
                logger: logger))
        // The main thread only waits: commands of this program are synchronous.
        let done = Semaphores()
        Task.detached {
            do { try await group.run() } catch { logger.error("\(error)") }
            done.ended.signal()
        }
        done.ended.wait()
        agent.stop()
    }
}

/// A semaphore that closures can share.
private final class Semaphores: Sendable {
    let ended = Semaphore()
}

/// Runs until the graceful shutdown; reads the configuration again at SIGHUP. Starts the agent
/// only here, where all signals are caught already: whoever sees the socket may send them.
private struct AgentService: Service {
    let agent: Agent
    let options: AgentOptions
    let logger: Logger

    func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sighup)
        do throws(AgentError) { try agent.start() } catch { Complaint.exit(error.description) }
        if let port = agent.programPort {
            print("agent at \(agent.configuration.socketPath), LOCALIO at port \(port)")
        }
        Flush.standardOutput()
        for await _ in signals.cancelOnGracefulShutdown() {
            do {
                try agent.reload(try options.configuration())
            } catch {
                logger.error("not reloaded: \(error)")
            }
        }
    }
}

// ArgumentParser keeps a command's options in boxes that it does not call Sendable; nothing
// writes to them after parsing.
extension AgentOptions: @unchecked Sendable {}

// `localiod serve`: the embedded NFSv3 server as a program.
internal import AgentProtocol
internal import ArgumentParser
internal import Glibc
internal import LocalIOAgent
internal import LocalIOServer
internal import Logging

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve a directory by NFSv3.",
        discussion: """
            NFS, MOUNT and LOCALIO answer on one TCP port, without rpcbind. The directory is \
            exported under its absolute path, and the URL to use is printed once the server \
            listens. Run by root, each call acts as the user its AUTH_SYS credentials name, \
            root included; run by anyone else, every call acts as that user, so keep it on \
            loopback. SIGTERM and SIGINT end it with exit status 0.
            """)

    @Argument(help: ArgumentHelp("The directory to serve.", valueName: "DIR"))
    var directory: String

    @Option(help: "The TCP port; 0 takes any free one.")
    var port = 0

    @Option(
        name: .customLong("port-file"),
        help: ArgumentHelp(
            "A file that gets the port once the server listens, and goes when it stops.",
            valueName: "FILE"))
    var portFile: String?

    @Option(help: ArgumentHelp("The address to listen at, in numbers.", valueName: "address"))
    var bind = "127.0.0.1"

    @Option(help: "Threads that carry out calls.")
    var workers = 4

    @Flag(name: .customLong("read-only"), help: "Refuse every change.")
    var readOnly = false

    @Option(
        name: .customLong("log-level"),
        help: "What to log on standard error: trace, debug, info, notice, warning or error.")
    var logLevel = "warning"

    @Flag(help: "Also run an agent for this server, at LOCALIO_SOCKET or --agent-socket.")
    var agent = false

    @Option(
        name: .customLong("agent-socket"),
        help: ArgumentHelp("The agent's socket; implies --agent.", valueName: "PATH"))
    var agentSocket: String?

    @OptionGroup(visibility: .hidden)
    var faults: FaultOptions

    func validate() throws {
        guard Logger.Level(rawValue: logLevel) != nil else {
            throw ValidationError(
                "\"\(logLevel)\" is no log level: give trace, debug, info, notice, warning or error"
            )
        }
        try faults.validate()
    }

    func run() throws {
        // Blocked before any thread starts, so that every thread leaves them to the wait below.
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGTERM)
        unsafe sigaddset(&signals, SIGINT)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)

        var logger = Logger(label: "localiod") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = Logger.Level(rawValue: logLevel) ?? .warning
        let nonces = NonceTable()
        let server = EmbeddedServer(
            ServerConfiguration(
                directory: directory, port: port, bindAddress: bind, workers: workers,
                readOnly: readOnly, faults: faults.faults, logger: logger), nonces: nonces)
        do throws(ServerError) {
            try server.start()
        } catch {
            complain(error.description)
        }
        if let portFile, let port = server.port {
            if let complaint = PortFile.write(port, to: portFile) {
                server.stop()
                complain(complaint)
            }
        }
        let agent = startAgent(server, nonces, logger)
        print(server.url ?? "")
        fflush(nil)
        var received: Int32 = 0
        while unsafe sigwait(&signals, &received) != 0 {}
        if let portFile { unsafe unlink(portFile) }
        agent?.stop()
        server.stop()
    }

    /// An agent in this process, whose nonces the server claims on its own port.
    private func startAgent(
        _ server: EmbeddedServer, _ nonces: NonceTable, _ logger: Logger
    ) -> Agent? {
        guard agent || agentSocket != nil, let port = server.port else { return nil }
        var settings = AgentConfiguration()
        settings.socketPath = agentSocket ?? AgentProtocol.socketPath
        settings.serverAddress = bind == "0.0.0.0" ? "127.0.0.1" : bind == "::" ? "::1" : bind
        settings.nfsPort = UInt16(clamping: port)
        settings.mountPort = UInt16(clamping: port)
        let running = Agent(settings, nonces: nonces, logger: logger)
        do throws(AgentError) {
            try running.start()
        } catch {
            server.stop()
            complain(error.description)
        }
        return running
    }

    /// One line on standard error and exit status 1.
    private func complain(_ line: String) -> Never { Complaint.exit(line) }
}

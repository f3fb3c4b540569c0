// `localiod check`: is the configuration right, and is each export the directory it says?
internal import ArgumentParser
internal import LocalIOAgent
internal import Logging

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Validate the agent's configuration against the running server.",
        discussion: """
            Reads the settings as `agent` does, mounts each export and proves that its root is \
            the directory given. Exit status 1 if anything is wrong.
            """)

    @OptionGroup var options: AgentOptions

    func run() throws {
        var logger = Logger(label: "localiod") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .error
        let checks: [AgentCheck]
        do {
            checks = try AgentCheck.run(try options.configuration(), logger: logger)
        } catch {
            Complaint.exit("\(error)")
        }
        for check in checks {
            let mapping = "\(check.mapping.path) = \(check.mapping.directory)"
            if let complaint = check.complaint {
                print("\(mapping): wrong: \(complaint)")
            } else {
                print("\(mapping): right; \(check.text)")
            }
        }
        Flush.standardOutput()
        if checks.contains(where: { $0.complaint != nil }) { throw ExitCode.failure }
    }
}

// The command line of localiod.
internal import ArgumentParser

struct Localiod: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "localiod",
        abstract: "The server's side of LocalIO.",
        subcommands: [Serve.self, AgentCommand.self, CheckCommand.self, StatusCommand.self])
}

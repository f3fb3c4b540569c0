// The words of `localio-bench instructions`, and of the process that it counts.
internal import ArgumentParser
internal import Glibc
internal import LocalIOBench

struct Instructions: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Counts the client's own instructions per I/O on each path.",
        discussion: """
            Runs this program under valgrind --tool=callgrind, for N and for 3N I/Os of 4k \
            beside the embedded server, which is not counted; a path's figure is the difference \
            of the two counts by 2N. For the mount paths the program is localio-mount, and this \
            one calls. Instructions are user-space ones of all the client's threads. They do not \
            depend on how busy the machine is. Use a release build.
            """)

    @Option(
        help: """
            Of inline-read, inline-write, channel-read, channel-write, queued-write, rpc-read, \
            rpc-write, mount-read, mount-write, comma-separated. Default: all.
            """)
    var path: String?
    @Option(help: "I/Os of the short run (N). Default: 2000.")
    var count: String?
    @Option(help: "Times to count each path; the median is reported. Default: 1.")
    var rounds: String?
    @Option(
        help: """
            A file of lines like 'inline-read: 1500', most instructions per I/O, such as \
            Config/instructions.yaml; exit status 1 names each path that takes more.
            """)
    var thresholds: String?
    @Option(help: "Where to make the directory that is exported. Default: TMPDIR or /var/tmp.")
    var directory: String?
    @Flag(help: "Report as JSON.")
    var json = false
    @Option(help: "Write the report to this file instead of standard output.")
    var output: String?

    func run() throws {
        var arguments = InstructionsArguments()
        arguments.path = path
        arguments.count = count
        arguments.rounds = rounds
        arguments.thresholds = thresholds
        arguments.directory = directory
        arguments.json = json
        arguments.output = output
        Glibc.exit(BenchCommand.instructions(arguments))
    }
}

/// The I/Os alone; localio-bench starts itself with it, under valgrind.
struct CountInstructions: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "count-instructions", shouldDisplay: false)

    @Argument var path: String
    @Argument var url: String
    @Option var directory: String
    @Option var count: Int
    @OptionGroup var agent: AgentOptions

    func run() throws {
        Glibc.exit(
            BenchCommand.countInstructions(
                path: path, url: url, directory: directory, count: count,
                agent: agent.choice))
    }
}

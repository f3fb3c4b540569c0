// The command line of localio-bench: words in, one exit status out; LocalIOBench does the rest.
internal import ArgumentParser
internal import Glibc
internal import LocalIOBench

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "localio-bench",
        abstract: "Measures direct local I/O beside loopback NFS on one real file.",
        discussion: """
            Without arguments: the embedded server in a temporary directory, 4k random and 1m \
            sequential, read and write, depths 1 and 16, in about a minute.
            """,
        subcommands: [
            Run.self, Compare.self, Soak.self, Writeback.self, Mounts.self, Instructions.self,
            Probe.self, Open.self, WithMount.self, TryFiles.self, ServeEmbedded.self,
            ServeSlowDisk.self, CountInstructions.self,
        ],
        defaultSubcommand: Run.self)
}

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs the roads raw, localio and rpc side by side (the default).",
        discussion: """
            Options have fio's names and take comma-separated lists where that makes sense. \
            The file is filled with stamped blocks first; after each workload every road reads \
            all of it back and must find each block as it was last written.
            """)

    @Option(help: "Of read, write, randread, randwrite, randrw. Default: all but randrw.")
    var rw: String?
    @Option(help: "Block sizes. Default: 4k for random, 1m for sequential patterns.")
    var bs: String?
    @Option(help: "I/Os in flight per job. Default: 1,16.")
    var iodepth: String?
    @Option(help: "Threads, each with its part of the file. Default: 1.")
    var numjobs: String?
    @Option(help: "The file's size. Default: 64m.")
    var size: String?
    @Option(help: "Time per road and workload, over all rounds. Default: 2s.")
    var runtime: String?
    @Option(help: "Rounds in which the roads take turns. Default: 5.")
    var rounds: String?
    @Option(
        help: """
            Of raw, localio, rpc; also queue (localio through the submission queue, as writeback \
            goes); with --buffered also direct. Default: raw, localio, rpc.
            """)
    var road: String?
    @Flag(
        help: """
            Blocking calls through page caches: raw is the kernel's on the file itself, localio \
            and rpc the client's; direct is O_DIRECT at depth 16 beside them.
            """)
    var buffered = false
    @Option(
        name: .customLong("fsync-every"),
        help: "With --buffered: fsync after so many writes of a job. Default: once a round.")
    var fsyncEvery: String?
    @Option(help: "With --buffered: bytes of a client's page cache. Default: 64m.")
    var cache: String?
    @Flag(help: "With --buffered: every round begins with nothing cached.")
    var cold = false
    @Option(
        name: .customLong("page-cache"),
        help: """
            What this host's kernel has in its page cache of the file when a round begins: drop \
            (nothing), warm (everything) or leave (what the rounds before have left there). \
            Default: drop; not with --buffered.
            """)
    var pageCache: String?
    @Option(help: "What localio does with misaligned I/O: rpc, split or local. Default: local.")
    var policy: String?
    @Option(name: .customLong("offset-misalign"), help: "Bytes to shift every offset by.")
    var offsetMisalign: String?
    @Option(help: "embedded, ganesha (needs root), or the URL of an export. Default: embedded.")
    var server: String?
    @Option(
        help: """
            The directory to export and measure in; with a URL, the export's directory on this \
            host. Default: a temporary directory.
            """)
    var directory: String?
    @Option(help: "Repeats a run's data and offsets. Default: random, and reported.")
    var seed: String?
    @Flag(help: "Also check every block read while measuring (costs CPU time on all roads).")
    var verify = false
    @Option(help: "table, json, csv or markdown. Default: table.")
    var format: String?
    @Option(help: "Write the report to this file instead of standard output.")
    var output: String?

    func run() throws {
        var arguments = BenchArguments()
        arguments.rw = rw
        arguments.bs = bs
        arguments.iodepth = iodepth
        arguments.numjobs = numjobs
        arguments.size = size
        arguments.runtime = runtime
        arguments.rounds = rounds
        arguments.road = road
        arguments.policy = policy
        arguments.misalign = offsetMisalign
        arguments.server = server
        arguments.directory = directory
        arguments.seed = seed
        arguments.verify = verify
        arguments.buffered = buffered
        arguments.fsyncEvery = fsyncEvery
        arguments.cache = cache
        arguments.cold = cold
        arguments.pageCache = pageCache
        arguments.format = format
        arguments.output = output
        Glibc.exit(BenchCommand.run(arguments))
    }
}

struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compares localio with the raw file and loopback RPC over a fixed matrix.",
        discussion: """
            All roads of a cell take turns in every round; ratios of medians come with 95% \
            bootstrap intervals. Exits with 1, naming each bar, if the whole interval of a ratio \
            lies below its bar in the thresholds file. The full matrix takes about half an \
            hour, the quick form less than three minutes.
            """)

    @Flag(help: "Few cells and short rounds, as CI runs it.")
    var quick = false
    @Option(
        help: """
            What the files lie on: disk (a temporary directory), zram or loop:xfs or loop:ext4 \
            (made for the run, need root), or a directory. Default: disk.
            """)
    var device: String?
    @Option(help: "ganesha (needs root) or embedded. Default: ganesha where it can run.")
    var server: String?
    @Option(
        help: """
            Only these, of direct, queue, hot, threads, processor, misaligned, buffered, fsync, \
            growth, open, mount, instructions. Default: all; the quick form lacks threads, \
            processor, mount and instructions.
            """)
    var sections: String?
    @Option(help: "The file's size. Default: 256m, quick 64m.")
    var size: String?
    @Option(help: "Rounds in which the roads take turns, at least 3. Default: 7, quick 5.")
    var rounds: String?
    @Option(help: "Time per road and cell, over all rounds. Default: 1400ms, quick 750ms.")
    var runtime: String?
    @Option(help: "Repeats a run's data and offsets. Default: random, and reported.")
    var seed: String?
    @Option(help: "YAML file with the ratios that must be reached, such as Config/compare.yaml.")
    var thresholds: String?
    @Option(help: "An earlier run's --json, to say what improved and what became slower.")
    var baseline: String?
    @Option(help: "Write the report as JSON to this file.")
    var json: String?
    @Option(help: "Write it as Markdown, fit for a CI summary.")
    var markdown: String?
    @Option(help: "Write it as one self-contained HTML page with plots.")
    var html: String?

    func run() throws {
        var arguments = CompareArguments()
        arguments.isQuick = quick
        arguments.device = device
        arguments.server = server
        arguments.sections = sections
        arguments.size = size
        arguments.rounds = rounds
        arguments.runtime = runtime
        arguments.seed = seed
        arguments.thresholds = thresholds
        arguments.baseline = baseline
        arguments.json = json
        arguments.markdown = markdown
        arguments.html = html
        Glibc.exit(BenchCommand.compare(arguments))
    }
}

struct Writeback: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Big buffered writers beside one small file that is fsynced in a loop.",
        discussion: """
            Reports each side's progress, fsync latency idle and under load, dirty and writeback \
            bytes, throttling and resident memory. As root the device can be slowed, and the \
            memory limited by a control group.
            """)

    @Option(help: "One of raw (the kernel's page cache), localio, rpc. Default: localio.")
    var road: String?
    @Option(help: "Threads, each writing a file of its own. Default: 10.")
    var writers: String?
    @Option(help: "Bytes per write. Default: 256k.")
    var bs: String?
    @Option(help: "Size of each writer's file, written round and round. Default: 64m.")
    var size: String?
    @Option(help: "Time under load. Default: 10s.")
    var runtime: String?
    @Option(help: "Time of the small file alone, before. Default: 3s.")
    var idle: String?
    @Option(help: "Bytes of the client's page cache. Default: 64m.")
    var cache: String?
    @Option(help: "embedded, ganesha (needs root), or the URL of an export. Default: embedded.")
    var server: String?
    @Option(help: "The directory to export and measure in. Default: a temporary directory.")
    var directory: String?
    @Option(
        name: .customLong("file-system"),
        help: "Make one for the run: ext4 or xfs on a loop device, or xfs-zram (needs root).")
    var fileSystem: String?
    @Option(
        name: .customLong("device-limit"),
        help: "Put it on a disk in memory that takes so many bytes a second, such as 20m.")
    var deviceLimit: String?
    @Option(
        name: .customLong("memory-limit"),
        help: "Run in a memory control group of this many bytes, such as 128m (needs root).")
    var memoryLimit: String?
    @Flag(help: "Report as JSON.")
    var json = false
    @Option(help: "Write the report to this file instead of standard output.")
    var output: String?

    func run() throws {
        var arguments = WritebackArguments()
        arguments.road = road
        arguments.writers = writers
        arguments.bs = bs
        arguments.size = size
        arguments.runtime = runtime
        arguments.idle = idle
        arguments.cache = cache
        arguments.server = server
        arguments.directory = directory
        arguments.fileSystem = fileSystem
        arguments.deviceLimit = deviceLimit
        arguments.memoryLimit = memoryLimit
        arguments.json = json
        arguments.output = output
        Glibc.exit(BenchCommand.writeback(arguments))
    }
}

struct Mounts: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount",
        abstract: "Compares the FUSE mount with its rivals on one file system.",
        discussion: """
            In turns, in one run: a directory of the file system itself (plain), localio-mount \
            (localio), the same with the option passthrough (Linux 6.9), the same with locality \
            off (rpc), libfuse's own example passthrough_ll with the kernel's writeback cache, \
            built from the source that libfuse3-dev brings, and fuse-nfs, if it is installed. \
            fio does the I/O. Needs root.
            """)

    @Option(help: "embedded or ganesha. Default: embedded.")
    var server: String?
    @Option(help: "A directory for the files. Default: a temporary directory.")
    var directory: String?
    @Option(help: "Size of each road's file. Default: 256m.")
    var size: String?
    @Option(help: "Time of one round of a random cell. Default: 1s.")
    var runtime: String?
    @Option(help: "Rounds in which the roads take turns. Default: 5.")
    var rounds: String?
    @Option(
        help: """
            Of plain, localio, localio-passthrough, rpc, passthrough_ll and fuse-nfs, with commas \
            between. Default: all there are.
            """)
    var road: String?
    @Option(
        help: """
            Of read and write with -1m-buffered and -1m-direct, and randread and randwrite with \
            -4k-direct-1, -4k-direct-16 and -4k-buffered. Default: all.
            """)
    var cell: String?
    @Option(help: "More -o options for localio-mount.")
    var options: String?
    @Flag(help: "Exit status 1 if a promised ratio is missed.")
    var check = false
    @Flag(help: "Report as JSON.")
    var json = false
    @Option(help: "Write the report to this file instead of standard output.")
    var output: String?

    func run() throws {
        var arguments = MountArguments()
        arguments.server = server
        arguments.directory = directory
        arguments.size = size
        arguments.runtime = runtime
        arguments.rounds = rounds
        arguments.road = road
        arguments.cell = cell
        arguments.options = options
        arguments.json = json
        arguments.check = check
        arguments.output = output
        Glibc.exit(BenchCommand.mount(arguments))
    }
}

struct WithMount: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "with-mount",
        abstract: "Runs a command on private mounts of private servers.",
        discussion: """
            Every server with every locality in turn, each in a temporary directory; {} in the \
            command becomes the mount point. The exit status is the first that was not 0.
            """)

    @Option(help: "Of embedded, ganesha. Default: embedded.")
    var server: String?
    @Option(help: "Of on, off. Default: on.")
    var local: String?
    @Option(help: "More -o options for localio-mount.")
    var options: String?
    @Option(
        name: .customLong("file-system"),
        help: "Export a file system of the run's own: ext4 or xfs on a loop device (needs root).")
    var fileSystem: String?
    @Option(
        name: .customLong("device-limit"),
        help: "Put it on a disk in memory that takes so many bytes a second, such as 20m.")
    var deviceLimit: String?
    @Option(
        name: .customLong("memory-limit"),
        help: "Run mount and command in a memory control group of this many bytes (needs root).")
    var memoryLimit: String?
    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String] = []

    func run() throws {
        var arguments = WithMountArguments()
        arguments.server = server
        arguments.local = local
        arguments.options = options
        arguments.fileSystem = fileSystem
        arguments.deviceLimit = deviceLimit
        arguments.memoryLimit = memoryLimit
        arguments.command = command.first == "--" ? Array(command.dropFirst()) : command
        Glibc.exit(BenchCommand.withMount(arguments))
    }
}

struct Probe: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Says whether an export is local to this host, and why.")

    @Argument(help: "nfs://host[:port]/export[?nfsport=P&mountport=M]")
    var url: String
    @Option(help: "The export's directory on this host, if the server does not tell.")
    var exportRoot: String?

    @OptionGroup var agent: AgentOptions

    func run() throws {
        Glibc.exit(
            BenchCommand.probe(url: url, exportRoot: exportRoot, agent: agent.choice))
    }
}

struct AgentOptions: ParsableArguments {
    @Option(help: "The agent's socket. Default: LOCALIO_SOCKET, else /run/localio/agent.sock.")
    var socket: String?
    @Option(help: "The LOCALIO program's TCP port. Default: what rpcbind says, else 20122.")
    var programPort: UInt16?

    var choice: AgentChoice {
        var choice = AgentChoice()
        choice.socket = socket
        choice.programPort = programPort
        return choice
    }
}

struct Open: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Opens files in a loop: through the agent, by RPC alone, and by open(2).",
        discussion: """
            Prints medians, RPC calls per open and close, and the process's descriptors and \
            resident memory before and after.
            """)

    @Option(help: "embedded, ganesha (needs root), or the URL of an export. Default: embedded.")
    var server: String?
    @Option(help: "With a URL: the export's directory on this host, for open(2).")
    var directory: String?
    @Option(help: "Opens on each road. Default: 10000.")
    var count: Int?
    @OptionGroup var agent: AgentOptions

    func run() throws {
        var arguments = OpenArguments()
        if let server { arguments.server = server }
        arguments.directory = directory
        if let count { arguments.count = count }
        arguments.agent = agent.choice
        Glibc.exit(BenchCommand.open(arguments))
    }
}

/// Opens and reads named files as whoever runs it; the tests run it as somebody else.
struct TryFiles: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "try-files", shouldDisplay: false)

    @Argument var url: String
    @Argument var files: [String]
    @OptionGroup var agent: AgentOptions

    func run() throws {
        Glibc.exit(BenchCommand.tryFiles(url: url, files: files, agent: agent.choice))
    }
}

/// The embedded server in a process of its own; localio-bench starts itself with it.
struct ServeEmbedded: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: EmbeddedServerProcess.subcommand, shouldDisplay: false)

    @Argument var directory: String
    @Option var port: Int = 0
    @Option var portFile: String

    func run() throws {
        Glibc.exit(BenchCommand.serve(directory: directory, port: port, portFile: portFile))
    }
}

/// A disk at a steady rate, likewise.
struct ServeSlowDisk: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: SlowDisk.subcommand, shouldDisplay: false)

    @Argument var directory: String
    @Option var size: Int
    @Option var rate: Int

    func run() throws {
        Glibc.exit(
            BenchCommand.serveSlowDisk(directory: directory, byteCount: size, rate: rate))
    }
}

/// One clear line and the usage status for a wrong command line; help as the parser prints it.
func main() {
    let words = CommandLine.arguments.dropFirst()
    if words.count == 1, ["-h", "--help", "help"].contains(words.first) {
        print(Bench.helpMessage(for: Bench.self) + "\n\n" + Bench.helpMessage(for: Run.self))
        return
    }
    do {
        var command = try Bench.parseAsRoot()
        try command.run()
    } catch {
        guard Bench.exitCode(for: error) == .validationFailure else { Bench.exit(withError: error) }
        BenchCommand.complain(Bench.message(for: error))
        Glibc.exit(64)
    }
}

StopFlag.install()
main()

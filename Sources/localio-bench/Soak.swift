// The words of `localio-bench soak`.
internal import ArgumentParser
internal import Glibc
internal import LocalIOBench

struct Soak: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "A great many I/Os through one client, whose memory must not grow.",
        discussion: """
            Each way has a thread and a part of the file of its own. Prints resident memory and \
            heap at each tenth of the I/Os; exits with 1 if resident memory grew by more than \
            --allowed after the first tenth.
            """)

    @Option(help: "I/Os of all ways together. Default: 10000000.")
    var ios: String?
    @Option(help: "One of read, write, randread, randwrite, randrw. Default: randrw.")
    var rw: String?
    @Option(
        help: """
            Of channel (a ring of the caller's), queue (the submission queue and its workers), \
            inline (one blocking call at a time), comma-separated. Default: all.
            """)
    var way: String?
    @Option(help: "Bytes per I/O. Default: 4k.")
    var bs: String?
    @Option(help: "I/Os in flight of channel and queue. Default: 16.")
    var iodepth: String?
    @Option(help: "The file's size. Default: 64m.")
    var size: String?
    @Option(
        help: """
            What the file lies on: disk (a temporary directory), zram or loop:xfs or loop:ext4 \
            (made for the run, need root), or a directory. Default: disk.
            """)
    var device: String?
    @Option(help: "embedded or ganesha (needs root). Default: embedded.")
    var server: String?
    @Option(help: "Repeats a run's data and offsets. Default: random, and reported.")
    var seed: String?
    @Option(help: "Resident bytes that may come after the first tenth. Default: 2m.")
    var allowed: String?
    @Flag(help: "Check every block read.")
    var verify = false
    @Flag(help: "Report as JSON.")
    var json = false
    @Option(help: "Write the report to this file instead of standard output.")
    var output: String?

    func run() throws {
        var arguments = SoakArguments()
        arguments.ios = ios
        arguments.rw = rw
        arguments.way = way
        arguments.bs = bs
        arguments.iodepth = iodepth
        arguments.size = size
        arguments.device = device
        arguments.server = server
        arguments.seed = seed
        arguments.allowed = allowed
        arguments.verify = verify
        arguments.json = json
        arguments.output = output
        Glibc.exit(BenchCommand.soak(arguments))
    }
}

// `localio-mount SOURCE MOUNTPOINT`: the default command, and what mount(8) runs.
internal import ArgumentParser
internal import Glibc
internal import LocalIOFUSE
internal import Logging

struct MountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount", abstract: "Mounts an export (the default).",
        discussion: """
            SOURCE is nfs://HOST/EXPORT or HOST:/EXPORT. The program returns once the mount \
            answers and goes on in the background; with -f it stays. SIGTERM, SIGINT and \
            fusermount3 -u MOUNTPOINT unmount it, after everything dirty has been written.

            Options for -o, comma-separated (the default first or in parentheses):
              rw | ro                    refuse changes
              hard | soft                wait for a server that is gone, or fail with EIO
              timeo=N                    tenths of a second until a call is sent again (600)
              retrans=N                  for soft: how often (2)
              nconnect=N                 TCP connections (2)
              port=N, mountport=N        instead of asking rpcbind
              acregmin=S, acregmax=S     how long attributes of files hold, in seconds (3, 60)
              acdirmin=S, acdirmax=S     of directories (30, 60)
              actimeo=S                  all four
              noac                       look at the server every time
              entry_timeout=S            how long names hold (acregmin and acdirmin)
              writeback_cache | nowriteback_cache
                                         the kernel collects writes in its page cache
              direct_io                  no page cache at all
              passthrough                the kernel reads and writes local files by itself, as fast
                                         as the file system; they cannot be taken back before they
                                         are closed (Linux 6.9, root; not with direct_io)
              read_ahead=KIB             the kernel's read-ahead (4096)
              allow_other | noallow_other
                                         let other users in (root: yes; others: no)
              permissions=local|server   the kernel checks permission bits too, or the server
                                         alone (with nodev, unless dev is given)
              local=on|off|agent         the local road: where it is proved, never, or only
                                         through the agent
              export_root=DIR            the export's directory on this host
              agent_socket=PATH          the agent's socket (LOCALIO_SOCKET)
              agent_port=N               the agent's RPC port, instead of asking rpcbind
              policy=local|split|rpc     what becomes of I/O that is not aligned
              threads=N                  receiving threads (16)
              max_background=N           write-back and read-ahead requests at once (64)
              nested | nonested          lock memory, stay out of the way of memory reclaim
              log=stderr|journal|syslog  where to log (stderr with -f, else syslog)
              log_level=LEVEL            trace, debug, info, notice, warning, error (notice)
              suid, dev, exec, noatime … and their opposites, as for any mount
            Accepted without effect: vers=3, proto=tcp, sec=sys, rsize, wsize, nolock, \
            local_lock=all, lookupcache and the words of fstab.
            """)

    @Argument(help: ArgumentHelp("What to mount.", valueName: "SOURCE"))
    var source: String
    @Argument(help: ArgumentHelp("The directory to mount it at.", valueName: "MOUNTPOINT"))
    var mountPoint: String
    @Option(
        name: [.customShort("o"), .customLong("options")], parsing: .unconditionalSingleValue,
        help: ArgumentHelp("Mount options; see below.", valueName: "OPTIONS"))
    var options: [String] = []
    @Flag(name: .shortAndLong, help: "Stay in the foreground (for mount(8): only pretend).")
    var foreground = false
    @Flag(name: .shortAndLong, help: "Print every request; implies -f.")
    var debug = false
    @Flag(name: [.customShort("r"), .customLong("read-only")], help: "The same as -o ro.")
    var readOnly = false
    @Flag(name: [.customShort("w"), .customLong("rw")], help: .hidden)
    var readWrite = false
    @Flag(name: .customShort("n"), help: .hidden)
    var noTable = false
    @Flag(name: .customShort("s"), help: .hidden)
    var sloppy = false
    @Flag(name: .customShort("v"), help: .hidden)
    var verbose = false
    @Option(name: .customShort("t"), help: .hidden)
    var type: String?

    func run() throws {
        let isHelper = CommandLine.arguments.first?.split(separator: "/").last?
            .hasPrefix("mount.") ?? false
        do throws(MountFailure) {
            guard let place = Daemon.resolved(mountPoint) else {
                throw MountFailure("\(mountPoint): no such directory; make it first")
            }
            var all = options
            if readOnly { all.append("ro") }
            if debug { all.append("debug") }
            let parsed = try MountOptions(source: source, mountPoint: place, options: all)
            if isHelper && foreground { return }
            try serve(parsed, inForeground: foreground || debug)
        } catch {
            // Said before the process that waits for this one ends, and a script goes on.
            Complaint.say(error.description)
            Daemon.isReady(succeeded: false, keepsStandardError: true)
            Glibc.exit(1)
        }
    }

    private func serve(
        _ options: MountOptions, inForeground: Bool
    ) throws(MountFailure) {
        Daemon.blockSignals()
        if !inForeground { try Daemon.enterBackground() }
        let log = options.log ?? (inForeground ? .standardError : .syslog)
        var logger = Logger(label: "localio-mount") { _ in MountLog(destination: log) }
        logger.logLevel = Logger.Level(rawValue: options.logLevel) ?? .notice
        let mount = try Mount.start(options.configuration, logger: logger)
        logger.notice(
            "\(options.configuration.url) on \(options.configuration.mountPoint): \(mount.summary)")
        Daemon.unmountOnSignal(mount)
        Daemon.isReady(succeeded: true, keepsStandardError: log != .syslog)
        mount.wait()
        logger.notice("\(options.configuration.mountPoint): unmounted")
    }
}

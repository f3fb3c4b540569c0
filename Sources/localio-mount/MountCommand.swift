// `localio-mount URL DIR`.
internal import ArgumentParser
internal import Glibc
internal import LocalIO
internal import LocalIOFUSE
internal import Logging

struct MountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "localio-mount", abstract: "Mounts an NFS export.")

    @Argument var source: String
    @Argument var directory: String
    @Flag(name: .shortAndLong) var foreground = false
    @Flag(name: .shortAndLong) var debug = false
    @Option(name: .short) var o: [String] = []

    func run() throws {
        var logger = Logger(label: "localio-mount") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .notice
        let url = try NFSURL(source)
        var configuration = MountConfiguration(url: url, mountPoint: directory)
        configuration.debug = debug
        if o.contains("local=off") { configuration.client.locality = .off }
        let mount = try Mount.start(configuration, logger: logger)
        print(mount.summary)
        mount.wait()
    }
}

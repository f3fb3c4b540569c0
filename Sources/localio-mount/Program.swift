// The command line of localio-mount.
internal import ArgumentParser
internal import Glibc
internal import LocalIOFUSE

struct Program: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "localio-mount",
        abstract: "Mounts an NFS export; file data goes straight to a server's file that is here.",
        subcommands: [MountCommand.self, StatusCommand.self],
        defaultSubcommand: MountCommand.self)
}

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows what a mount does and which road its data takes.")

    @Argument(help: ArgumentHelp("The directory it is mounted at.", valueName: "MOUNTPOINT"))
    var mountPoint: String

    @Flag(help: "Print the mount's own JSON.")
    var json = false

    func run() throws {
        do throws(MountFailure) {
            let (status, text) = try MountStatus.read(mountPoint: mountPoint)
            print(json ? text : status.lines.joined(separator: "\n"), terminator: json ? "" : "\n")
        } catch {
            Complaint.exit(error.description)
        }
    }
}

/// One clear line for what goes wrong.
enum Complaint {
    static func say(_ line: String) {
        var text = "localio-mount: \(line)\n"
        text.withUTF8 { bytes in _ = unsafe write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
    }

    static func exit(_ line: String) -> Never {
        say(line)
        Glibc.exit(1)
    }
}

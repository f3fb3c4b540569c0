// Hidden options of `localiod serve` that inject faults; for tests only.
internal import ArgumentParser
internal import LocalIOServer

struct FaultOptions: ParsableArguments {
    @Flag(
        name: .customLong("fault-hold-uncommitted"),
        help: "For tests: keep UNSTABLE writes in memory until COMMIT.")
    var holdUncommitted = false

    @Option(
        name: .customLong("fault-reply-delay"),
        help: "For tests: wait so many milliseconds before each reply.")
    var replyDelay = 0

    @Option(
        name: .customLong("fault-drop-every"),
        help: "For tests: drop the connection in place of every so manieth reply.")
    var dropEvery = 0

    @Option(
        name: .customLong("fault-no-space-after"),
        help: "For tests: the disk is full after so many bytes written.")
    var noSpaceAfter: UInt64?

    @Option(
        name: .customLong("fault-read-limit"),
        help: "For tests: READ answers at most so many bytes.")
    var readLimit = 0

    @Option(
        name: .customLong("fault-write-limit"),
        help: "For tests: WRITE takes at most so many bytes.")
    var writeLimit = 0

    @Option(
        name: .customLong("fault-jukebox-every"),
        help: "For tests: answer every so manieth NFS call NFS3ERR_JUKEBOX.")
    var jukeboxEvery = 0

    @Option(
        name: .customLong("fault-lost-name-every"),
        help: "For tests: answer every so manieth listing NFS3ERR_NOENT.")
    var lostNameEvery = 0

    func validate() throws {
        let values = [replyDelay, dropEvery, readLimit, writeLimit, jukeboxEvery, lostNameEvery]
        if values.contains(where: { $0 < 0 }) {
            throw ValidationError("a fault's number must not be negative")
        }
    }

    var faults: ServerFaults {
        ServerFaults(
            holdUncommitted: holdUncommitted, replyDelay: .milliseconds(replyDelay),
            dropConnectionEvery: dropEvery, noSpaceAfterBytes: noSpaceAfter,
            readByteLimit: readLimit, writeByteLimit: writeLimit, jukeboxEvery: jukeboxEvery,
            lostNameEvery: lostNameEvery)
    }
}

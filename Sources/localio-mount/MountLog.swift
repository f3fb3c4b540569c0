// Where the program's log lines go: standard error, plain or with systemd's priorities, or
// syslog.
internal import Glibc
internal import LocalIOFUSE
internal import Logging

struct MountLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.notice
    let destination: MountOptions.Log

    init(destination: MountOptions.Log) { self.destination = destination }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let text = "\(event.message)"
        switch destination {
        case .standardError: Self.print("localio-mount: \(event.level): \(text)")
        // sd-daemon(3): the priority in angle brackets begins the line.
        case .journal: Self.print("<\(Self.priority(event.level))>\(text)")
        case .syslog: Daemon.syslog(priority: Self.priority(event.level), text)
        }
    }

    private static func priority(_ level: Logger.Level) -> Int32 {
        switch level {
        case .trace, .debug: LOG_DEBUG
        case .info: LOG_INFO
        case .notice: LOG_NOTICE
        case .warning: LOG_WARNING
        case .error: LOG_ERR
        case .critical: LOG_CRIT
        }
    }

    private static func print(_ line: String) {
        var text = line + "\n"
        text.withUTF8 { bytes in _ = unsafe write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
    }
}

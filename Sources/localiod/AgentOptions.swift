// The settings of the agent as flags, and how they meet the file and the environment.
internal import ArgumentParser
internal import Glibc
internal import LocalIOAgent
internal import Logging

struct AgentOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The configuration file; without it, /etc/localio/localiod.yaml if it is there.",
            valueName: "FILE"))
    var config: String?

    @Option(help: help("socket")) var socket: String?
    @Option(name: .customLong("socket-mode"), help: help("socket-mode")) var socketMode: String?
    @Option(name: .customLong("socket-group"), help: help("socket-group"))
    var socketGroup: String?
    @Option(name: .customLong("program-address"), help: help("program-address"))
    var programAddress: String?
    @Option(name: .customLong("program-port"), help: help("program-port"))
    var programPort: String?
    @Option(name: .customLong("program-register"), help: help("program-register"))
    var programRegister: String?
    @Option(name: .customLong("compare-addresses"), help: help("compare-addresses"))
    var compareAddresses: String?
    @Option(help: help("server")) var server: String?
    @Option(name: .customLong("nfs-port"), help: help("nfs-port")) var nfsPort: String?
    @Option(name: .customLong("mount-port"), help: help("mount-port")) var mountPort: String?
    @Option(help: help("exports")) var exports: String?
    @Option(name: .customLong("find-by"), help: help("find-by")) var findBy: String?
    @Option(name: .customLong("log-level"), help: help("log-level")) var logLevel: String?
    @OptionGroup(title: "Limits") var limits: AgentLimitOptions

    private static func help(_ name: String) -> ArgumentHelp { settingHelp(name) }

    /// The file's text, read each time: SIGHUP reads it again.
    func configuration() throws -> AgentConfiguration {
        var flags = limits.values
        let own = [
            ("socket", socket), ("socket-mode", socketMode), ("socket-group", socketGroup),
            ("program-address", programAddress), ("program-port", programPort),
            ("program-register", programRegister), ("compare-addresses", compareAddresses),
            ("server", server), ("nfs-port", nfsPort), ("mount-port", mountPort),
            ("exports", exports), ("find-by", findBy), ("log-level", logLevel),
        ]
        for (name, value) in own { flags[name] = value }
        var environment: [String: String] = [:]
        for setting in AgentSetting.all {
            if let value = unsafe getenv(setting.variable) {
                environment[setting.variable] = unsafe String(cString: value)
            }
        }
        return try AgentSetting.configuration(
            file: try text(), environment: environment, flags: flags)
    }

    private func text() throws -> String? {
        let standard = "/etc/localio/localiod.yaml"
        let path = config ?? standard
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if config == nil, errno == ENOENT { return nil }
            let reason = unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "error"
            throw AgentError("cannot read \(path): \(reason); give the configuration's path")
        }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw AgentError("cannot read \(path)") }
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}

/// Limits and intervals as flags.
struct AgentLimitOptions: ParsableArguments {
    @Option(help: settingHelp("workers")) var workers: String?
    @Option(help: settingHelp("clients")) var clients: String?
    @Option(name: .customLong("clients-per-user"), help: settingHelp("clients-per-user"))
    var clientsPerUser: String?
    @Option(help: settingHelp("nonces")) var nonces: String?
    @Option(name: .customLong("nonces-per-client"), help: settingHelp("nonces-per-client"))
    var noncesPerClient: String?
    @Option(help: settingHelp("opens")) var opens: String?
    @Option(name: .customLong("opens-per-client"), help: settingHelp("opens-per-client"))
    var opensPerClient: String?
    @Option(name: .customLong("in-flight"), help: settingHelp("in-flight")) var inFlight: String?
    @Option(name: .customLong("in-flight-per-client"), help: settingHelp("in-flight-per-client"))
    var inFlightPerClient: String?
    @Option(name: .customLong("unread-per-client"), help: settingHelp("unread-per-client"))
    var unreadPerClient: String?
    @Option(name: .customLong("nonce-lifetime"), help: settingHelp("nonce-lifetime"))
    var nonceLifetime: String?
    @Option(help: settingHelp("heartbeat")) var heartbeat: String?
    @Option(help: settingHelp("rejudge")) var rejudge: String?
    @Option(name: .customLong("export-list"), help: settingHelp("export-list"))
    var exportList: String?
    @Option(name: .customLong("server-timeout"), help: settingHelp("server-timeout"))
    var serverTimeout: String?
    @Option(help: settingHelp("greeting")) var greeting: String?

    var values: [String: String] {
        let all = [
            ("workers", workers), ("clients", clients), ("clients-per-user", clientsPerUser),
            ("nonces", nonces), ("nonces-per-client", noncesPerClient), ("opens", opens),
            ("opens-per-client", opensPerClient), ("in-flight", inFlight),
            ("in-flight-per-client", inFlightPerClient), ("unread-per-client", unreadPerClient),
            ("nonce-lifetime", nonceLifetime), ("heartbeat", heartbeat), ("rejudge", rejudge),
            ("export-list", exportList), ("server-timeout", serverTimeout),
            ("greeting", greeting),
        ]
        var values: [String: String] = [:]
        for (name, value) in all { values[name] = value }
        return values
    }
}

private func settingHelp(_ name: String) -> ArgumentHelp {
    let setting = AgentSetting.all.first { $0.name == name }
    let variable = setting.map { " (\($0.variable))" } ?? ""
    return ArgumentHelp("\(setting?.help ?? "")\(variable)", valueName: "value")
}

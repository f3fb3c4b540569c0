// The -o options of a mount, as mount(8), fstab and NFS people write them.
internal import Glibc
internal import LocalIO
internal import SystemPackage

/// What a mount is told by its options and what concerns the program alone.
public struct MountOptions: Sendable {
    /// Where the program's log goes.
    public enum Log: String, Sendable, CaseIterable {
        case standardError = "stderr"
        /// Standard error with the priorities that systemd's journal reads.
        case journal
        case syslog
    }

    public var configuration: MountConfiguration
    public var log: Log?
    public var logLevel = "notice"
    /// Tenths of a second, as NFS has them.
    private var timeoutTenths = 600
    private var retransmissions = 2
    private var isSoft = false
    private var wantsDevices = false

    /// - Parameters:
    ///   - source: an `nfs://` URL, or `host:/export` as in fstab.
    ///   - options: comma-separated lists, in the order given; later ones win.
    public init(source: String, mountPoint: String, options: [String]) throws(MountFailure) {
        let text = source.contains("://") ? source : Self.url(of: source)
        let url: NFSURL
        do throws(NFSURLError) {
            url = try NFSURL(text)
        } catch {
            throw MountFailure("\(source): \(error); give nfs://HOST/EXPORT or HOST:/EXPORT")
        }
        let isRoot = geteuid() == 0
        configuration = MountConfiguration(
            url: url, mountPoint: mountPoint, allowsOthers: isRoot)
        // What mount(8) calls defaults; FUSE itself would forbid both.
        if isRoot { configuration.kernelOptions = ["suid", "dev"] }
        for list in options {
            for option in Self.split(list) { try apply(option) }
        }
        finish()
        if configuration.passesThrough { try checkPassthrough(isRoot: isRoot) }
    }

    /// `host:/export` as a URL; an IPv6 address stands in brackets in both.
    private static func url(of source: String) -> String {
        let colon = source.indices.first { index in
            source[index] == ":" && source[source.index(after: index)...].hasPrefix("/")
        }
        guard let colon else { return "nfs://" + source }
        return "nfs://" + source[..<colon] + source[source.index(after: colon)...]
    }

    private static func split(_ list: String) -> [String] {
        list.split(separator: ",").map(String.init)
    }

    private mutating func finish() {
        // Devices are opened by the kernel alone, which asks nobody then.
        if !configuration.checksPermissions, !wantsDevices {
            configuration.kernelOptions.removeAll { $0 == "dev" }
            configuration.kernelOptions.append("nodev")
        }
        let connectRetries = isSoft ? SessionConfiguration.Recovery.soft(retries: retransmissions)
            : .hard
        configuration.client.session.recovery = connectRetries
        configuration.client.session.requestTimeout = .milliseconds(timeoutTenths * 100)
    }

    private mutating func checkPassthrough(isRoot: Bool) throws(MountFailure) {
        guard isRoot else {
            throw MountFailure(
                "passthrough: the kernel takes local files from root alone; leave it out")
        }
        guard !configuration.directIO else {
            throw MountFailure("passthrough and direct_io exclude each other; give one of them")
        }
        configuration.writebackCache = false
    }

    private mutating func apply(_ option: String) throws(MountFailure) {
        let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(parts[0])
        let value = parts.count > 1 ? String(parts[1]) : nil
        if Self.ignored.contains(name) || name.hasPrefix("x-") { return }
        if value == nil, Self.kernelOptions.contains(name) {
            let opposite = name.hasPrefix("no") ? String(name.dropFirst(2)) : "no" + name
            configuration.kernelOptions.removeAll { $0 == opposite || $0 == name }
            configuration.kernelOptions.append(name)
            if name == "dev" { wantsDevices = true }
            return
        }
        if try applySwitch(name, value) { return }
        if try applyCaching(name, value) { return }
        if try applyTransport(name, value) { return }
        if try applyLocality(name, value) { return }
        throw MountFailure("unknown option \"\(option)\"; localio-mount --help lists them")
    }

    // MARK: - Options without a value

    private mutating func applySwitch(
        _ name: String, _ value: String?
    ) throws(MountFailure) -> Bool {
        switch name {
        case "ro": configuration.isReadOnly = true
        case "rw": configuration.isReadOnly = false
        case "hard": isSoft = false
        case "soft": isSoft = true
        case "ac": break
        case "noac": configuration.disableAttributeCache()
        case "direct_io": configuration.directIO = true
        case "passthrough": configuration.passesThrough = true
        case "writeback_cache": configuration.writebackCache = true
        case "nowriteback_cache", "sync": configuration.writebackCache = false
        case "allow_other": configuration.allowsOthers = true
        case "noallow_other": configuration.allowsOthers = false
        case "default_permissions": configuration.checksPermissions = true
        case "debug": configuration.debug = true
        case "nested": configuration.nestedIO = true
        case "nonested": configuration.nestedIO = false
        default: return false
        }
        if value != nil { throw MountFailure("option \(name) takes no value") }
        return true
    }

    // MARK: - Options with a value

    private mutating func applyCaching(
        _ name: String, _ value: String?
    ) throws(MountFailure) -> Bool {
        func seconds() throws(MountFailure) -> Double {
            Double(try Self.number(name, value, 0...86_400))
        }
        switch name {
        case "acregmin": configuration.fileAttributeSeconds = Self.from(
            try seconds(), configuration.fileAttributeSeconds)
        case "acregmax": configuration.fileAttributeSeconds = Self.upTo(
            try seconds(), configuration.fileAttributeSeconds)
        case "acdirmin": configuration.directoryAttributeSeconds = Self.from(
            try seconds(), configuration.directoryAttributeSeconds)
        case "acdirmax": configuration.directoryAttributeSeconds = Self.upTo(
            try seconds(), configuration.directoryAttributeSeconds)
        case "actimeo":
            let time = try seconds()
            configuration.fileAttributeSeconds = time...time
            configuration.directoryAttributeSeconds = time...time
            if time == 0 { configuration.entrySeconds = 0 }
        case "entry_timeout": configuration.entrySeconds = try seconds()
        case "permissions":
            configuration.checksPermissions =
                try Self.choice(name, value, ["local", "server"]) == "local"
        case "read_ahead":
            configuration.readAheadKibibytes = UInt32(try Self.number(name, value, 0...65_536))
        case "threads": configuration.threads = try Self.number(name, value, 2...64)
        case "max_background":
            configuration.maxBackground = UInt32(try Self.number(name, value, 4...1024))
        default: return false
        }
        return true
    }

    private mutating func applyTransport(
        _ name: String, _ value: String?
    ) throws(MountFailure) -> Bool {
        switch name {
        case "timeo": timeoutTenths = try Self.number(name, value, 1...36_000)
        case "retrans": retransmissions = try Self.number(name, value, 0...100)
        case "nconnect":
            configuration.client.session.connections = try Self.number(name, value, 1...16)
        case "port":
            configuration.url.nfsPort = UInt16(try Self.number(name, value, 0...65_535))
        case "mountport":
            configuration.url.mountPort = UInt16(try Self.number(name, value, 0...65_535))
        case "vers", "nfsvers":
            guard value == "3" else {
                throw MountFailure("\(name)=\(value ?? ""): only NFSv3 is spoken; give vers=3")
            }
        case "proto", "mountproto": _ = try Self.choice(name, value, ["tcp", "tcp6"])
        case "sec": _ = try Self.choice(name, value, ["sys"])
        case "local_lock": _ = try Self.choice(name, value, ["all"])
        case "rsize", "wsize":
            // The kernel's requests are 1 MiB and are cut to what the server takes.
            _ = try Self.number(name, value, 1024...(1 << 20))
        default: return false
        }
        return true
    }

    private mutating func applyLocality(
        _ name: String, _ value: String?
    ) throws(MountFailure) -> Bool {
        switch name {
        case "local":
            switch try Self.choice(name, value, ["on", "off", "agent"]) {
            case "on": configuration.client.locality = .automatic
            case "agent": configuration.client.locality = .agent
            default: configuration.client.locality = .off
            }
        case "export_root":
            configuration.client.locality = .exportRoot(FilePath(try Self.text(name, value)))
        case "agent_socket":
            configuration.client.agentSocket = FilePath(try Self.text(name, value))
        case "agent_port":
            configuration.client.programPort = UInt16(try Self.number(name, value, 1...65_535))
        case "policy":
            let policy = try Self.choice(name, value, ["rpc", "split", "local"])
            configuration.client.misalignment =
                policy == "rpc" ? .rpc : policy == "split" ? .split : .local
        case "log": log = Log(rawValue: try Self.choice(name, value, Log.allCases.map(\.rawValue)))
        case "log_level":
            logLevel = try Self.choice(
                name, value, ["trace", "debug", "info", "notice", "warning", "error"])
        default: return false
        }
        return true
    }

    // MARK: - Values

    private static func text(_ name: String, _ value: String?) throws(MountFailure) -> String {
        guard let value, !value.isEmpty else {
            throw MountFailure("option \(name) needs a value: \(name)=…")
        }
        return value
    }

    private static func number(
        _ name: String, _ value: String?, _ range: ClosedRange<Int>
    ) throws(MountFailure) -> Int {
        guard let number = Int(try text(name, value)), range.contains(number) else {
            throw MountFailure(
                "\(name)=\(value ?? ""): give a number from \(range.lowerBound) to "
                    + "\(range.upperBound)")
        }
        return number
    }

    private static func choice(
        _ name: String, _ value: String?, _ choices: [String]
    ) throws(MountFailure) -> String {
        guard let value, choices.contains(value) else {
            throw MountFailure(
                "\(name)=\(value ?? ""): give \(choices.joined(separator: ", "))")
        }
        return value
    }

    private static func from(_ least: Double, _ range: ClosedRange<Double>) -> ClosedRange<Double> {
        least...max(least, range.upperBound)
    }

    private static func upTo(_ most: Double, _ range: ClosedRange<Double>) -> ClosedRange<Double> {
        min(most, range.lowerBound)...most
    }

    /// Of fstab and of mount(8) itself, and those of NFS that describe what is so anyway.
    private static let ignored: Set<String> = [
        "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail",
        "_netdev", "comment", "fg", "intr", "nointr", "tcp", "nolock", "noacl", "nordirplus",
        "rdirplus", "nosharecache", "sharecache", "mountvers", "lookupcache", "async", "loop",
    ]

    /// Handed on to the kernel.
    private static let kernelOptions: Set<String> = [
        "suid", "nosuid", "dev", "nodev", "exec", "noexec", "atime", "noatime", "diratime",
        "nodiratime", "relatime", "norelatime", "strictatime", "lazytime", "dirsync",
    ]
}

// Every setting of the agent under one name: as a key of the YAML file, as LOCALIO_… in the
// environment and as a flag.
internal import LocalIOServer
internal import Logging
internal import Yams

/// One setting and how its text becomes part of a configuration.
package struct AgentSetting: Sendable {
    /// As in the file and as the flag's name.
    package let name: String
    package let help: String
    let apply: @Sendable (String, inout AgentConfiguration) throws(AgentError) -> Void

    /// `LOCALIO_SOCKET_MODE` for `socket-mode`.
    package var variable: String {
        "LOCALIO_" + name.uppercased().replacing("-", with: "_")
    }

    /// Reads settings in order of precedence: file, environment, flags.
    package static func configuration(
        file: String?, environment: [String: String], flags: [String: String]
    ) throws(AgentError) -> AgentConfiguration {
        var configuration = AgentConfiguration()
        if let file {
            for (name, value) in try pairs(yaml: file) {
                guard let setting = all.first(where: { $0.name == name }) else {
                    throw AgentError(
                        "the configuration has no setting \"\(name)\"; there are: "
                            + all.map(\.name).joined(separator: ", "))
                }
                try setting.apply(value, &configuration)
            }
        }
        for setting in all {
            if let value = environment[setting.variable], !value.isEmpty {
                try setting.apply(value, &configuration)
            }
        }
        for setting in all {
            if let value = flags[setting.name] { try setting.apply(value, &configuration) }
        }
        return configuration
    }

    /// The file's settings as names and texts; a mapping of exports becomes `path=directory,…`.
    static func pairs(yaml: String) throws(AgentError) -> [(String, String)] {
        let node: Node?
        do {
            node = try Yams.compose(yaml: yaml)
        } catch {
            throw AgentError("the configuration is no YAML: \(error)")
        }
        guard let node else { return [] }
        guard let mapping = node.mapping else {
            throw AgentError("the configuration must be lines of \"setting: value\"")
        }
        var pairs: [(String, String)] = []
        for (key, value) in mapping {
            let name = key.string ?? ""
            if let text = value.scalar?.string {
                pairs.append((name, text))
            } else if let inner = value.mapping {
                let parts = inner.map { entry in
                    (entry.key.string ?? "") + "=" + (entry.value.scalar?.string ?? "")
                }
                pairs.append((name, parts.joined(separator: ",")))
            } else {
                throw AgentError("\"\(name)\" must be a text, a number or a mapping")
            }
        }
        return pairs
    }
}

extension AgentSetting {
    package static let all: [AgentSetting] = sockets + servers + limits + intervals

    private static let sockets = [
        AgentSetting(name: "socket", help: "The Unix socket to listen at.") {
            (text, configuration) throws(AgentError) in
            guard text.hasPrefix("/") else {
                throw AgentError("socket \"\(text)\": give an absolute path")
            }
            configuration.socketPath = text
        },
        AgentSetting(name: "socket-mode", help: "Permission bits of the socket, in octal.") {
            (text, configuration) throws(AgentError) in
            guard let mode = UInt32(text, radix: 8), mode <= 0o777 else {
                throw AgentError("socket-mode \"\(text)\": give octal digits, such as 0660")
            }
            configuration.socketMode = mode
        },
        AgentSetting(name: "socket-group", help: "The group that owns the socket.") {
            (text, configuration) throws(AgentError) in
            configuration.socketGroup = text.isEmpty ? nil : text
        },
        AgentSetting(name: "program-address", help: "Where the LOCALIO program listens.") {
            (text, configuration) throws(AgentError) in
            guard NumericAddress.normalized(text) != nil else {
                throw AgentError("program-address \"\(text)\": give an address in numbers")
            }
            configuration.programAddress = text
        },
        AgentSetting(name: "program-port", help: "The LOCALIO program's TCP port; 0: any.") {
            (text, configuration) throws(AgentError) in
            configuration.programPort = try number(text, "program-port", 0...65535)
        },
        AgentSetting(name: "program-register", help: "Tell the portmapper (true or false).") {
            (text, configuration) throws(AgentError) in
            configuration.registersProgram = try flag(text, "program-register")
        },
        AgentSetting(
            name: "compare-addresses",
            help: "A nonce counts only from the address its client named (false behind NAT)."
        ) { (text, configuration) throws(AgentError) in
            configuration.comparesAddresses = try flag(text, "compare-addresses")
        },
    ]

    private static let servers = [
        AgentSetting(name: "server", help: "The NFS server's address as this host reaches it.") {
            (text, configuration) throws(AgentError) in
            guard !text.isEmpty else {
                throw AgentError("server \"\": give an address, such as 127.0.0.1")
            }
            configuration.serverAddress = text
        },
        AgentSetting(name: "nfs-port", help: "Its NFS port; 0 asks the portmapper.") {
            (text, configuration) throws(AgentError) in
            let port = try number(text, "nfs-port", 0...65535)
            configuration.nfsPort = port == 0 ? nil : UInt16(port)
        },
        AgentSetting(name: "mount-port", help: "Its MOUNT port; 0 asks the portmapper.") {
            (text, configuration) throws(AgentError) in
            let port = try number(text, "mount-port", 0...65535)
            configuration.mountPort = port == 0 ? nil : UInt16(port)
        },
        AgentSetting(
            name: "exports", help: "PATH=DIRECTORY,… for each export; empty asks the server."
        ) { (text, configuration) throws(AgentError) in
            configuration.exports = try mappings(text)
        },
        AgentSetting(name: "find-by", help: "auto, handle or path.") {
            (text, configuration) throws(AgentError) in
            guard let finding = AgentConfiguration.Finding(rawValue: text) else {
                throw AgentError("find-by \"\(text)\": give auto, handle or path")
            }
            configuration.finding = finding
        },
        AgentSetting(name: "log-level", help: "trace, debug, info, notice, warning or error.") {
            (text, configuration) throws(AgentError) in
            guard let level = Logger.Level(rawValue: text) else {
                throw AgentError(
                    "log-level \"\(text)\": give trace, debug, info, notice, warning or error")
            }
            configuration.logLevel = level
        },
    ]

    private static let limits: [AgentSetting] = [
        count("workers", "Threads that answer OPENs while the disk is slow.", \.workers, 1...256),
        count("clients", "Clients at once.", \.limits.clients, 1...65536),
        count("clients-per-user", "Of one uid.", \.limits.clientsPerUser, 1...65536),
        count("nonces", "Nonces at once.", \.limits.nonces.count, 1...1_000_000),
        count("nonces-per-client", "Of one client.", \.limits.nonces.countPerOwner, 1...65536),
        count("opens", "Granted opens at once.", \.limits.opens, 1...16_000_000),
        count("opens-per-client", "Of one client.", \.limits.opensPerClient, 1...16_000_000),
        count("in-flight", "OPENs not answered yet.", \.limits.inFlight, 1...65536),
        count("in-flight-per-client", "Of one.", \.limits.inFlightPerClient, 1...65536),
        count(
            "unread-per-client", "Answers it may leave unread.", \.limits.unreadPerClient,
            4...65536),
    ]

    private static let intervals: [AgentSetting] = [
        time("nonce-lifetime", "How long a nonce counts.", \.limits.nonces.lifetime),
        time("heartbeat", "Between two NULL calls.", \.intervals.heartbeat),
        time("rejudge", "Between two judgements of open files.", \.intervals.rejudge),
        time("export-list", "Between two readings of the export list.", \.intervals.exportList),
        time("server-timeout", "For one call to the server.", \.intervals.serverTimeout),
        time("greeting", "For a new client to say hello.", \.intervals.greeting),
    ]

    private static func count(
        _ name: String, _ help: String,
        _ field: any WritableKeyPath<AgentConfiguration, Int> & Sendable, _ range: ClosedRange<Int>
    ) -> AgentSetting {
        AgentSetting(name: name, help: help) { (text, configuration) throws(AgentError) in
            configuration[keyPath: field] = try number(text, name, range)
        }
    }

    private static func time(
        _ name: String, _ help: String,
        _ field: any WritableKeyPath<AgentConfiguration, Duration> & Sendable
    ) -> AgentSetting {
        AgentSetting(name: name, help: help + " Milliseconds.") {
            (text, configuration) throws(AgentError) in
            configuration[keyPath: field] = .milliseconds(try number(text, name, 10...3_600_000))
        }
    }

    private static func number(
        _ text: String, _ name: String, _ range: ClosedRange<Int>
    ) throws(AgentError) -> Int {
        guard let value = Int(text), range.contains(value) else {
            throw AgentError(
                "\(name) \"\(text)\": give a number from \(range.lowerBound) "
                    + "to \(range.upperBound)")
        }
        return value
    }

    private static func flag(_ text: String, _ name: String) throws(AgentError) -> Bool {
        switch text.lowercased() {
        case "true", "yes", "on", "1": return true
        case "false", "no", "off", "0": return false
        default: throw AgentError("\(name) \"\(text)\": give true or false")
        }
    }

    private static func mappings(_ text: String) throws(AgentError) -> [ExportMapping] {
        var mappings: [ExportMapping] = []
        for part in text.split(separator: ",") {
            let sides = part.split(separator: "=", maxSplits: 1).map(String.init)
            guard sides.count == 2, sides.allSatisfy({ $0.hasPrefix("/") }) else {
                throw AgentError(
                    "exports \"\(part)\": give /exported/path=/local/directory")
            }
            mappings.append(ExportMapping(path: sides[0], directory: sides[1]))
        }
        return mappings
    }
}

// The whole of it: a real agent beside a real server, clients that are other users or live in
// other network namespaces, and opens by the thousand.
import Glibc
import LocalIOBench
import LocalIOTesting
import NFSClient
import SystemPackage
import Testing

@testable import LocalIO

/// A server and a real agent beside it.
final class RealAgentSite {
    let site: Site
    let agent: AgentProcess

    init(_ kind: ServerKind) throws {
        site = try Site(kind)
        chmod(site.directory.path.string, 0o755)
        agent = try AgentProcess(
            beside: site.server.url, exportDirectory: site.server.exportDirectory)
    }

    deinit { agent.stop() }

    func connect(
        _ locality: LocalitySetting = .agent, change: (inout ClientConfiguration) -> Void = { _ in }
    ) throws -> LocalIOClient {
        try site.connect(locality) {
            $0.agentSocket = agent.socket
            $0.programPort = agent.programPort
            change(&$0)
        }
    }

    /// A number in the agent's status.
    func agentStatus(_ name: String) -> Int {
        let words = ["status", "--json", "--socket", agent.socket.string]
        guard let program = try? EmbeddedServerProcess.localiod(),
            let (_, output) = try? ChildProcess.run(program, words),
            let found = output.firstRange(of: "\"\(name)\":")
        else { return -1 }
        return Int(output[found.upperBound...].prefix { $0.isNumber }) ?? -1
    }
}

@Suite(.serialized) struct AgentTests {
    @Test(.enabled(if: Requirement.root.isMet), arguments: ServerKind.available)
    func aRealAgentMakesTheClientLocal(kind: ServerKind) throws {
        let here = try RealAgentSite(kind)
        let client = try here.connect()
        #expect(client.locality == .local(.agent), "\(client.probeReport) \(here.agent.log)")
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == nil)
        let memory = TestMemory(8192)
        #expect(
            try file.writeBlocking(from: UnsafeRawBufferPointer(memory.bytes), at: 0) == 8192)
        try file.commitBlocking()
        #expect(try here.site.contents("file") == [UInt8](repeating: 0x5a, count: 8192))
        #expect(client.statistics().fallbacks.isEmpty)
    }

    @Test(.enabled(if: Requirement.root.isMet && Requirement.ganesha.isMet))
    func anotherUserGetsWhatTheServerAllowsAndNoMore() throws {
        let here = try RealAgentSite(.ganesha)
        let files: [(name: String, uid: UInt32, gid: UInt32, mode: mode_t, lines: [String])] = [
            ("mine", 4711, 4711, 0o600, ["readOnly local ok", "readWrite local ok"]),
            ("world", 0, 0, 0o644, ["readOnly local ok", "readWrite access_denied 13"]),
            ("group", 0, 4712, 0o640, ["readOnly local ok", "readWrite access_denied 13"]),
            ("group-write", 0, 4712, 0o660, ["readOnly local ok", "readWrite local ok"]),
            ("other-group", 0, 4713, 0o660, [
                "readOnly access_denied 13", "readWrite access_denied 13",
            ]),
            ("secret", 0, 0, 0o600, [
                "readOnly access_denied 13", "readWrite access_denied 13",
            ]),
        ]
        var expected: [String] = ["local (agent)"]
        for file in files {
            let path = here.site.directory.path.appending(file.name).string
            try Files.write(String(repeating: "x", count: 4096), to: path)
            chown(path, file.uid, file.gid)
            chmod(path, file.mode)
            expected += file.lines.map { "\(file.name) \($0)" }
        }
        let (status, output) = try ChildProcess.run(
            "/usr/bin/setpriv",
            ["--reuid", "4711", "--regid", "4711", "--groups", "4712"]
                + tryFiles(here.site.server.url, here.agent, files.map(\.name)))
        #expect(status == 0)
        #expect(output.split(separator: "\n").map(String.init) == expected, "\(here.agent.log)")
    }

    private func tryFiles(
        _ url: String, _ agent: AgentProcess, _ files: [String], socket: String? = nil
    ) throws -> [String] {
        [
            try EmbeddedServerProcess.beside("localio-bench"), "try-files", url,
        ] + files + [
            "--socket", socket ?? agent.socket.string, "--program-port", "\(agent.programPort)",
        ]
    }

    @Test(.enabled(if: Requirement.root.isMet))
    func fromAnotherNetworkNamespace() throws {
        let network = try TwoNamespaces()
        let directory = try TemporaryDirectory()
        try Files.write(String(repeating: "y", count: 8192), to: "\(directory.path)/file")
        let server = try network.serve(directory.path)
        let agent = try AgentProcess(
            beside: server.url, exportDirectory: directory.path,
            prefix: network.prefix(.server))
        // The socket's directory is mounted into the client's world under another name.
        let inside = try TemporaryDirectory()
        let socket = inside.path.appending("agent.sock").string
        let mount = "mount --bind '\(agent.socket.removingLastComponent())' '\(inside.path)'"
        func client(_ preparation: String, _ socket: String) throws -> [String] {
            let words = try tryFiles(server.url, agent, ["file"], socket: socket)
            let (_, output) = try ChildProcess.run(
                "/usr/bin/unshare",
                ["-m"] + network.prefix(.client)
                    + ["/bin/sh", "-c", preparation + " && exec \"$@\"", "sh"] + words)
            return output.split(separator: "\n").map(String.init)
        }
        let local = ["local (agent)", "file readOnly local ok", "file readWrite local ok"]
        #expect(try client(mount, socket) == local, "\(agent.log)")
        // Without the socket: by RPC.
        let without = try client("true", socket)
        #expect(without.count == 3 && without[1] == "file readOnly no_agent ok", "\(without)")
        // An agent of this namespace, which the server's address does not lead to.
        let other = try AgentProcess(beside: server.url, exportDirectory: directory.path)
        let words = try tryFiles(server.url, agent, ["file"], socket: other.socket.string)
        let (_, output) = try ChildProcess.run(
            network.prefix(.client)[0], Array(network.prefix(.client).dropFirst()) + words)
        #expect(output.contains("file readOnly not_claimed ok"), "\(output)")
        #expect(output.contains("file readWrite not_claimed ok"), "\(output)")
    }

    /// `localio-bench open` in a process of its own, where no other test opens anything
    /// meanwhile: its rows' columns.
    private func openBench(_ here: RealAgentSite, count: Int) throws -> [[String]] {
        let (status, output) = try ChildProcess.run(
            EmbeddedServerProcess.beside("localio-bench"),
            [
                "open", "--count", "\(count)", "--server", here.site.server.url, "--directory",
                here.site.directory.path.string, "--socket", here.agent.socket.string,
                "--program-port", "\(here.agent.programPort)",
            ], timeout: .seconds(300))
        #expect(status == 0 && output.hasSuffix("local (agent)\n"), "\(output) \(here.agent.log)")
        let rows = output.split(separator: "\n").dropFirst().map { line in
            line.split(separator: " ").map(String.init).filter { $0 != "->" }
        }
        try #require(rows.map(\.first) == ["open(2)", "rpc", "localio"], "\(output)")
        try #require(rows.allSatisfy { $0.count >= 11 }, "\(output)")
        return rows
    }

    /// As full as it gets: a sanitized build alone may make fewer opens, and is not weighed.
    @Test(.enabled(if: Requirement.root.isMet), arguments: ServerKind.available)
    func tenThousandOpensLeaveNothingBehind(kind: ServerKind) throws {
        let count = isSanitized ? testOperations(10_000) : 10_000
        let here = try RealAgentSite(kind)
        // What the agent makes once, such as its threads' own heaps, is there after some opens.
        _ = try openBench(here, count: 500)
        // The only client is then the one that asks.
        #expect(poll(timeout: .seconds(5)) { here.agentStatus("client_count") == 1 })
        let before = ProcessUse.of(process: here.agent.processIdentifier)
        let opened = here.agentStatus("opened")
        for row in try openBench(here, count: count) {
            #expect(row[7] == row[8], "descriptors: \(row)")
            let growth = try #require(Double(row[10])) - #require(Double(row[9]))
            #expect(isSanitized || growth <= 2, "MiB of the client: \(row)")
            guard row[0] == "localio" else { continue }
            // LOOKUP of the directory and of the file, ACCESS; and with a read an open answered by
            // the agent each time, one message there and one back.
            #expect(row[5] == "3.00", "RPC calls an open: \(row)")
            #expect(row[6] == "0", "all open locally: \(row)")
        }
        // A hundred more to warm up. Of what is opened and closed again the agent hears nothing,
        // but for the first: after a hundred opens with a read it is asked ahead.
        #expect(here.agentStatus("opened") == opened + count + 100 + 1)
        // The agent has closed what it handed out, and forgotten the client.
        let isEmpty = poll(timeout: .seconds(5)) {
            here.agentStatus("client_count") == 1 && here.agentStatus("open_count") == 0
                && ProcessUse.of(process: here.agent.processIdentifier).descriptors
                    <= before.descriptors
        }
        #expect(isEmpty, "descriptors of the agent: \(before)")
        let after = ProcessUse.of(process: here.agent.processIdentifier)
        let growth = after.residentBytes - before.residentBytes
        print("agent beside \(kind): \(before) before, \(after) after \(count) opens")
        #expect(isSanitized || growth <= 1 << 20, "memory of the agent: \(before), \(after)")
    }

    @Test(.enabled(if: Requirement.ipv6.isMet)) func overIPv6() throws {
        let directory = try TemporaryDirectory()
        let server = try EmbeddedServerProcess(
            exporting: directory.path, arguments: ["--bind", "::"])
        defer { server.stop() }
        let url = server.url.replacing("127.0.0.1", with: "[::1]")
        let agent = try AgentProcess(beside: url, exportDirectory: directory.path)
        defer { agent.stop() }
        var configuration = ClientConfiguration()
        configuration.locality = .agent
        configuration.agentSocket = agent.socket
        configuration.programPort = agent.programPort
        let client = try LocalIOClient.connectBlocking(
            to: NFSURL(url), configuration: configuration)
        defer { client.closeBlocking() }
        #expect(client.locality == .local(.agent), "\(client.probeReport) \(agent.log)")
        let steps = client.probeReport.steps.map(\.outcome)
        #expect(steps.contains("to [::1]:\(agent.programPort) from ::1"), "\(steps)")
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == nil)
        try file.closeBlocking()
    }
}

/// Two network namespaces with a veth pair between them; gone when it goes.
private final class TwoNamespaces {
    enum Side: String { case server, client }

    private let tag = String(UInt32.random(in: 0...0xffff), radix: 16)
    private let subnet = UInt8.random(in: 1...254)
    private let ip: String
    var serverAddress: String { "10.213.\(subnet).1" }

    init() throws {
        ip = try #require(ChildProcess.find("ip"))
        for side in [Side.server, .client] {
            try run("netns", "add", name(side))
            try run("-n", name(side), "link", "set", "lo", "up")
        }
        try run(
            "link", "add", "lios\(tag)", "netns", name(.server), "type", "veth", "peer", "name",
            "lioc\(tag)", "netns", name(.client))
        for (side, link, host) in [
            (Side.server, "lios\(tag)", serverAddress),
            (.client, "lioc\(tag)", "10.213.\(subnet).2"),
        ] {
            try run("-n", name(side), "address", "add", "\(host)/24", "dev", link)
            try run("-n", name(side), "link", "set", link, "up")
        }
    }

    deinit {
        for side in [Side.server, .client] {
            _ = try? ChildProcess.run(ip, ["netns", "del", name(side)])
        }
    }

    private func name(_ side: Side) -> String { "localio-\(tag)-\(side.rawValue)" }
    private func run(_ words: String...) throws { try ChildProcess.mustRun(ip, words) }

    /// Words that run a program on one side.
    func prefix(_ side: Side) -> [String] { [ip, "netns", "exec", name(side)] }

    /// The embedded server on the server's side.
    func serve(_ directory: FilePath) throws -> (url: String, process: ChildProcess) {
        let port = try Port.unused()
        let words = prefix(.server) + [
            try EmbeddedServerProcess.localiod(), "serve", directory.string, "--bind",
            serverAddress, "--port", "\(port)",
        ]
        let process = try ChildProcess(words[0], Array(words.dropFirst()))
        let answers = poll(timeout: .seconds(10)) {
            let probe = prefix(.client) + [
                "/bin/bash", "-c", "exec 3<>/dev/tcp/\(serverAddress)/\(port)",
            ]
            return (try? ChildProcess.run(probe[0], Array(probe.dropFirst())))?.exitCode == 0
        }
        try #require(answers)
        return ("nfs://\(serverAddress):\(port)\(directory)", process)
    }
}

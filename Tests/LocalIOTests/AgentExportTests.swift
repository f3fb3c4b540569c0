// An export that the server itself drops while clients use it: they leave the local road for it,
// and for it alone, and come back when it is back.
import LocalIOBench
import LocalIOTesting
import Logging
import NFSClient
import SystemPackage
import Testing

@testable import LocalIO

@Suite(.serialized, .enabled(if: Requirement.ganesha.isMet)) struct AgentExportTests {
    /// Ganesha with two exports, an agent for both, and a client with an open file in each.
    private final class TwoExports {
        let directories: [TemporaryDirectory]
        let server: GaneshaServer
        let agent: AgentProcess
        let clients: [LocalIOClient]
        let files: [LocalIOFile]

        /// - Parameter intervals: further arguments of the agent.
        init(_ intervals: [String]) throws {
            directories = try [TemporaryDirectory(), TemporaryDirectory()]
            server = try GaneshaServer(
                exporting: directories[0].path, others: [directories[1].path])
            let mappings = directories.map { "\($0.path)=\($0.path)" }.joined(separator: ",")
            let agent = try AgentProcess(
                beside: server.url, exportDirectory: directories[0].path,
                arguments: ["--exports", mappings] + intervals)
            self.agent = agent
            let (url, first) = (server.url, directories[0].path.string)
            clients = try directories.map { directory in
                var configuration = ClientConfiguration()
                configuration.locality = .agent
                configuration.agentSocket = agent.socket
                configuration.programPort = agent.programPort
                var logger = Logger(label: "localio-tests")
                logger.logLevel = .error
                return try LocalIOClient.connectBlocking(
                    to: NFSURL(url.replacing(first, with: directory.path.string)),
                    configuration: configuration, logger: logger)
            }
            files = try clients.map {
                try $0.openBlocking("file", .readWrite, options: [.create])
            }
            #expect(files.allSatisfy { $0.fallbackReason == nil }, "\(agent.log)")
        }

        func stop() {
            for client in clients { client.closeBlocking() }
            agent.stop()
            server.stop()
            for directory in directories { directory.remove() }
        }

        /// Writes a page and commits it.
        func write(_ index: Int, _ byte: UInt8) throws {
            let memory = TestMemory(4096)
            memory.bytes.initializeMemory(as: UInt8.self, repeating: byte)
            let count = try files[index].writeBlocking(
                from: UnsafeRawBufferPointer(memory.bytes), at: 0)
            #expect(count == 4096)
            try files[index].commitBlocking()
        }
    }

    /// By the export list, and by what the server answers about open files.
    @Test(arguments: [
        ["--export-list", "250", "--rejudge", "60000"],
        ["--export-list", "60000", "--rejudge", "250"],
    ])
    func anExportIsDroppedAndComesBack(intervals: [String]) throws {
        let here = try TwoExports(intervals)
        defer { here.stop() }
        try here.server.export([here.directories[1].path])
        let isRemote = poll(timeout: .seconds(10)) { here.files[0].fallbackReason != nil }
        #expect(isRemote, "\(here.agent.log)")
        // By RPC the server itself says that it has the file no longer.
        let error = #expect(throws: LocalIOError.self) { try here.write(0, 1) }
        #expect(error?.errno == .staleNFSFileHandle, "\(String(describing: error))")
        #expect(throws: LocalIOError.self) {
            try here.clients[0].openBlocking("file", .readOnly)
        }
        // The other export is not concerned.
        #expect(here.files[1].fallbackReason == nil)
        try here.write(1, 2)
        try here.server.export(here.directories.map(\.path))
        let isBack = poll(timeout: .seconds(10)) { here.files[0].fallbackReason == nil }
        #expect(isBack, "\(String(describing: here.files[0].fallbackReason)) \(here.agent.log)")
        try here.write(0, 3)
    }

    @Test func aServerComesBackWithoutTheExport() throws {
        let here = try TwoExports(["--export-list", "250"])
        defer { here.stop() }
        here.server.kill9()
        try here.server.export([here.directories[1].path])
        try here.server.restart()
        let isBack = poll(timeout: .seconds(5)) { here.files[1].fallbackReason == nil }
        #expect(isBack, "\(here.agent.log)")
        try here.write(1, 2)
        #expect(here.files[0].fallbackReason != nil)
        try here.server.export(here.directories.map(\.path))
        let isThere = poll(timeout: .seconds(10)) { here.files[0].fallbackReason == nil }
        #expect(isThere, "\(String(describing: here.files[0].fallbackReason)) \(here.agent.log)")
        try here.write(0, 3)
    }
}

// The LOCALIO program's client against the embedded server, and against what is none.
import CNFS
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@testable import NFSClient

@Suite struct LocalIOProgramTests {
    private func server() throws -> (EmbeddedServerProcess, TemporaryDirectory, UInt16) {
        let directory = try TemporaryDirectory()
        let server = try EmbeddedServerProcess(exporting: directory.path)
        let port = try #require(try NFSURL(server.url).nfsPort)
        return (server, directory, port)
    }

    @Test func theEmbeddedServerAnswers() throws {
        let (server, directory, port) = try server()
        defer {
            server.stop()
            directory.remove()
        }
        let program = try LocalIOProgram.connectBlocking(
            address: "127.0.0.1", port: port, timeout: .seconds(5))
        #expect(program.sourceAddress == "127.0.0.1")
        try program.null()
        try program.uuidIsLocal([UInt8](0..<16))
        // The connection carries more than one call, and survives others beside it.
        let other = try LocalIOProgram.connectBlocking(
            address: "127.0.0.1", port: port, timeout: .seconds(5))
        try other.null()
        try program.null()
    }

    @Test func aKilledServerIsAnErrorNotASignal() throws {
        let (server, directory, port) = try server()
        defer {
            server.stop()
            directory.remove()
        }
        let program = try LocalIOProgram.connectBlocking(
            address: "127.0.0.1", port: port, timeout: .seconds(2))
        try program.null()
        server.kill9()
        for _ in 0..<3 {
            #expect(throws: RPCError.self) { try program.null() }
        }
        let error = #expect(throws: RPCError.self) {
            try LocalIOProgram.connectBlocking(
                address: "127.0.0.1", port: port, timeout: .seconds(2))
        }
        #expect(error?.description.contains("cannot connect") == true)
    }

    @Test func aServerThatSaysNothingTimesOut() throws {
        let listener = try SilentListener()
        let program = try LocalIOProgram.connectBlocking(
            address: "127.0.0.1", port: listener.port, timeout: .milliseconds(200))
        let error = #expect(throws: RPCError.self) { try program.null() }
        #expect(error?.cause == .timedOut)
    }

    @Test(.enabled(if: Requirement.ganesha.isMet))
    func ganeshaHasNoSuchProgram() throws {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let server = try GaneshaServer(exporting: directory.path)
        defer { server.stop() }
        let port = try #require(try NFSURL(server.url).nfsPort)
        let program = try LocalIOProgram.connectBlocking(
            address: "127.0.0.1", port: port, timeout: .seconds(5))
        let error = #expect(throws: RPCError.self) { try program.null() }
        guard case .unreachable = error?.cause else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func namesAreNoAddresses() {
        #expect(throws: RPCError.self) {
            try LocalIOProgram.connectBlocking(
                address: "no such host", port: 1, timeout: .seconds(1))
        }
    }
}

/// Takes connections, by its backlog, and never says a word.
private final class SilentListener {
    let port: UInt16
    private let descriptor: Int32

    init() throws {
        port = UInt16(try Port.unused())
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length)
            }
        }
        try #require(bound == 0 && listen(descriptor, 4) == 0)
    }

    deinit { close(descriptor) }
}

// The servers that every integrity test runs on, and clients of them.
import Glibc
import LocalIOBench
import LocalIOTesting
import Logging
import NFSClient
import SystemPackage

@testable import LocalIO

/// Which server a test runs on.
enum ServerKind: String, CaseIterable, Sendable {
    case embedded, ganesha

    var isAvailable: Bool {
        switch self {
        case .embedded: true
        case .ganesha: Requirement.ganesha.isMet
        }
    }

    func start(in directory: FilePath, arguments: [String] = []) throws -> any NFSServerFixture {
        switch self {
        case .embedded:
            return try EmbeddedServerProcess(exporting: directory, arguments: arguments)
        case .ganesha: return try GaneshaServer(exporting: directory)
        }
    }

    static var available: [ServerKind] { allCases.filter(\.isAvailable) }
}


/// Page-aligned memory of a test.
final class TestMemory: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer

    init(_ byteCount: Int) {
        bytes = .allocate(byteCount: byteCount, alignment: 4096)
        bytes.initializeMemory(as: UInt8.self, repeating: 0x5a)
    }

    deinit { bytes.deallocate() }
}

extension LocalIOFile {
    /// What a blocking read of `count` bytes into the memory's start brings.
    func read(_ memory: TestMemory, _ count: Int, at offset: Int) throws -> [UInt8] {
        let target = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<count])
        let got = try readBlocking(into: target, at: UInt64(offset))
        return Array(target[..<got])
    }
}

/// A server, its directory and clients of it; gone when it goes.
final class Site {
    let directory: TemporaryDirectory
    /// The exported directory.
    let root: FilePath
    let server: any NFSServerFixture
    private(set) var clients: [LocalIOClient] = []

    /// - Parameter exporting: another directory than one of its own.
    init(
        _ kind: ServerKind, arguments: [String] = [], exporting other: FilePath? = nil
    ) throws {
        directory = try TemporaryDirectory()
        root = other ?? directory.path
        server = try kind.start(in: root, arguments: arguments)
    }

    deinit {
        for client in clients { client.closeBlocking() }
        server.stop()
        directory.remove()
    }

    func connect(
        _ locality: LocalitySetting, policy: MisalignmentPolicy = .split,
        change: (inout ClientConfiguration) -> Void = { _ in }
    ) throws -> LocalIOClient {
        var configuration = ClientConfiguration()
        configuration.locality = locality
        configuration.misalignment = policy
        change(&configuration)
        // Lost connections are what many of these tests make: only errors are news.
        var logger = Logger(label: "localio-tests")
        logger.logLevel = .error
        let client = try LocalIOClient.connectBlocking(
            to: NFSURL(server.url), configuration: configuration, logger: logger)
        clients.append(client)
        return client
    }

    /// The file's bytes as the local file system has them, through neither road.
    func contents(_ name: String) throws -> [UInt8] {
        let path = root.appending(name)
        let file = try FileDescriptor.open(path, .readOnly)
        defer { try? file.close() }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = try chunk.withUnsafeMutableBytes { try file.read(into: $0) }
            if count == 0 { return bytes }
            bytes.append(contentsOf: chunk[..<count])
        }
    }
}

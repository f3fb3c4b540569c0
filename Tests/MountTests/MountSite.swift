// A private server, a mount of it by the built program, and what must be gone afterwards.
import CLinux
import Foundation
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

/// Which server a test mounts.
enum MountedServer: String, CaseIterable, Sendable {
    case embedded, ganesha

    static var available: [MountedServer] {
        allCases.filter { $0 == .embedded || Requirement.ganesha.isMet }
    }

    func start(
        in directory: FilePath, arguments: [String] = []
    ) throws -> any NFSServerFixture {
        self == .embedded
            ? try EmbeddedServerProcess(exporting: directory, arguments: arguments)
            : try GaneshaServer(exporting: directory)
    }
}

/// A server and the road of a mount of it.
struct MountedRoad: Sendable, CustomTestStringConvertible {
    let server: MountedServer
    let isLocal: Bool

    var options: String { isLocal ? "local=on" : "local=off" }
    var testDescription: String { "\(server.rawValue), \(isLocal ? "local" : "rpc")" }

    /// For tests that take long: both servers and both roads, not all four pairs.
    static var two: [MountedRoad] {
        all.filter { $0.isLocal == ($0.server == .embedded) }
    }

    static var all: [MountedRoad] {
        MountedServer.available.flatMap { server in
            [true, false].map { MountedRoad(server: server, isLocal: $0) }
        }
    }
}

/// Whether mounting can be tested here.
var canMount: Bool { Requirement.fuse.isMet && Requirement.root.isMet }

extension MountProcess {
    /// The status file's JSON.
    func status() throws -> [String: Any] {
        guard let data = FileManager.default.contents(atPath: point + "/.localio-status"),
            let object = try JSONSerialization.jsonObject(with: data) as? [String: Any]
        else { throw BenchError("no status of \(point)") }
        return object
    }

    /// Bytes that went by a road so far.
    func bytes(_ road: String) throws -> Int {
        let roads = try status()["roads"] as? [String: [String: Any]]
        return roads?[road]?["bytes"] as? Int ?? -1
    }
}

/// A server with its exported directory, and mounts of it.
final class MountSite {
    let directory: TemporaryDirectory
    let server: any NFSServerFixture
    private(set) var mounts: [MountProcess] = []

    /// - Parameter arguments: of the embedded server.
    init(_ kind: MountedServer, arguments: [String] = []) throws {
        directory = try TemporaryDirectory(mode: 0o777)
        chmod(directory.path.string, 0o777)
        server = try kind.start(in: directory.path, arguments: arguments)
    }

    deinit {
        for mount in mounts { mount.remove() }
        server.stop()
        directory.remove()
    }

    /// The exported directory on this host, past server and mount.
    var exported: String { directory.path.string }

    func mount(_ options: String = "") throws -> MountProcess {
        let mount = try MountProcess(url: server.url, options: options)
        mounts.append(mount)
        return mount
    }
}

/// Random numbers that a seed gives again (xorshift).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed | 1 }

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}

/// Runs a shell command that must succeed; its output.
@discardableResult
func shell(_ command: String, timeout: Duration = .seconds(60)) throws -> String {
    let seconds = Int(timeout.components.seconds)
    let (code, output) = try ChildProcess.run(
        "/usr/bin/timeout", ["-s", "KILL", "\(seconds)", "/bin/bash", "-c", command],
        timeout: timeout + .seconds(5))
    guard code == 0 else { throw BenchError("status \(code) of \(command): \(output)") }
    return output
}

func readFile(_ path: String) throws -> [UInt8] { try readFile(FilePath(path)) }

func readFile(_ path: FilePath) throws -> [UInt8] {
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

func writeFile(_ path: String, _ bytes: [UInt8]) throws {
    let file = try FileDescriptor.open(
        FilePath(path), .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
    defer { try? file.close() }
    _ = try file.writeAll(bytes)
}

// Temporary directories, servers and programs for the tests of this target.
import Foundation
import Glibc
import Logging
import Testing

@testable import LocalIOServer

/// A directory that goes with its owner.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/localio-server.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw ToolFailure("mkdtemp: errno \(errno)") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { path + "/" + name }

    func make(_ name: String) throws -> String {
        try FileManager.default.createDirectory(
            atPath: file(name), withIntermediateDirectories: true)
        return file(name)
    }
}

struct ToolFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// An embedded server of this process, stopped with its owner.
final class Served: Sendable {
    let server: EmbeddedServer
    let port: Int

    init(
        _ directory: String, faults: ServerFaults = ServerFaults(),
        change: (inout ServerConfiguration) -> Void = { _ in }
    ) throws {
        var logger = Logger(label: "test") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .error
        var configuration = ServerConfiguration(
            directory: directory, faults: faults, logger: logger)
        change(&configuration)
        server = EmbeddedServer(configuration)
        try server.start()
        port = try #require(server.port)
    }

    deinit { server.stop() }
}

/// What a program answered.
struct Output {
    var status: Int32
    var output: String
    var error: String
}

/// A program under a time limit, its standard streams kept.
enum Tool {
    static func run(_ arguments: [String], seconds: Int = 60) throws -> Output {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        process.arguments = ["-k", "5", "\(seconds)"] + arguments
        let (output, error) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = error
        process.standardInput = FileHandle.nullDevice
        try process.run()
        // The error pipe holds little; the output is read to its end first.
        let text = output.fileHandleForReading.readDataToEndOfFile()
        let complaint = error.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Output(
            status: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
            error: String(decoding: complaint, as: UTF8.self))
    }

    /// Runs it and fails unless it ends with 0.
    @discardableResult
    static func succeed(_ arguments: [String]) throws -> String {
        let result = try run(arguments)
        guard result.status == 0 else {
            throw ToolFailure("\(arguments): \(result.status) \(result.error)")
        }
        return result.output
    }

    static func exists(_ name: String) -> Bool { access("/usr/bin/\(name)", X_OK) == 0 }

    static var hasLibnfsTools: Bool { exists("nfs-ls") && exists("nfs-cp") && exists("nfs-cat") }
    static var isRoot: Bool { geteuid() == 0 }

    /// localiod as the package built it, next to the test bundle.
    static var localiod: String {
        let bundle = Bundle.allBundles.map(\.bundlePath).first { $0.hasSuffix(".xctest") }
        let beside = bundle ?? CommandLine.arguments[0]
        return URL(fileURLWithPath: beside).deletingLastPathComponent().path + "/localiod"
    }
}

/// A `localiod serve` process, killed with its owner.
final class Daemon {
    let process = Process()
    let port: Int
    let portFile: String

    /// Starts it as `uid` (0: as this process) and waits until it listens.
    init(_ directory: String, uid: Int = 0, files: TemporaryDirectory, _ options: [String] = [])
        throws
    {
        portFile = files.file("port-\(UUID().uuidString)")
        var arguments = [Tool.localiod, "serve", directory, "--port-file", portFile] + options
        if uid != 0 {
            let ids = ["--reuid", "\(uid)", "--regid", "\(uid)", "--clear-groups"]
            arguments = ["/usr/bin/setpriv"] + ids + arguments
        }
        process.executableURL = URL(fileURLWithPath: arguments[0])
        process.arguments = Array(arguments.dropFirst())
        process.standardOutput = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        for _ in 0..<2000 where access(portFile, R_OK) != 0 && process.isRunning {
            usleep(10_000)
        }
        let text = (try? String(contentsOfFile: portFile, encoding: .utf8)) ?? ""
        guard text.hasSuffix("\n"), let port = Int(text.dropLast()) else {
            if process.isRunning { process.terminate() }
            throw ToolFailure("localiod did not start")
        }
        self.port = port
    }

    /// Sends a signal and waits for the end.
    @discardableResult
    func end(_ signal: Int32) -> Int32 {
        if process.isRunning { kill(process.processIdentifier, signal) }
        process.waitUntilExit()
        return process.terminationStatus
    }

    deinit { end(SIGKILL) }
}

/// A seeded generator; the seed comes from LOCALIO_SEED or the clock and is printed.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ test: String) {
        let given = ProcessInfo.processInfo.environment["LOCALIO_SEED"].flatMap { UInt64($0) }
        state = given ?? UInt64.random(in: 1...UInt64.max)
        print("\(test): LOCALIO_SEED=\(state)")
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}

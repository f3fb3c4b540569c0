// Runs the built localio-bench as people do, and looks at what it leaves.
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage

/// One run of the program to its end.
struct ProgramRun {
    var status: Int32
    var output: String

    /// The complaint, without anything beside it.
    var lines: [String] { output.split(separator: "\n").map(String.init) }
}

enum BenchProgram {
    /// Beside the test bundle.
    static let path: String = {
        let bundle = CommandLine.arguments.first { $0.contains(".xctest") } ?? ""
        let parts = bundle.split(separator: "/", omittingEmptySubsequences: false)
        let inner = parts.firstIndex { $0.contains(".xctest") } ?? parts.count
        return parts[..<inner].joined(separator: "/") + "/localio-bench"
    }()

    /// - Parameter meanwhile: called again and again while the program runs.
    static func run(
        _ arguments: [String], environment: [String] = [],
        meanwhile: (ChildProcess) -> Void = { _ in }
    ) throws -> ProgramRun {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let log = directory.path.string + "/output"
        let child = try ChildProcess(
            "/usr/bin/env", environment + [path] + arguments, outputPath: log)
        defer { child.kill9() }
        let ended = poll(timeout: .seconds(90)) {
            meanwhile(child)
            return !child.isRunning
        }
        let output = Files.text(at: log) ?? ""
        guard ended, let status = child.exitCode else {
            throw BenchError("localio-bench \(arguments) hung: \(output)")
        }
        return ProgramRun(status: status, output: output)
    }

    /// Children of a process, by /proc.
    static func children(of parent: Int32) -> [Int32] {
        guard let entries = opendir("/proc") else { return [] }
        defer { closedir(entries) }
        var found: [Int32] = []
        while let entry = readdir(entries) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard let pid = Int32(name), let stat = Files.text(at: "/proc/\(pid)/stat"),
                let end = stat.lastIndex(of: ")")
            else { continue }
            let fields = stat[stat.index(after: end)...].split(separator: " ")
            if fields.count > 1, Int32(fields[1]) == parent { found.append(pid) }
        }
        return found
    }

    /// Names in a directory.
    static func names(in directory: String) -> [String] {
        guard let entries = opendir(directory) else { return [] }
        defer { closedir(entries) }
        var found: [String] = []
        while let entry = readdir(entries) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { found.append(name) }
        }
        return found.sorted()
    }
}

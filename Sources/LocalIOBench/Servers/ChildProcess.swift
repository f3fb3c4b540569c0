// A child process that never outlives us: killed by the kernel when we die, reaped always.
internal import CLinux
internal import Glibc
internal import SystemPackage
internal import Threads

/// A running program with its output in a file or pipe.
package final class ChildProcess: Sendable {
    private struct State {
        var exitCode: Int32?
    }

    package let identifier: Int32
    /// The program's name, for messages.
    package let name: String
    private let state = Lock(State())

    /// - Parameters:
    ///   - arguments: without the program's own name.
    ///   - outputPath: takes standard output and error; appended to. Discarded if nil.
    ///   - sharesOutput: writes to our own standard output instead.
    ///   - outlivesUs: for a shared helper that ends by itself when its last user has gone.
    package init(
        _ path: String, _ arguments: [String], outputPath: String? = nil,
        sharesOutput: Bool = false, outlivesUs: Bool = false
    ) throws(BenchError) {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        let output =
            sharesOutput
            ? dup(STDOUT_FILENO)
            : unsafe open(
                outputPath ?? "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard output >= 0 else {
            throw .system("cannot write \(outputPath ?? "/dev/null")", errno: errno)
        }
        defer { close(output) }
        let pid = Spawner.shared.spawn(path, arguments, output: output, dies: !outlivesUs)
        guard pid > 0 else { throw .system("cannot start \(path)", errno: pid) }
        identifier = pid
        self.name = name
    }

    deinit { kill9() }

    /// The exit code, or 128 + signal; nil while the process runs.
    package var exitCode: Int32? {
        state.withLock { state in
            if let code = state.exitCode { return code }
            var status: Int32 = 0
            let answer = unsafe clinux_try_wait(identifier, &status)
            if answer > 0 { state.exitCode = clinux_exit_code(status) }
            if answer < 0 { state.exitCode = 127 }
            return state.exitCode
        }
    }

    package var isRunning: Bool { exitCode == nil }

    /// Sends a signal if the process still runs; never to a recycled id.
    package func signal(_ number: Int32) {
        state.withLock { if $0.exitCode == nil { kill(identifier, number) } }
    }

    /// Waits for the end; nil after `timeout`.
    package func wait(timeout: Duration) -> Int32? {
        _ = poll(timeout: timeout) { exitCode != nil }
        return exitCode
    }

    /// SIGKILL, and reaps.
    package func kill9() {
        guard isRunning else { return }
        signal(SIGKILL)
        _ = wait(timeout: .seconds(10))
    }

    /// SIGTERM, then SIGKILL for one that does not end within `grace`; reaps.
    package func terminate(grace: Duration = .seconds(5)) {
        guard isRunning else { return }
        signal(SIGTERM)
        if wait(timeout: grace) == nil { kill9() }
    }

    /// User and system CPU time so far in nanoseconds, in the kernel's ticks of 10 ms; nil if
    /// the process has gone.
    package var cpuNanoseconds: UInt64? {
        guard let text = Files.text(at: "/proc/\(identifier)/stat"),
            let end = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let system = UInt64(fields[12])
        else { return nil }
        return (user + system) * (1_000_000_000 / UInt64(max(1, sysconf(Int32(_SC_CLK_TCK)))))
    }

    /// Runs a program to its end and answers its exit code and combined output.
    package static func run(
        _ path: String, _ arguments: [String], timeout: Duration = .seconds(60)
    ) throws(BenchError) -> (exitCode: Int32, output: String) {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let log = directory.path.string + "/output"
        let child = try ChildProcess(path, arguments, outputPath: log)
        guard let code = child.wait(timeout: timeout) else {
            child.kill9()
            throw BenchError("\(child.name) did not end within \(timeout)")
        }
        return (code, Files.text(at: log) ?? "")
    }

    /// Runs a program that must succeed; its output.
    @discardableResult
    package static func mustRun(
        _ path: String, _ arguments: [String], timeout: Duration = .seconds(60)
    ) throws(BenchError) -> String {
        let (code, output) = try run(path, arguments, timeout: timeout)
        guard code == 0 else {
            let line = output.split(separator: "\n").last.map(String.init) ?? "no output"
            throw BenchError("\(path) failed with status \(code): \(line)")
        }
        return output
    }

    /// The program's full path if it is installed where Debian puts it.
    package static func find(_ name: String) -> String? {
        let search = environment("PATH")?.split(separator: ":").map(String.init) ?? []
        let places = search + ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        for place in places where unsafe access("\(place)/\(name)", X_OK) == 0 {
            return "\(place)/\(name)"
        }
        return nil
    }
}

/// One immortal thread that starts every child: the kernel's parent-death signal is sent when
/// the *thread* that forked ends, and pool threads come and go.
private final class Spawner: Sendable {
    private struct Request {
        let path: String
        let arguments: [String]
        let output: Int32
        let dies: Bool
        let reply: Reply
    }

    private final class Reply: Sendable {
        let done = Semaphore()
        let pid = Lock(Int32(0))
    }

    static let shared = Spawner()

    private let requests = Lock([Request]())
    private let arrived = Semaphore()
    private let thread = Lock(OwnedThread?.none)

    private init() {
        let started = OwnedThread(name: "spawner") { [self] in serve() }
        thread.withLock { $0 = started }
    }

    func spawn(_ path: String, _ arguments: [String], output: Int32, dies: Bool) -> Int32 {
        guard thread.withLock({ $0 != nil }) else { return -EAGAIN }
        let reply = Reply()
        let request = Request(
            path: path, arguments: arguments, output: output, dies: dies, reply: reply)
        requests.withLock { $0.append(request) }
        arrived.signal()
        reply.done.wait()
        return reply.pid.withLock { $0 }
    }

    private func serve() {
        while true {
            arrived.wait()
            let next = requests.withLock { $0.isEmpty ? nil : $0.removeFirst() }
            guard let next else { continue }
            let pid = Self.start(next)
            next.reply.pid.withLock { $0 = pid }
            next.reply.done.signal()
        }
    }

    private static func start(_ request: Request) -> Int32 {
        var pointers: [UnsafeMutablePointer<CChar>?] = unsafe []
        for argument in [request.path] + request.arguments {
            unsafe pointers.append(strdup(argument))
        }
        unsafe pointers.append(nil)
        defer { for unsafe pointer in unsafe pointers { unsafe free(pointer) } }
        return unsafe clinux_spawn(
            request.path, pointers, request.output, request.output, request.dies)
    }
}

// TCP ports of the loopback address, and the port mapper that NFSv3 Ganesha wants beside it.
internal import CLinux
internal import Glibc
internal import Threads

/// TCP ports of 127.0.0.1.
package enum Port {
    /// A port nobody uses now; another process may still take it before it is bound.
    package static func unused() throws(BenchError) -> Int {
        let port = clinux_unused_port()
        guard port > 0 else { throw .system("no unused TCP port on 127.0.0.1", errno: port) }
        return Int(port)
    }

    /// Whether something accepts connections there.
    package static func answers(_ port: Int) -> Bool { clinux_port_answers(Int32(port)) }

    /// Whether something accepts connections at a Unix socket.
    package static func listens(unixSocket path: String) -> Bool {
        unsafe clinux_socket_answers(path)
    }
}

/// A running rpcbind: the machine's own where there is one, else one that all our processes
/// share and that ends when the last of them lets go, even by kill -9.
///
/// Every user holds a shared flock on one file. A guard process starts rpcbind and waits for the
/// exclusive lock, which it gets when no user is left; then it ends rpcbind. The kernel counts
/// the references, so none can be lost. The locked files are the programs themselves, which are
/// there anyway, so that no lock file stays behind.
package final class PortMapper: Sendable {
    private static let socketPath = "/run/rpcbind.sock"

    private let users: Lock<Int32>

    /// Makes sure that rpcbind answers. Needs root if it has to be started.
    package init() throws(BenchError) {
        guard let program = ChildProcess.find("rpcbind") else {
            throw BenchError("rpcbind is not installed; run Config/setup.sh")
        }
        users = Lock(try Self.lock(program, exclusive: false))
        do {
            try Self.startIfNeeded(program)
        } catch {
            release()
            throw error
        }
    }

    deinit { release() }

    /// Lets go; the last of all processes to do so ends an rpcbind that we started.
    package func release() {
        users.withLock { descriptor in
            if descriptor >= 0 { close(descriptor) }
            descriptor = -1
        }
    }

    private static var answers: Bool {
        unsafe clinux_socket_answers(socketPath) || clinux_port_answers(111)
    }

    private static func lock(_ path: String, exclusive: Bool) throws(BenchError) -> Int32 {
        let descriptor = unsafe clinux_lock_file(path, exclusive)
        guard descriptor >= 0 else { throw .system("cannot lock \(path)", errno: descriptor) }
        return descriptor
    }

    /// One process at a time looks and starts: whoever holds the lock on the shell.
    private static func startIfNeeded(_ program: String) throws(BenchError) {
        let gate = try lock("/bin/sh", exclusive: true)
        defer { close(gate) }
        if answers { return }
        let guardian = try ChildProcess(
            "/bin/sh", ["-c", script, "sh", program], outlivesUs: true)
        Guardians.shared.adopt(guardian)
        guard poll(timeout: .seconds(5), until: { answers || !guardian.isRunning }), answers
        else { throw BenchError("rpcbind does not answer on \(socketPath) after it was started") }
    }

    private static let script = """
        "$1" -f & child=$!
        exec 9<"$1"
        flock -x 9
        kill "$child" 2>/dev/null
        wait "$child"
        rm -f /run/rpcbind.sock /run/rpcbind.lock
        """
}

/// Keeps the guard processes that this process started, so that each is reaped at the end and
/// none is killed by a forgotten reference.
private final class Guardians: Sendable {
    static let shared = Guardians()
    private let running = Lock([ChildProcess]())

    func adopt(_ guardian: ChildProcess) {
        running.withLock { running in
            running.removeAll { !$0.isRunning }
            running.append(guardian)
        }
    }
}

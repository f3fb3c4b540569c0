// The shared private Ganesha, with what the tests of a client need besides: stopping and
// continuing it.
import Foundation
import Glibc
import LocalIOBench
import LocalIOTesting
import NFSClient
import SystemPackage

/// One Ganesha with one export in a temporary directory, gone afterwards.
final class PrivateGanesha: Sendable {
    private let directory: TemporaryDirectory
    private let server: GaneshaServer

    /// Whether these tests can run here; says why not.
    static var isAvailable: Bool { Requirement.ganesha.isMet }

    init() throws {
        directory = try TemporaryDirectory(mode: 0o777)
        chmod(directory.path.string, 0o777)
        server = try GaneshaServer(exporting: directory.path)
    }

    deinit {
        resume()
        server.stop()
        directory.remove()
    }

    /// The exported directory on this host.
    var exported: String { directory.path.string }
    var url: NFSURL {
        get throws { try NFSURL(server.url) }
    }
    var nfsPort: UInt16 {
        get throws { try url.nfsPort ?? 0 }
    }
    var mountPort: UInt16 {
        get throws { try url.mountPort ?? 0 }
    }

    /// Starts it again on the same ports and waits until it answers.
    func start() throws { try server.restart() }

    /// As a crash: SIGKILL, and gone when this returns.
    func kill() { server.kill9() }

    /// Stops all its threads; they stand when this returns.
    func suspend() {
        let processID = server.processIdentifier
        guard processID > 0 else { return }
        Glibc.kill(processID, SIGSTOP)
        for _ in 0..<1000 where !isStanding(processID) { usleep(1000) }
    }

    private func isStanding(_ processID: pid_t) -> Bool {
        let tasks = "/proc/\(processID)/task"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
        return names.allSatisfy { name in
            let line = (try? String(contentsOfFile: "\(tasks)/\(name)/stat", encoding: .utf8)) ?? ""
            return line.contains(") T ")
        }
    }

    func resume() {
        let processID = server.processIdentifier
        if processID > 0 { Glibc.kill(processID, SIGCONT) }
    }
}

/// A TCP port that nobody used a moment ago.
func unusedPort() -> UInt16 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(descriptor) }
    withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            _ = bind(descriptor, $0, length)
            _ = getsockname(descriptor, $0, &length)
        }
    }
    return UInt16(bigEndian: address.sin_port)
}

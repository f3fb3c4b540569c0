// A private NFS-Ganesha on loopback for these tests: own ports, own directory, gone afterwards,
// even if the tests die.
import Foundation
import Glibc
import NFSClient

/// One Ganesha with one VFS export (`/export`, read and write, no squashing) in a temporary
/// directory.
final class PrivateGanesha: @unchecked Sendable {
    let directory: String
    let exported: String
    let nfsPort: UInt16
    let mountPort: UInt16
    private var keeper: Process?
    private var lifeline: Pipe?

    /// Why these tests cannot run here; nil if they can.
    static let obstacle: String? = {
        if geteuid() != 0 { return "Ganesha's VFS needs root" }
        if access("/usr/bin/ganesha.nfsd", X_OK) != 0 { return "ganesha.nfsd is not installed" }
        if access("/usr/sbin/rpcbind", X_OK) != 0 && access("/sbin/rpcbind", X_OK) != 0 {
            return "rpcbind is not installed"
        }
        return nil
    }()
    static var isAvailable: Bool { obstacle == nil }

    struct Failure: Error, CustomStringConvertible { let description: String }

    init() throws {
        if let obstacle = Self.obstacle { throw Failure(description: obstacle) }
        try Portmapper.ensure()
        var template = Array("/tmp/nfsclient-tests-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(description: "mkdtemp failed") }
        directory = String(decoding: template.dropLast().map { UInt8($0) }, as: UTF8.self)
        exported = directory + "/export"
        chmod(directory, 0o755)
        mkdir(exported, 0o777)
        chmod(exported, 0o777)
        nfsPort = unusedPort()
        mountPort = unusedPort()
        try configuration.write(
            toFile: directory + "/ganesha.conf", atomically: false, encoding: .utf8)
        do { try start() } catch {
            remove()
            throw error
        }
    }

    deinit { remove() }

    var url: NFSURL {
        NFSURL(
            host: "127.0.0.1", exportPath: "/export", nfsPort: nfsPort, mountPort: mountPort)
    }

    private var configuration: String {
        """
        NFS_CORE_PARAM {
            NFS_Port = \(nfsPort); MNT_Port = \(mountPort); Bind_addr = 127.0.0.1;
            Enable_NLM = false; Enable_RQUOTA = false; mount_path_pseudo = true;
            Protocols = 3;
        }
        NFSV4 { Graceless = true; RecoveryRoot = "\(directory)"; }
        EXPORT {
            Export_Id = 1; Path = "\(exported)"; Pseudo = "/export"; Access_Type = RW;
            Squash = No_Root_Squash; SecType = sys; Protocols = 3; FSAL { Name = VFS; }
        }
        """
    }

    /// Starts it and waits until it answers; more than once, because somebody else's Ganesha
    /// that starts at the same moment makes the portmapper refuse this one.
    func start() throws {
        for _ in 0..<4 {
            if try startOnce() { return }
            kill()
            usleep(50_000)
        }
        let log = (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? ""
        throw Failure(description: "Ganesha does not answer; its log ends: \(log.suffix(600))")
    }

    /// A shell keeps it: it kills it when our end of the pipe closes, which also happens when
    /// this process dies.
    private func startOnce() throws -> Bool {
        let script = """
            exec >/dev/null 2>&1
            ganesha.nfsd -F -f "$0/ganesha.conf" -L "$0/log" -p "$0/ganesha.pid" &
            echo $! >"$0/pid"; cat; kill -9 $!; wait
            """
        unlink(directory + "/pid")
        let pipe = Pipe()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", script, directory]
        process.standardInput = pipe
        _ = fcntl(pipe.fileHandleForWriting.fileDescriptor, F_SETFD, FD_CLOEXEC)
        try process.run()
        keeper = process
        lifeline = pipe
        for _ in 0..<1000 {
            if canConnect(nfsPort) && canConnect(mountPort) { return true }
            if let processID, Glibc.kill(processID, 0) != 0 { return false }
            usleep(10_000)
        }
        return false
    }

    var processID: pid_t? {
        let text = try? String(contentsOfFile: directory + "/pid", encoding: .utf8)
        return text.flatMap { pid_t($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }

    /// As a crash: SIGKILL, and gone when this returns.
    func kill() {
        if let processID { Glibc.kill(processID, SIGKILL) }
        try? lifeline?.fileHandleForWriting.close()
        keeper?.waitUntilExit()
        keeper = nil
        lifeline = nil
    }

    /// Stops all its threads; they stand when this returns.
    func suspend() {
        guard let processID else { return }
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

    func resume() { if let processID { Glibc.kill(processID, SIGCONT) } }

    private func remove() {
        resume()
        kill()
        try? FileManager.default.removeItem(atPath: directory)
    }
}

/// Ganesha serves NFSv3 only where a portmapper runs; one is started if none does, and it ends
/// with this process.
enum Portmapper {
    nonisolated(unsafe) private static var kept: (Process, Pipe)?
    private static let started: Result<Void, any Error> = Result {
        if canConnect(111) { return }
        let pipe = Pipe()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = [
            "-c", "exec >/dev/null 2>&1; rpcbind -w -f & cat; kill -9 $!; wait",
        ]
        process.standardInput = pipe
        _ = fcntl(pipe.fileHandleForWriting.fileDescriptor, F_SETFD, FD_CLOEXEC)
        try process.run()
        kept = (process, pipe)
        for _ in 0..<500 {
            if canConnect(111) { return }
            usleep(10_000)
        }
        throw PrivateGanesha.Failure(description: "rpcbind does not answer")
    }

    static func ensure() throws { try started.get() }
}

private func loopback(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
}

func canConnect(_ port: UInt16) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(descriptor) }
    var address = loopback(port)
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
    }
}

/// A TCP port that nobody used a moment ago.
func unusedPort() -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(descriptor) }
    var address = loopback(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            _ = bind(descriptor, $0, length)
            _ = getsockname(descriptor, $0, &length)
        }
    }
    return UInt16(bigEndian: address.sin_port)
}

// Mounts that a measurement or test makes for itself: the built localio-mount, and libfuse's own
// pass-through example beside it; unmounted and ended afterwards, also on failure.
internal import Glibc
internal import NFSClient
package import SystemPackage
internal import Threads

/// A FUSE file system in a process of its own, at a mount point of its own.
package final class MountProcess: Sendable {
    package let point: String
    /// What the program prints goes to this file.
    package let log: String
    package let process: ChildProcess
    private let directory: TemporaryDirectory
    private let token: Cleanup.Token

    /// Mounts an export by the `localio-mount` that was built beside the running program.
    /// - Parameter options: comma-separated, as for -o.
    package convenience init(url: String, options: String = "") throws(BenchError) {
        let program = try EmbeddedServerProcess.beside("localio-mount")
        let extra = options.isEmpty ? [] : ["-o", options]
        try self.init(program) { point in ["-f", url, point] + extra }
    }

    /// Mounts a directory by libfuse's example `passthrough_ll` with the kernel's writeback cache.
    package convenience init(passingThrough directory: FilePath) throws(BenchError) {
        let program = try PassthroughProgram()
        defer { program.remove() }
        try self.init(program.path) { point in
            ["-f", "-o", "source=\(directory),writeback,cache=auto,allow_other", point]
        }
    }

    /// Mounts an export by libnfs's own `fuse-nfs`, as its users do. It goes to the background, so
    /// a shell stands for it until its mount point is unmounted.
    package convenience init(byFuseNFS url: String) throws(BenchError) {
        let address: NFSURL
        do throws(NFSURLError) { address = try NFSURL(url) } catch {
            throw BenchError(error.description)
        }
        var words = "nfs://\(address.host)\(address.exportPath)?version=3"
        if let port = address.nfsPort { words += "&nfsport=\(port)" }
        if let port = address.mountPort { words += "&mountport=\(port)" }
        try self.init("/bin/sh") { point in
            [
                "-c",
                "fuse-nfs -a -n \"$1\" -m \"$2\" || exit"
                    + "; while grep -qF \" $2 \" /proc/self/mounts; do sleep 0.1; done",
                "fuse-nfs", words, point,
            ]
        }
    }

    /// Mounts by any program that stays in the foreground until its mount point is unmounted.
    init(
        _ program: String, arguments: (_ point: String) -> [String]
    ) throws(BenchError) {
        directory = try TemporaryDirectory()
        let point = directory.path.string + "/mnt"
        self.point = point
        log = directory.path.string + "/log"
        try Files.makeDirectory(point)
        let outside = try Files.device(of: point)
        process = try ChildProcess(program, arguments(point), outputPath: log)
        token = Cleanup.register { _ = unsafe umount2(point, Int32(MNT_DETACH)) }
        let child = process
        let isMounted = poll(timeout: .seconds(20)) {
            !child.isRunning || (try? Files.device(of: point)) != outside
        }
        guard isMounted, child.isRunning else {
            let said = Files.text(at: log) ?? ""
            remove()
            throw BenchError("\(child.name) did not mount: \(said)")
        }
    }

    deinit { remove() }

    /// SIGKILL, as a crash; the mount point is dead until `remove`.
    package func kill9() { process.kill9() }

    /// As SIGTERM from an administrator; its exit status.
    package func terminate() -> Int32? {
        process.signal(SIGTERM)
        return process.wait(timeout: .seconds(60))
    }

    /// Unmounts, waits for the program to have written everything, and ends it.
    package func remove() {
        Cleanup.cancel(token)
        if unsafe umount2(point, 0) != 0 && errno == EBUSY {
            _ = unsafe umount2(point, Int32(MNT_DETACH))
        }
        _ = process.wait(timeout: .seconds(10))
        process.kill9()
        _ = unsafe umount2(point, Int32(MNT_DETACH))
        directory.remove()
    }
}

/// libfuse's example, which its development package brings as source, built for one run.
private struct PassthroughProgram {
    private static let source = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"
    private let directory: TemporaryDirectory

    var path: String { directory.path.string + "/passthrough_ll" }

    init() throws(BenchError) {
        guard Files.exists(Self.source) else {
            throw BenchError(
                "passthrough_ll: \(Self.source) is not there; run Config/setup.sh (libfuse3-dev)")
        }
        directory = try TemporaryDirectory()
        let command =
            "cc -O2 -w \(Self.source) $(pkg-config --cflags --libs fuse3) -o '\(path)'"
        try ChildProcess.mustRun("/bin/sh", ["-c", command])
    }

    func remove() { directory.remove() }
}

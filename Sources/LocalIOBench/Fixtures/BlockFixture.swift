// A file system of its own on zram or a loop device, where XFS, a small or slow disk or a device
// without latency is needed; unmounted and detached afterwards, also on failure.
internal import Glibc
package import SystemPackage
internal import Threads

/// A freshly made file system, mounted in a temporary directory. Needs root.
package final class BlockFixture: Sendable {
    package enum FileSystem: String, Sendable {
        /// At least 300 MiB, says mkfs.xfs.
        case xfs
        case ext4
    }

    package enum Device: Hashable, Sendable {
        /// Compressed memory: no latency of its own.
        case zram
        /// A file of the temporary directory's disk.
        case loop
        /// Memory behind a `SlowDisk`; only localio-bench itself can make one.
        case slow(bytesPerSecond: Int)
    }

    private struct State {
        var slowMount: String?
        var slowServer: ChildProcess?
        var zram: Int?
        var loop: String?
        var mounted = false
        var token: Cleanup.Token?
    }

    /// The mounted file system's root.
    package let path: FilePath
    private let directory: TemporaryDirectory
    private let state = Lock(State())

    /// Why no such file system can be made here, or nil if it can.
    package static func unavailableReason(_ kind: FileSystem, on device: Device) -> String? {
        guard geteuid() == 0 else { return "mounting \(kind) needs root" }
        guard ChildProcess.find("mkfs.\(kind.rawValue)") != nil else {
            return "mkfs.\(kind.rawValue) is not installed; run Config/setup.sh"
        }
        let control = device == .zram ? "/sys/class/zram-control/hot_add" : "/dev/loop-control"
        guard Files.exists(control) else { return "the kernel has no \(device) devices" }
        guard Files.text(at: "/proc/filesystems")?.contains(kind.rawValue) == true else {
            return "the kernel has no \(kind.rawValue)"
        }
        return nil
    }

    /// - Parameter byteCount: the device's size.
    package init(
        _ kind: FileSystem, on device: Device, byteCount: Int
    ) throws(BenchError) {
        if let reason = Self.unavailableReason(kind, on: device) { throw BenchError(reason) }
        directory = try TemporaryDirectory()
        path = directory.path.appending("mounted")
        try Files.makeDirectory(path.string)
        let token = Cleanup.register { [weak self] in self?.remove() }
        state.withLock { $0.token = token }
        do {
            let node = try attach(device, byteCount: byteCount)
            let quiet = kind == .xfs ? ["-q", "-f"] : ["-q", "-F", "-m", "0"]
            try ChildProcess.mustRun("/sbin/mkfs.\(kind.rawValue)", quiet + [node])
            try ChildProcess.mustRun("/bin/mount", ["-t", kind.rawValue, node, path.string])
            state.withLock { $0.mounted = true }
            _ = unsafe chmod(path.string, 0o777)
        } catch {
            remove()
            throw error
        }
    }

    deinit { remove() }

    private func attach(_ device: Device, byteCount: Int) throws(BenchError) -> String {
        switch device {
        case .zram:
            guard let text = Files.text(at: "/sys/class/zram-control/hot_add"),
                let number = Int(text.split(separator: "\n").first ?? "")
            else { throw BenchError("the kernel gives no zram device") }
            state.withLock { $0.zram = number }
            try Files.write("\(byteCount)", to: "/sys/block/zram\(number)/disksize")
            return "/dev/zram\(number)"
        case .loop:
            let backing = directory.path.string + "/disk"
            try Files.write("", to: backing)
            guard unsafe truncate(backing, byteCount) == 0 else {
                throw .system("cannot extend \(backing)", errno: errno)
            }
            return try attachLoop(backing)
        case .slow(let rate):
            return try attachLoop(try serveSlowDisk(byteCount: byteCount, rate: rate))
        }
    }

    private func attachLoop(_ backing: String) throws(BenchError) -> String {
        let output = try ChildProcess.mustRun("/sbin/losetup", ["--find", "--show", backing])
        let node = String(output.split(separator: "\n").last ?? "")
        state.withLock { $0.loop = node }
        return node
    }

    /// - Returns: the image's path.
    private func serveSlowDisk(byteCount: Int, rate: Int) throws(BenchError) -> String {
        let place = directory.path.string + "/slow"
        try Files.makeDirectory(place)
        let log = directory.path.string + "/slow.log"
        let server = try ChildProcess(
            try Files.resolve("/proc/self/exe"),
            [SlowDisk.subcommand, place, "--size", "\(byteCount)", "--rate", "\(rate)"],
            outputPath: log)
        state.withLock { state in
            state.slowServer = server
            state.slowMount = place
        }
        let image = "\(place)/\(SlowDisk.imageName)"
        let isThere = poll(timeout: .seconds(5)) { Files.exists(image) || !server.isRunning }
        guard isThere, server.isRunning else {
            throw BenchError("no slow disk: \(Files.text(at: log) ?? "it does not answer")")
        }
        return image
    }

    /// Unmounts, detaches and deletes; later calls do nothing. Whoever still has a file open
    /// there would keep the mount busy, which is a leak in the test and is reported.
    package func remove() {
        let was = state.withLock { state in
            defer { state = State() }
            return state
        }
        if let token = was.token { Cleanup.cancel(token) }
        if was.mounted {
            var unmounted = unsafe umount2(path.string, 0) == 0
            for _ in 0..<50 where !unmounted {
                usleep(20_000)
                unmounted = unsafe umount2(path.string, 0) == 0
            }
            if !unmounted {
                report("\(path) is still in use at its end; detaching it lazily")
                _ = unsafe umount2(path.string, Int32(MNT_DETACH))
            }
        }
        if let number = was.zram { removeZRAM(number) }
        if let node = was.loop { _ = try? ChildProcess.run("/sbin/losetup", ["-d", node]) }
        if let mount = was.slowMount { _ = unsafe umount2(mount, Int32(MNT_DETACH)) }
        if let server = was.slowServer {
            _ = server.wait(timeout: .seconds(2))
            server.kill9()
        }
        directory.remove()
    }

    private func removeZRAM(_ number: Int) {
        for _ in 0..<50 {
            _ = try? Files.write("1", to: "/sys/block/zram\(number)/reset")
            do {
                return try Files.write("\(number)", to: "/sys/class/zram-control/hot_remove")
            } catch { usleep(20_000) }
        }
        report("zram\(number) could not be removed")
    }

    private func report(_ message: String) {
        let line = Array("BlockFixture: \(message)\n".utf8)
        _ = unsafe line.withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
    }
}

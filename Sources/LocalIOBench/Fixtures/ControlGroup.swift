// Limits of the kernel's control groups: less memory for this process, a slower block device.
// Version 1 hierarchies where they are mounted, else version 2.
internal import Glibc
internal import Threads

/// A hierarchy and this process's group in it.
private struct Hierarchy {
    /// The group's directory.
    let group: String
    let root: String
    let isVersion2: Bool

    /// nil where the kernel has no such controller.
    init?(controller: String) {
        let groups = (Files.text(at: "/proc/self/cgroup") ?? "").split(separator: "\n")
        func path(_ name: String) -> String? {
            for line in groups {
                let fields = line.split(
                    separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
                guard fields.count == 3 else { continue }
                if fields[1].split(separator: ",").contains(where: { $0 == name })
                    || (name.isEmpty && fields[1].isEmpty)
                {
                    return String(fields[2])
                }
            }
            return nil
        }
        for line in (Files.text(at: "/proc/self/mounts") ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ").map(String.init)
            guard fields.count > 3 else { continue }
            let mount = fields[1]
            if fields[2] == "cgroup", fields[3].split(separator: ",").contains(Substring(controller)),
                let path = path(controller)
            {
                self.init(group: mount + (path == "/" ? "" : path), root: mount, isVersion2: false)
                return
            }
            let known = Files.text(at: mount + "/cgroup.controllers") ?? ""
            let words = known.split { $0 == " " || $0 == "\n" }
            if fields[2] == "cgroup2", words.contains(controller == "blkio" ? "io" : controller[...]),
                let path = path("")
            {
                self.init(group: mount + (path == "/" ? "" : path), root: mount, isVersion2: true)
                return
            }
        }
        return nil
    }

    private init(group: String, root: String, isVersion2: Bool) {
        self.group = group
        self.root = root
        self.isVersion2 = isVersion2
    }
}

/// This process in a group of its own with a memory limit; put back and the group removed by
/// `remove`, and at the process's exit.
final class MemoryLimit: Sendable {
    private let token: Cleanup.Token
    private let group: String
    private let home: String

    /// What the process already uses is not moved along; what it gets from now on counts.
    init(byteCount: Int) throws(BenchError) {
        guard let hierarchy = Hierarchy(controller: "memory") else {
            throw BenchError("--memory-limit: this kernel has no memory control group")
        }
        let home = hierarchy.group
        let group = "\(home)/localio-bench-\(getpid())"
        guard unsafe mkdir(group, 0o755) == 0 else {
            throw .system("--memory-limit needs a control group of its own in \(home)", errno: errno)
        }
        self.home = home
        self.group = group
        token = Cleanup.register { Self.leave(group, for: home) }
        let name = hierarchy.isVersion2 ? "memory.max" : "memory.limit_in_bytes"
        do throws(BenchError) {
            try Files.set("\(byteCount)", at: "\(group)/\(name)")
            try Files.set("\(getpid())", at: "\(group)/cgroup.procs")
        } catch {
            remove()
            throw BenchError("--memory-limit: \(error.message)")
        }
    }

    /// The most memory the group has used, in bytes; the page cache of its files included.
    var peakBytes: Int? {
        let text =
            Files.text(at: "\(group)/memory.max_usage_in_bytes")
            ?? Files.text(at: "\(group)/memory.peak")
        return text?.split(separator: "\n").first.flatMap { Int($0) }
    }

    func remove() {
        Cleanup.cancel(token)
        Self.leave(group, for: home)
    }

    private static func leave(_ group: String, for home: String) {
        _ = try? Files.set("\(getpid())", at: "\(home)/cgroup.procs")
        // What was charged to the group is uncharged in its own time.
        _ = poll(timeout: .seconds(1)) { unsafe rmdir(group) == 0 || errno == ENOENT }
    }
}

/// A block device that takes only so many bytes a second, from whoever writes and reads it.
final class DeviceLimit: Sendable {
    private let token: Cleanup.Token
    private let files: [(path: String, reset: String)]

    /// - Parameter device: its number, such as "7:0".
    init(device: String, bytesPerSecond: Int) throws(BenchError) {
        guard let hierarchy = Hierarchy(controller: "blkio") else {
            throw BenchError("--device-limit: this kernel has no blkio or io control group")
        }
        var files: [(path: String, value: String, reset: String)] = []
        if hierarchy.isVersion2 {
            files.append(
                (
                    "\(hierarchy.group)/io.max",
                    "\(device) wbps=\(bytesPerSecond) rbps=\(bytesPerSecond)",
                    "\(device) wbps=max rbps=max"
                ))
        } else {
            // The kernel's own writeback and the file system's journal belong to the root group.
            for group in Set([hierarchy.group, hierarchy.root]) {
                for direction in ["read", "write"] {
                    files.append(
                        (
                            "\(group)/blkio.throttle.\(direction)_bps_device",
                            "\(device) \(bytesPerSecond)", "\(device) 0"
                        ))
                }
            }
        }
        let resets = files.map { (path: $0.path, reset: $0.reset) }
        self.files = resets
        token = Cleanup.register { Self.lift(resets) }
        for file in files {
            do throws(BenchError) {
                try Files.set(file.value, at: file.path)
            } catch {
                remove()
                throw BenchError("--device-limit: \(error.message)")
            }
        }
    }

    func remove() {
        Cleanup.cancel(token)
        Self.lift(files)
    }

    private static func lift(_ files: [(path: String, reset: String)]) {
        for file in files { _ = try? Files.set(file.reset, at: file.path) }
    }
}

extension Files {
    /// Writes to a file that the kernel made: never creates one.
    static func set(_ text: String, at path: String) throws(BenchError) {
        let descriptor = unsafe open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system("cannot write \(path)", errno: errno) }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        let count = unsafe bytes.withUnsafeBytes { buffer in
            unsafe Glibc.write(descriptor, buffer.baseAddress, buffer.count)
        }
        guard count == bytes.count else { throw .system("cannot write \(path)", errno: errno) }
    }
}

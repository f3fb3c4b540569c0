// Less memory for this process, by a control group: version 1 where it is mounted, else version 2.
internal import Glibc

/// The memory controller's hierarchy and this process's group in it.
private struct MemoryHierarchy {
    /// The group's directory.
    let group: String
    let isVersion2: Bool

    /// nil where the kernel has no memory controller.
    init?() {
        for line in (Files.text(at: "/proc/self/mounts") ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ").map(String.init)
            guard fields.count > 3 else { continue }
            let mount = fields[1]
            let isFirst =
                fields[2] == "cgroup" && fields[3].split(separator: ",").contains("memory")
            let known = Files.text(at: mount + "/cgroup.controllers") ?? ""
            let isSecond =
                fields[2] == "cgroup2"
                && known.split(whereSeparator: \.isWhitespace).contains("memory")
            guard isFirst || isSecond, let path = Self.path(isSecond ? "" : "memory") else {
                continue
            }
            group = mount + (path == "/" ? "" : path)
            isVersion2 = isSecond
            return
        }
        return nil
    }

    /// This process's group in the hierarchy of a controller; "" is version 2.
    private static func path(_ controller: String) -> String? {
        for line in (Files.text(at: "/proc/self/cgroup") ?? "").split(separator: "\n") {
            let fields = line.split(
                separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let names = fields[1].split(separator: ",", omittingEmptySubsequences: false)
            if names.contains(Substring(controller)) { return String(fields[2]) }
        }
        return nil
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
        guard let hierarchy = MemoryHierarchy() else {
            throw BenchError("--memory-limit: this kernel has no memory control group")
        }
        let home = hierarchy.group
        let group = "\(home)/localio-bench-\(getpid())"
        guard unsafe mkdir(group, 0o755) == 0 else {
            throw .system("--memory-limit: cannot make a control group in \(home)", errno: errno)
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

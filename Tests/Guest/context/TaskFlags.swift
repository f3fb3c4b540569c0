// What the kernel says of this process's threads, io_uring's own among them: names and flags.
internal import CLinux
internal import Glibc
internal import Threads

/// One thread, as /proc/self/task has it.
struct Task: Hashable, Sendable {
    /// `PF_MEMALLOC_NOIO | PF_LOCAL_THROTTLE` of include/linux/sched.h: what PR_SET_IO_FLUSHER
    /// sets.
    static let flusherFlags: UInt32 = 0x18_0000

    var id: Int32
    var name: String
    /// Field 9 of stat: `task_struct.flags`.
    var flags: UInt32

    var isFlusher: Bool { flags & Self.flusherFlags == Self.flusherFlags }
    var hasNoFlusherFlag: Bool { flags & Self.flusherFlags == 0 }
    var description: String { "\(name) (\(id)) 0x\(String(flags, radix: 16))" }

    /// The thread whose ring this io-wq thread serves, by its name (io_uring/io-wq.c).
    var servedThread: Int32? {
        name.hasPrefix("iou-wrk-") ? Int32(name.dropFirst("iou-wrk-".count)) : nil
    }

    /// All threads that are there now.
    static func all() -> [Task] {
        guard let directory = unsafe opendir("/proc/self/task") else { return [] }
        defer { unsafe closedir(directory) }
        var tasks: [Task] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let id = Int32(name), let task = Task(id: id) else { continue }
            tasks.append(task)
        }
        return tasks.sorted { $0.id < $1.id }
    }

    /// - Returns: nil if the thread has ended.
    private init?(id: Int32) {
        guard let text = readText("/proc/self/task/\(id)/stat"),
            let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")")
        else { return nil }
        // The name may hold anything; field 3 comes after its last parenthesis.
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 6, let flags = UInt32(fields[6]) else { return nil }
        self.id = id
        self.name = String(text[text.index(after: open)..<close])
        self.flags = flags
    }
}

/// A small file's contents, or nil.
func readText(_ path: String) -> String? {
    let descriptor = unsafe open(path, O_RDONLY)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe read(descriptor, &bytes, bytes.count)
    return count < 0 ? nil : String(decoding: bytes.prefix(count), as: UTF8.self)
}

/// Looks at all threads again and again, and keeps what is wrong.
final class TaskWatch: Sendable {
    struct Findings: Sendable {
        /// Looks taken.
        var looks = 0
        /// By the thread that they serve: the io-wq threads seen, each once.
        var ringThreads: [Int32: Set<Int32>] = [:]
        /// Threads with the wrong flags, each once.
        var wrong: Set<String> = []
    }

    /// The engine's workers.
    let workers: Set<Int32>
    /// What the workers and their io-wq threads must have: both flags, or none.
    let expectsFlags: Bool
    private let findings = Lock(Findings())

    init(workers: Set<Int32>, expectsFlags: Bool) {
        self.workers = workers
        self.expectsFlags = expectsFlags
    }

    /// Takes one look. An io-wq thread has its creator's name until it first runs.
    func look() {
        let tasks = Task.all()
        findings.withLock { findings in
            findings.looks += 1
            for task in tasks {
                let served = task.servedThread
                if let served { findings.ringThreads[served, default: []].insert(task.id) }
                let isOurs =
                    served.map(workers.contains)
                    ?? (workers.contains(task.id) || task.name.hasPrefix("localio-"))
                let isRight = isOurs && expectsFlags ? task.isFlusher : task.hasNoFlusherFlag
                if !isRight { findings.wrong.insert(task.description) }
            }
        }
    }

    var result: Findings { findings.withLock { $0 } }
}

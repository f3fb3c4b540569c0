// One random system call of a random user, made in a directory and written down.
import CLinux
import Foundation
import Glibc

/// A call that can be made in any directory; what it means depends on what is there.
struct RandomCall {
    enum Kind: CaseIterable {
        case open, close, write, append, read, resizeOpen, statOpen, chmodOpen, chownOpen, allocate
        case unlink, rmdir, mkdir, rename, link, symlink, readlink, fifo
        case chmod, chown, resize, touch, stat, list

        /// How often it is drawn.
        var weight: Int {
            switch self {
            case .open: 7
            case .close, .write, .rename, .mkdir: 4
            case .unlink, .link, .symlink, .chmod, .chown, .resize: 3
            default: 1
            }
        }
    }

    struct User {
        let uid: UInt32
        let gid: UInt32
        let groups: [UInt32]
    }

    private static let kinds = Kind.allCases.flatMap {
        [Kind](repeating: $0, count: $0.weight)
    }
    private static let users = [
        User(uid: 0, gid: 0, groups: [0]), User(uid: 1001, gid: 1001, groups: [1001, 2001]),
        User(uid: 1002, gid: 1002, groups: [1002, 2001, 2002]),
        User(uid: 1003, gid: 1003, groups: []),
    ]
    private static let names = [
        "a", "b", "c", "d", "with space", String(repeating: "n", count: 255),
    ]
    private static let modes: [mode_t] = [
        0, 0o400, 0o600, 0o644, 0o666, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o2770, 0o6777, 0o111,
    ]
    private static let sizes = [0, 1, 100, 4095, 4096, 5000, 10_000]
    static let slotCount = 6

    let kind: Kind
    let user: User
    let path: String
    let other: String
    let slot: Int
    let mode: mode_t
    let owner: uid_t
    let group: gid_t
    let flags: Int32
    let size: Int
    let offset: Int
    let byte: UInt8

    init(using random: inout some RandomNumberGenerator) {
        func pick<Value>(
            _ values: [Value], _ random: inout some RandomNumberGenerator
        ) -> Value {
            values[Int.random(in: 0..<values.count, using: &random)]
        }
        func somePath(_ random: inout some RandomNumberGenerator) -> String {
            let depth = pick([1, 1, 1, 2, 2, 3], &random)
            let path = (0..<depth).map { _ in pick(Self.names, &random) }.joined(separator: "/")
            switch Int.random(in: 0..<100, using: &random) {
            case 0: return path + "/"
            case 1: return path + "/."
            case 2: return path + "/" + String(repeating: "n", count: 256)
            default: return path
            }
        }
        kind = pick(Self.kinds, &random)
        user = pick(Self.users + [Self.users[0]], &random)
        path = somePath(&random)
        other = somePath(&random)
        slot = Int.random(in: 0..<Self.slotCount, using: &random)
        mode = pick(Self.modes, &random)
        owner = pick([.max, 0, 1001, 1002, 1003], &random)
        group = pick([.max, 0, 1001, 1002, 2001, 2002], &random)
        var flags = pick([O_RDONLY, O_WRONLY, O_RDWR], &random)
        for (flag, percent) in [
            (O_CREAT, 60), (O_EXCL, 15), (O_TRUNC, 15), (O_APPEND, 15), (clinux_o_directory, 5),
            (clinux_o_nofollow, 5),
        ] where Int.random(in: 0..<100, using: &random) < percent {
            flags |= flag
        }
        self.flags = flags
        size = pick(Self.sizes, &random)
        offset = pick(Self.sizes, &random)
        byte = UInt8.random(in: 1...255, using: &random)
    }

    var description: String {
        "\(kind) \(path.prefix(30)) \(other.prefix(30)) slot \(slot) as \(user.uid) "
            + "mode \(String(mode, radix: 8)) flags \(String(flags, radix: 8)) "
            + "owner \(owner):\(group) size \(size) at \(offset)"
    }
}

/// A directory that random calls are made in, with the descriptors that they left open.
final class CallDirectory {
    let root: String
    /// Directories' set-id bits are left out: NFS-Ganesha clears them where Linux does not.
    let looksAtDirectoryBits: Bool
    private var slots = [Int32](repeating: -1, count: RandomCall.slotCount)

    init(_ root: String, looksAtDirectoryBits: Bool) {
        self.root = root
        self.looksAtDirectoryBits = looksAtDirectoryBits
        start()
    }

    /// Closes what is open and empties the directory.
    func startAnew() {
        for slot in slots.indices { closeSlot(slot) }
        try? FileManager.default.removeItem(atPath: root)
        start()
    }

    private func start() {
        Glibc.mkdir(root, 0o777)
        Glibc.chmod(root, 0o777)
    }

    @discardableResult
    private func closeSlot(_ slot: Int) -> Int32 {
        guard slots[slot] >= 0 else { return 0 }
        defer { slots[slot] = -1 }
        return Glibc.close(slots[slot])
    }

    /// Whether the slot holds a directory that has no name any more.
    func holdsRemovedDirectory(_ slot: Int) -> Bool {
        var status = Glibc.stat()
        guard slots[slot] >= 0, fstat(slots[slot], &status) == 0 else { return false }
        return status.st_mode & S_IFMT == S_IFDIR && status.st_nlink == 0
    }

    /// Makes the call, then looks at its two paths: one line each.
    func perform(_ call: RandomCall) -> [String] {
        let user = call.user
        let changed = clinux_set_thread_filesystem_ids(
            user.uid, user.gid, user.groups, Int32(user.groups.count))
        precondition(changed == 0, "cannot become user \(user.uid): errno \(-changed)")
        let outcome = make(call)
        let restored = clinux_set_thread_filesystem_ids(0, 0, [0], 1)
        precondition(restored == 0, "cannot become root again: errno \(-restored)")
        return [outcome, look(at: call.path), look(at: call.other)]
    }

    private func path(_ name: String) -> String { root + "/" + name }

    private func outcome(_ result: Int) -> String { result < 0 ? "errno \(errno)" : "\(result)" }
    private func outcome(_ result: Int32) -> String { outcome(Int(result)) }

    private func make(_ call: RandomCall) -> String {
        let (path, other) = (path(call.path), path(call.other))
        switch call.kind {
        case .open: return open(call)
        case .unlink: return outcome(Glibc.unlink(path))
        case .rmdir: return outcome(Glibc.rmdir(path))
        case .mkdir: return outcome(Glibc.mkdir(path, call.mode))
        case .rename: return outcome(Glibc.rename(path, other))
        case .link: return outcome(Glibc.link(path, other))
        case .symlink: return outcome(Glibc.symlink(call.other, path))
        case .readlink:
            var bytes = [CChar](repeating: 0, count: 1000)
            return outcome(Glibc.readlink(path, &bytes, bytes.count))
        case .fifo: return outcome(mkfifo(path, call.mode))
        case .chmod: return outcome(Glibc.chmod(path, call.mode))
        case .chown:
            // A call that changes nothing does not reach a FUSE file system.
            if call.owner == .max && call.group == .max { return "nothing" }
            return outcome(lchown(path, call.owner, call.group))
        case .resize: return outcome(truncate(path, call.size))
        case .touch: return outcome(utimensat(AT_FDCWD, path, nil, AT_SYMLINK_NOFOLLOW))
        case .stat: return look(at: call.path)
        case .list: return list(path)
        default: return makeOnSlot(call)
        }
    }

    private func makeOnSlot(_ call: RandomCall) -> String {
        let file = slots[call.slot]
        guard file >= 0 else { return "none" }
        switch call.kind {
        case .close: return outcome(closeSlot(call.slot))
        case .write, .append:
            let bytes = [UInt8](repeating: call.byte, count: call.size)
            if call.kind == .write { return outcome(pwrite(file, bytes, call.size, call.offset)) }
            lseek(file, call.offset, SEEK_SET)
            return outcome(Glibc.write(file, bytes, call.size))
        case .read:
            var bytes = [UInt8](repeating: 0, count: 20_000)
            let count = pread(file, &bytes, bytes.count, call.offset)
            let sum = bytes.reduce(UInt64(7)) { $0 &* 31 &+ UInt64($1) }
            return outcome(count) + (count < 0 ? "" : " sum \(sum)")
        case .resizeOpen: return outcome(ftruncate(file, call.size))
        case .chmodOpen: return outcome(fchmod(file, call.mode))
        case .chownOpen:
            if call.owner == .max && call.group == .max { return "nothing" }
            return outcome(fchown(file, call.owner, call.group))
        case .allocate:
            let result = clinux_fallocate(file, 0, Int64(call.offset), Int64(call.size))
            return "\(result)"
        default:
            var status = Glibc.stat()
            return fstat(file, &status) == 0 ? facts(status) : outcome(-1)
        }
    }

    /// Keeps regular files and directories: a FUSE file system does not hear of a FIFO's open.
    private func open(_ call: RandomCall) -> String {
        closeSlot(call.slot)
        let flags = call.flags | O_NONBLOCK | O_CLOEXEC
        let file = Glibc.open(path(call.path), flags, call.mode)
        guard file >= 0 else { return outcome(file) }
        var status = Glibc.stat()
        fstat(file, &status)
        slots[call.slot] = file
        let type = status.st_mode & S_IFMT
        if type != S_IFREG && type != S_IFDIR { closeSlot(call.slot) }
        return facts(status)
    }

    private func list(_ path: String) -> String {
        guard let directory = opendir(path) else { return outcome(-1) }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".nfs") { names.append(String(name.prefix(20))) }
        }
        return names.sorted().joined(separator: " ")
    }

    private func look(at name: String) -> String {
        var status = Glibc.stat()
        return lstat(path(name), &status) == 0 ? facts(status) : outcome(-1)
    }

    private func facts(_ status: stat) -> String {
        var mode = status.st_mode
        var size = status.st_size
        switch mode & S_IFMT {
        case S_IFDIR:
            // A directory's own size is its file system's affair.
            size = 0
            if !looksAtDirectoryBits { mode &= ~0o6000 }
        case S_IFREG where mode & 0o010 == 0:
            // The kernel's FUSE client leaves this bit alone, which means nothing there.
            mode &= ~0o2000
        default: break
        }
        return "mode \(String(mode, radix: 8)) links \(status.st_nlink) size \(size) "
            + "owner \(status.st_uid):\(status.st_gid)"
    }
}

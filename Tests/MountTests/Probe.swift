// Makes system calls in a directory and writes down what came of each, so that two directories
// can be compared line by line.
import CLinux
import Foundation
import Glibc
import SystemPackage

// <linux/stat.h>: macros with casts, which Swift does not see.
let timeNow = (1 << 30) - 1
let timeOmit = (1 << 30) - 2

/// One run of a case in one directory.
final class Probe {
    private let root: String
    private(set) var lines: [String] = []
    private var descriptors: [String: Int32] = [:]

    init(_ root: String) { self.root = root }

    func path(_ name: String) -> String { root + "/" + name }

    func note(_ what: String, _ outcome: String) { lines.append("\(what): \(outcome)") }

    /// The name of the errno, or "ok".
    @discardableResult
    func call(_ what: String, _ result: Int32) -> Bool {
        note(what, result >= 0 ? "ok" : errorName(errno))
        return result >= 0
    }

    private func errorName(_ number: Int32) -> String { "\(Errno(rawValue: number)) (\(number))" }

    func end() {
        for descriptor in descriptors.values { close(descriptor) }
        descriptors = [:]
    }

    // MARK: - Making things, silently

    func file(_ name: String, _ text: String = "content", mode: mode_t = 0o644) {
        let descriptor = Glibc.open(path(name), O_CREAT | O_WRONLY | O_TRUNC, 0o600)
        _ = text.withCString { Glibc.write(descriptor, $0, strlen($0)) }
        fchmod(descriptor, mode)
        close(descriptor)
    }
    func directory(_ name: String, mode: mode_t = 0o755) {
        Glibc.mkdir(path(name), 0o700)
        Glibc.chmod(path(name), mode)
    }
    func symlinkTo(_ target: String, _ name: String) { Glibc.symlink(target, path(name)) }
    func own(_ name: String, _ uid: uid_t, _ gid: gid_t) { lchown(path(name), uid, gid) }

    // MARK: - Calls that are written down

    /// Opens and keeps the descriptor under the file's name.
    @discardableResult
    func open(
        _ name: String, _ flags: Int32, _ mode: mode_t = 0o644, as key: String? = nil
    ) -> Int32 {
        let descriptor = Glibc.open(path(name), flags | O_CLOEXEC, mode)
        call("open \(name) \(String(flags, radix: 8))", descriptor)
        if descriptor >= 0 { descriptors[key ?? name] = descriptor }
        return descriptor
    }
    func closeFile(_ key: String) {
        guard let descriptor = descriptors.removeValue(forKey: key) else { return }
        call("close \(key)", close(descriptor))
    }
    func descriptor(_ key: String) -> Int32 { descriptors[key] ?? -1 }

    func write(_ key: String, _ text: String, at offset: off_t? = nil) {
        let result = text.withCString { bytes in
            offset.map { pwrite(descriptor(key), bytes, strlen(bytes), $0) }
                ?? Glibc.write(descriptor(key), bytes, strlen(bytes))
        }
        note("write \(key)", result >= 0 ? "\(result)" : errorName(errno))
    }
    func read(_ key: String, _ count: Int = 100, at offset: off_t = 0) {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = pread(descriptor(key), &bytes, count, offset)
        note(
            "read \(key)",
            result >= 0 ? String(decoding: bytes[..<result], as: UTF8.self) : errorName(errno))
    }
    func contents(_ name: String) {
        let descriptor = Glibc.open(path(name), O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return note("contents \(name)", errorName(errno)) }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        note(
            "contents \(name)",
            count >= 0 ? String(decoding: bytes[..<count], as: UTF8.self) : errorName(errno))
    }
    func unlink(_ name: String) { call("unlink \(name)", Glibc.unlink(path(name))) }
    func rmdir(_ name: String) { call("rmdir \(name)", Glibc.rmdir(path(name))) }
    func mkdir(_ name: String, _ mode: mode_t = 0o755) {
        call("mkdir \(name)", Glibc.mkdir(path(name), mode))
    }
    func mkfifo(_ name: String, _ mode: mode_t = 0o644) {
        call("mkfifo \(name)", Glibc.mkfifo(path(name), mode))
    }
    func rename(_ from: String, _ to: String) {
        call("rename \(from) \(to)", Glibc.rename(path(from), path(to)))
    }
    func link(_ from: String, _ to: String) {
        call("link \(from) \(to)", Glibc.link(path(from), path(to)))
    }
    func symlink(_ target: String, _ name: String) {
        call("symlink \(name)", Glibc.symlink(target, path(name)))
    }
    func readlink(_ name: String) {
        var bytes = [CChar](repeating: 0, count: 5000)
        let count = Glibc.readlink(path(name), &bytes, 4999)
        let failure = errorName(errno)
        let text = String(
            decoding: bytes.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        note("readlink \(name)", count >= 0 ? "\(count) \(text)" : failure)
    }
    func chmod(_ name: String, _ mode: mode_t) {
        call("chmod \(name) \(String(mode, radix: 8))", Glibc.chmod(path(name), mode))
    }
    func chown(_ name: String, _ uid: uid_t, _ gid: gid_t) {
        call("chown \(name)", lchown(path(name), uid, gid))
    }
    func truncate(_ name: String, _ size: off_t) {
        call("truncate \(name) \(size)", Glibc.truncate(path(name), size))
    }
    func ftruncate(_ key: String, _ size: off_t) {
        call("ftruncate \(key) \(size)", Glibc.ftruncate(descriptor(key), size))
    }
    func utimens(_ name: String, _ access: timespec, _ modify: timespec) {
        let times = [access, modify]
        call("utimens \(name)", utimensat(AT_FDCWD, path(name), times, AT_SYMLINK_NOFOLLOW))
    }

    /// What stat says that must be the same everywhere.
    func stat(_ name: String) { note("stat \(name)", facts(name)) }

    private func facts(_ name: String) -> String {
        var status = Glibc.stat()
        guard lstat(path(name), &status) == 0 else { return errorName(errno) }
        return Self.facts(status)
    }
    func fstat(_ key: String) {
        var status = Glibc.stat()
        guard Glibc.fstat(descriptor(key), &status) == 0 else {
            return note("fstat \(key)", errorName(errno))
        }
        note("fstat \(key)", Self.facts(status))
    }
    private static func facts(_ status: stat) -> String {
        // A directory's own size is its file system's affair.
        let size = status.st_mode & S_IFMT == S_IFDIR ? 0 : status.st_size
        return "mode \(String(status.st_mode, radix: 8)) links \(status.st_nlink) "
            + "size \(size) uid \(status.st_uid) gid \(status.st_gid)"
    }

    /// Seconds and nanoseconds as they were set.
    func times(_ name: String) {
        var status = Glibc.stat()
        guard lstat(path(name), &status) == 0 else {
            return note("times \(name)", errorName(errno))
        }
        note(
            "times \(name)",
            "\(status.st_atim.tv_sec).\(status.st_atim.tv_nsec) "
                + "\(status.st_mtim.tv_sec).\(status.st_mtim.tv_nsec)")
    }

    /// Which of the times (m, c) `body` moved; the pause is longer than a file system's tick.
    func moved(_ name: String, _ what: String, _ body: () -> Void) {
        var before = Glibc.stat()
        lstat(path(name), &before)
        usleep(12_000)
        body()
        var after = Glibc.stat()
        guard lstat(path(name), &after) == 0 else {
            return note("times after \(what)", errorName(errno))
        }
        func isLater(_ left: timespec, _ right: timespec) -> Bool {
            (left.tv_sec, left.tv_nsec) > (right.tv_sec, right.tv_nsec)
        }
        note(
            "times of \(name) after \(what)",
            "modify \(isLater(after.st_mtim, before.st_mtim)) "
                + "change \(isLater(after.st_ctim, before.st_ctim))")
    }

    func list(_ name: String) {
        var names: [String] = []
        // A mount hears of a last close, and removes what was hidden, a moment later.
        for _ in 0..<200 {
            guard let found = try? FileManager.default.contentsOfDirectory(atPath: path(name))
            else { return note("list \(name)", "fails") }
            names = found
            if !names.contains(where: { $0.hasPrefix(".nfs") }) { break }
            usleep(10_000)
        }
        note("list \(name)", names.sorted().joined(separator: " "))
    }
}

/// Runs `body` on a thread that opens files as another user.
func asUser(_ uid: UInt32, _ gid: UInt32, groups: [UInt32] = [], _ body: @escaping () -> Void) {
    final class Box: @unchecked Sendable {
        let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
    }
    let box = Box(body)
    let thread = Thread {
        let result = clinux_set_thread_filesystem_ids(uid, gid, groups, Int32(groups.count))
        precondition(result == 0, "cannot become user \(uid): errno \(-result)")
        box.body()
    }
    thread.start()
    while !thread.isFinished { usleep(200) }
}

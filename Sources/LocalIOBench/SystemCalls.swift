// Small file-system and time helpers on plain system calls, with errors as one line.
internal import CLinux
internal import Glibc
internal import SystemPackage

/// The system's text for an errno, such as "No such file or directory".
package func errorText(_ code: Int32) -> String {
    Errno(rawValue: code < 0 ? -code : code).description
}

/// Nanoseconds of the monotonic clock.
@inline(__always)
package func monotonicNanoseconds() -> UInt64 { clinux_monotonic_nanoseconds() }

package enum Files {
    /// The whole file as text; nil if it cannot be read.
    package static func text(at path: String) -> String? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes { buffer in
                unsafe read(descriptor, buffer.baseAddress, buffer.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { return nil }
            if count == 0 { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Creates or replaces a file.
    package static func write(_ text: String, to path: String) throws(BenchError) {
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw .system("cannot write \(path)", errno: errno) }
        defer { close(descriptor) }
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe Glibc.write(descriptor, buffer.baseAddress, buffer.count)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .system("cannot write \(path)", errno: errno) }
            bytes = bytes.dropFirst(count)
        }
    }

    package static func makeDirectory(_ path: String, mode: UInt32 = 0o755) throws(BenchError) {
        guard unsafe mkdir(path, mode) == 0 else {
            throw .system("cannot create the directory \(path)", errno: errno)
        }
    }

    package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    package static func isDirectory(_ path: String) -> Bool {
        var status = clinux_stat()
        guard unsafe clinux_statx(AT_FDCWD, path, false, &status) == 0 else { return false }
        return status.mode & S_IFMT == S_IFDIR
    }

    /// The number of the file system that holds a path.
    package static func device(of path: String) throws(BenchError) -> UInt64 {
        var status = clinux_stat()
        let result = unsafe clinux_statx(AT_FDCWD, path, true, &status)
        guard result == 0 else { throw .system("\(path)", errno: result) }
        return status.device
    }

    /// The absolute path without symbolic links.
    package static func resolve(_ path: String) throws(BenchError) -> String {
        guard let real = unsafe realpath(path, nil) else {
            throw .system("\(path)", errno: errno)
        }
        defer { unsafe free(real) }
        return unsafe String(cString: real)
    }

    package static func remove(_ path: String) { _ = unsafe unlink(path) }
}

/// The value of an environment variable; nil if unset or empty.
package func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe String(cString: value)
    return text.isEmpty ? nil : text
}

/// Waits until `condition` holds, asking every few milliseconds; false after `timeout`.
package func poll(timeout: Duration, until condition: () -> Bool) -> Bool {
    let (seconds, attoseconds) = timeout.components
    let limit = UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    let start = monotonicNanoseconds()
    while !condition() {
        if monotonicNanoseconds() - start > limit { return false }
        usleep(4_000)
    }
    return true
}

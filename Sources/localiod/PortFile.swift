// The file that tells scripts which port a server got.
internal import Glibc

enum PortFile {
    /// Writes the port and a newline under a temporary name and renames it, so that whoever
    /// sees the file sees all of it.
    /// - Returns: what went wrong, or nil.
    static func write(_ port: Int, to path: String) -> String? {
        let temporary = "\(path).\(getpid())"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return complaint(path) }
        var text = "\(port)\n"
        let isWritten = text.withUTF8 { bytes in
            unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count) == bytes.count
        }
        if close(descriptor) == 0, isWritten, unsafe rename(temporary, path) == 0 { return nil }
        let complaint = complaint(path)
        unsafe unlink(temporary)
        return complaint
    }

    private static func complaint(_ path: String) -> String {
        let reason = unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "error"
        return "cannot write the port file \(path): \(reason); give a path in a writable directory"
    }
}

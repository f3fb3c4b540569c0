// A directory for one run or test, on a real disk so that direct I/O works, gone afterwards.
internal import CLinux
internal import Glibc
package import SystemPackage

/// A fresh directory under TMPDIR, or else /var/tmp; removed with all below it by `remove`, when
/// the object goes, and at the process's exit.
package final class TemporaryDirectory: Sendable {
    package let path: FilePath
    private let token: Cleanup.Token

    /// - Parameter parent: where to create it, instead of TMPDIR or /var/tmp.
    package init(in parent: FilePath? = nil, mode: UInt32 = 0o755) throws(BenchError) {
        let base = parent?.string ?? environment("TMPDIR") ?? "/var/tmp"
        var template = Array("\(base)/localio-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { buffer -> String? in
            guard let start = buffer.baseAddress, let made = unsafe mkdtemp(start) else {
                return nil
            }
            return unsafe String(cString: made)
        }
        guard let made else {
            throw .system("cannot create a temporary directory in \(base)", errno: errno)
        }
        _ = unsafe chmod(made, mode)
        path = FilePath(made)
        token = Cleanup.register { _ = unsafe clinux_remove_tree(made) }
    }

    /// Removes the directory and everything in it; later calls do nothing.
    package func remove() {
        Cleanup.cancel(token)
        _ = unsafe clinux_remove_tree(path.string)
    }

    deinit { remove() }
}

// What this host's kernel holds of a file, for tests of what must be there and what must not.
internal import Glibc
internal import LocalIOBench
package import SystemPackage

/// Makes cold files, and counts cached pages. By a descriptor of its own, past client and server.
package enum PageCacheProbe {
    /// A file whose bytes the disk has and the page cache has not.
    package static func writeCold(_ path: FilePath, _ bytes: [UInt8]) throws {
        let file = try FileDescriptor.open(
            path, .readWrite, options: [.create], permissions: .ownerReadWrite)
        defer { try? file.close() }
        _ = try file.writeAll(bytes)
        guard fsync(file.rawValue) == 0,
            posix_fadvise(file.rawValue, 0, 0, POSIX_FADV_DONTNEED) == 0
        else { throw BenchError("cannot make \(path) cold") }
    }

    /// Pages of the file's first `size` bytes that the kernel holds.
    package static func cachedPages(_ path: FilePath, _ size: Int) throws -> Int {
        let file = try FileDescriptor.open(path, .readOnly)
        defer { try? file.close() }
        var resident = [UInt8](repeating: 0, count: size / 4096)
        let map = unsafe mmap(nil, size, PROT_READ, MAP_SHARED, file.rawValue, 0)
        defer { unsafe munmap(map, size) }
        guard unsafe map != MAP_FAILED, unsafe mincore(map, size, &resident) == 0 else {
            throw BenchError("cannot look at the cached pages of \(path)")
        }
        return resident.count { $0 & 1 != 0 }
    }
}

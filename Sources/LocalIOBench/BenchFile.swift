// The file that all roads share: made with its full size before the clock starts, gone after.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import SystemPackage

/// A file of its own in the measured directory.
final class BenchFile: Sendable {
    let path: FilePath
    /// Relative to the directory.
    let name: String
    let geometry: DirectGeometry?
    private let token: Cleanup.Token

    /// Creates the file and allocates its space.
    init(in directory: FilePath, size: Int) throws(BenchError) {
        let name = Self.uniqueName
        let file = directory.appending(name)
        let path = file.string
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw .system("cannot create a file in \(directory)", errno: errno)
        }
        defer { close(descriptor) }
        token = Cleanup.register { _ = unsafe unlink(path) }
        self.path = file
        self.name = name
        var status = clinux_fallocate(descriptor, 0, 0, Int64(size))
        if status == -EOPNOTSUPP { status = ftruncate(descriptor, size) == 0 ? 0 : -errno }
        geometry = try? FileStatus.of(fd: descriptor).geometry
        guard status == 0 else {
            Cleanup.cancel(token)
            _ = unsafe unlink(path)
            throw BenchError(
                "cannot make a file of \(ByteSize.text(size)) in \(directory): "
                    + "\(errorText(status)); give a smaller --size or another --directory")
        }
    }

    static var uniqueName: String {
        "localio-bench-" + String(UInt64.random(in: 0...UInt64.max), radix: 16) + ".data"
    }

    /// Brings the kernel's page cache into a known state for this file.
    func setPageCache(_ state: PageCacheState) throws(BenchError) {
        switch state {
        case .leave: break
        case .drop:
            let file = try PlainFile(path: path)
            file.dropCached()
            _ = file.close()
        case .warm:
            let file = try PlainFile(path: path)
            defer { _ = file.close() }
            let buffer = UnsafeMutableRawBufferPointer.allocate(
                byteCount: 1 << 20, alignment: 4096)
            defer { unsafe buffer.deallocate() }
            var offset: UInt64 = 0
            while true {
                let count = unsafe file.read(into: buffer, at: offset)
                if count < 0 {
                    throw .system("cannot read \(path)", errno: Int32(count))
                }
                if count == 0 { break }
                offset += UInt64(count)
            }
        }
    }

    func remove() {
        Cleanup.cancel(token)
        _ = unsafe unlink(path.string)
    }

    deinit { remove() }
}

/// What the report says about the machine.
enum HostFacts {
    static func gather(directory: FilePath?, geometry: DirectGeometry?) -> BenchReport.Host {
        var names = utsname()
        let kernel =
            unsafe uname(&names) == 0
            ? withUnsafeBytes(of: &names.release) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            } : "unknown"
        return BenchReport.Host(
            kernel: kernel, processors: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))),
            fileSystem: directory.map { fileSystem(of: $0.string) } ?? "unknown",
            directIOUnit: geometry?.offsetAlignment)
    }

    /// The type of the mount that holds the directory, such as "ext4".
    private static func fileSystem(of path: String) -> String {
        var best = ("", "unknown")
        for line in (Files.text(at: "/proc/self/mounts") ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ").map(String.init)
            guard fields.count > 2 else { continue }
            let mount = fields[1]
            let isAbove = path == mount || mount == "/" || path.hasPrefix(mount + "/")
            if isAbove && mount.count >= best.0.count { best = (mount, fields[2]) }
        }
        return best.1
    }
}

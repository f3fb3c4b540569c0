// What the files of a measurement lie on: a directory that is there, or a device and file system
// made for the run.
internal import SystemPackage

/// What the files of a measurement lie on.
package enum CompareDevice: Hashable, Sendable {
    /// A temporary directory on this host's disk.
    case disk
    /// XFS on compressed memory: no device latency.
    case zram
    case loopXFS
    case loopExt4
    case directory(String)

    /// - Throws: a usage error naming the option.
    init(_ text: String) throws(BenchError) {
        switch text {
        case "disk": self = .disk
        case "zram": self = .zram
        case "loop:xfs": self = .loopXFS
        case "loop:ext4": self = .loopExt4
        case _ where text.contains("/"): self = .directory(text)
        default:
            throw BenchError(
                "--device '\(text)': must be disk, zram, loop:xfs, loop:ext4 or a directory "
                    + "with a slash in it", kind: .usage)
        }
    }

    var name: String {
        switch self {
        case .disk: "disk"
        case .zram: "zram"
        case .loopXFS: "loop:xfs"
        case .loopExt4: "loop:ext4"
        case .directory(let path): path
        }
    }
}

/// The directory of a measurement, and what was made for it.
final class MeasuredPlace {
    /// Without symbolic links.
    let directory: FilePath
    private let disk: BlockFixture?
    private let temporary: TemporaryDirectory?

    /// - Parameters:
    ///   - byteCount: of a device that is made.
    ///   - show: takes a short text while one is made.
    /// - Throws: what is wrong, after the option's name.
    init(
        _ device: CompareDevice, byteCount: Int, show: (String) -> Void
    ) throws(BenchError) {
        func make(
            _ kind: BlockFixture.FileSystem, on backing: BlockFixture.Device
        ) throws(BenchError) -> BlockFixture {
            show("making \(kind.rawValue) on \(device.name)")
            return try BlockFixture(kind, on: backing, byteCount: byteCount)
        }
        do throws(BenchError) {
            switch device {
            case .disk: (disk, temporary) = (nil, try TemporaryDirectory())
            case .directory(let given):
                guard Files.isDirectory(given) else {
                    throw BenchError("no such directory; give one that exists")
                }
                (disk, temporary) = (nil, nil)
                directory = FilePath(try Files.resolve(given))
                return
            case .zram: (disk, temporary) = (try make(.xfs, on: .zram), nil)
            case .loopXFS: (disk, temporary) = (try make(.xfs, on: .loop), nil)
            case .loopExt4: (disk, temporary) = (try make(.ext4, on: .loop), nil)
            }
            let path = disk?.path.string ?? temporary?.path.string ?? "/"
            directory = FilePath(try Files.resolve(path))
        } catch { throw BenchError("--device \(device.name): \(error.message)") }
    }

    /// Removes what was made.
    func remove() {
        disk?.remove()
        temporary?.remove()
    }
}

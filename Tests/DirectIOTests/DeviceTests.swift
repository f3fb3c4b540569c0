// File systems of our own: one that is full, one with strict alignment, one without direct I/O.
import DirectIO
import Foundation
import Glibc
import SystemPackage
import Testing

/// A small file system on a loop device, gone with this object.
final class LoopFileSystem {
    let directory: String
    private let image: String

    /// - Returns: nil if this user may not make one.
    init?(megabytes: Int) {
        guard getuid() == 0 else { return nil }
        let name = "/var/tmp/localio-loop-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        image = name + ".img"
        directory = name
        guard run("truncate", "-s", "\(megabytes)M", image) == 0,
            run("mkfs.ext4", "-q", "-F", "-b", "4096", image) == 0,
            mkdir(directory, 0o755) == 0
        else {
            unlink(image)
            return nil
        }
        guard run("mount", "-o", "loop", image, directory) == 0 else {
            rmdir(directory)
            unlink(image)
            return nil
        }
    }

    deinit {
        run("umount", directory)
        rmdir(directory)
        unlink(image)
    }

    static let available: Bool = LoopFileSystem(megabytes: 8) != nil
}

@Suite(.serialized) struct DeviceTests {
    @Test(
        .enabled(if: LoopFileSystem.available, "mounting a loop device needs root"),
        arguments: EngineTests.kinds)
    func aFullFileSystemSaysSo(kind: EngineKind) async throws {
        let fileSystem = try #require(LoopFileSystem(megabytes: 8))
        do {
            let engine = try makeEngine(kind)
            let file = TemporaryFile(directory: fileSystem.directory)
            let descriptor = try file.open()
            let buffer = try makeBuffer(1 << 20)
            let bytes = UnsafeRawBufferPointer(buffer.mutableBytes)
            var offset: UInt64 = 0
            var last: Int64 = 0
            for _ in 0..<64 {
                last = engine.writeBlocking(fd: descriptor.raw, from: bytes, offset: offset)
                if last < 0 { break }
                // A short write: the next byte meets the error.
                offset += UInt64(last)
            }
            #expect(last == Int64(-ENOSPC))
            let queued = await engine.perform(
                .write(fd: descriptor.raw, offset: offset, from: bytes))
            #expect(queued == Int64(-ENOSPC))
            #expect(offset > 0)
        }
    }

    @Test(.enabled(if: LoopFileSystem.available, "mounting a loop device needs root"))
    func geometryIsWhatTheKernelEnforces() throws {
        let fileSystem = try #require(LoopFileSystem(megabytes: 8))
        do {
            let file = TemporaryFile(directory: fileSystem.directory)
            try file.fill([UInt8](repeating: 1, count: 65536))
            let descriptor = try file.open()
            let status = try FileStatus.of(descriptor)
            let geometry = try #require(status.geometry)
            #expect(status.size == 65536 && status.isRegularFile)
            #expect(geometry.offsetAlignment >= 512 && geometry.memoryAlignment >= 1)
            #expect(geometry.readOffsetAlignment <= geometry.offsetAlignment)
            let buffer = try makeBuffer(8192)
            let engine = try makeEngine(.threads)
            let fits = UnsafeMutableRawBufferPointer(
                rebasing: buffer.mutableBytes[0..<geometry.readOffsetAlignment])
            #expect(
                engine.readBlocking(
                    fd: descriptor.raw, into: fits, offset: UInt64(geometry.readOffsetAlignment))
                    == fits.count)
        }
    }

    @Test(arguments: EngineTests.kinds)
    func misalignedMemoryIsRefusedByTheKernel(kind: EngineKind) async throws {
        let file = TemporaryFile()
        try file.fill([UInt8](repeating: 1, count: 65536))
        let descriptor = try file.open()
        let geometry = try #require(try FileStatus.of(descriptor).geometry)
        guard geometry.memoryAlignment > 1 else { return }
        let engine = try makeEngine(kind)
        let buffer = try makeBuffer(16384)
        let shifted = UnsafeMutableRawBufferPointer(rebasing: buffer.mutableBytes[1..<8193])
        // ext4 reads it through the page cache instead; XFS says EINVAL.
        let queued = await engine.perform(.read(fd: descriptor.raw, offset: 0, into: shifted))
        let inline = engine.readBlocking(fd: descriptor.raw, into: shifted, offset: 0)
        #expect([8192, Int64(-EINVAL)].contains(queued))
        #expect(inline == queued)
    }

    @Test func tmpfsHasNoGeometry() throws {
        guard access("/dev/shm", W_OK) == 0 else { return }
        let file = TemporaryFile(directory: "/dev/shm")
        let descriptor = try file.open(direct: false)
        #expect(try FileStatus.of(descriptor).geometry == nil)
    }

    @Test func openingAndAskingFailWithTheKernelsErrors() {
        #expect(throws: Errno.noSuchFileOrDirectory) {
            _ = try Descriptor(path: "/nowhere/at/all", flags: O_RDONLY)
        }
        #expect(throws: Errno.badFileDescriptor) { _ = try FileStatus.of(fd: -1) }
    }
}

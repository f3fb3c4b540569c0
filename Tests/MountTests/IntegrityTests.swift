// Every byte: random I/O through a mount against a reference, and against the file itself.
import CLinux
import Glibc
import LocalIOBench
import LocalIOTesting
import Synchronization
import SystemPackage
import Testing
import Threads

@Suite(.serialized, .enabled(if: canMount)) struct IntegrityTests {
    private static let fileByteCount = 3 * 1024 * 1024 + 1234

    @Test(arguments: MountedRoad.all) func randomWritesArriveAsWritten(_ road: MountedRoad) throws {
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        let seed = testSeed()
        var random = SeededGenerator(seed: seed)
        let path = mount.point + "/file"
        var reference = [UInt8](repeating: 0, count: Self.fileByteCount)
        let buffered = open(path, O_RDWR | O_CREAT, 0o644)
        let direct = open(path, O_RDWR | clinux_o_direct)
        #expect(buffered >= 0 && direct >= 0)
        ftruncate(buffered, off_t(Self.fileByteCount))
        let map = mmap(
            nil, Self.fileByteCount, PROT_READ | PROT_WRITE, MAP_SHARED, buffered, 0)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { memory.deallocate() }
        for step in 0..<testOperations(150) {
            let kind = Int.random(in: 0..<3, using: &random)
            let unit = kind == 1 ? 4096 : 1
            let length = Int.random(in: 1...(kind == 1 ? 64 : 200_000), using: &random) * unit
            let limit = (Self.fileByteCount - length) / unit
            let offset = Int.random(in: 0...max(limit - 1, 0), using: &random) * unit
            let value = UInt8.random(in: 0...255, using: &random)
            for index in 0..<length {
                let byte = value &+ UInt8(truncatingIfNeeded: index)
                memory.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
                reference[offset + index] = byte
            }
            switch kind {
            case 0: #expect(pwrite(buffered, memory, length, off_t(offset)) == length)
            case 1: #expect(pwrite(direct, memory, length, off_t(offset)) == length)
            default: map?.advanced(by: offset).copyMemory(from: memory, byteCount: length)
            }
            guard step % 10 == 9 else { continue }
            let start = Int.random(in: 0..<Self.fileByteCount - 70_000, using: &random)
            let count = pread(buffered, memory, 65_536, off_t(start))
            let bytes = UnsafeRawBufferPointer(start: memory, count: max(count, 0))
            #expect(
                bytes.elementsEqual(reference[start..<start + 65_536]),
                "step \(step), LOCALIO_SEED=\(seed)")
        }
        munmap(map, Self.fileByteCount)
        #expect(fsync(buffered) == 0)
        close(buffered)
        close(direct)
        #expect(try readFile(site.exported + "/file") == reference, "LOCALIO_SEED=\(seed)")
        #expect(try readFile(path) == reference, "LOCALIO_SEED=\(seed)")
        #expect(try mount.bytes(road.isLocal ? "rpc" : "local") == 0)
    }

    /// The local file is opened by the first I/O, by the name that the file has by then.
    @Test(arguments: MountedRoad.all) func whatMovesBeforeItsFirstIOIsStillFound(
        _ road: MountedRoad
    ) throws {
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 65_536, alignment: 4096)
        defer { memory.deallocate() }
        func writeAndRead(_ file: Int32, _ byte: UInt8) {
            memory.initializeMemory(as: UInt8.self, repeating: byte, count: 65_536)
            #expect(pwrite(file, memory, 65_536, 0) == 65_536)
            memory.initializeMemory(as: UInt8.self, repeating: 0, count: 65_536)
            #expect(pread(file, memory, 65_536, 0) == 65_536)
            #expect(UnsafeRawBufferPointer(start: memory, count: 65_536).allSatisfy { $0 == byte })
        }
        mkdir(mount.point + "/a", 0o755)
        let moved = open(mount.point + "/a/file", O_RDWR | O_CREAT | clinux_o_direct, 0o644)
        let gone = open(mount.point + "/gone", O_RDWR | O_CREAT | clinux_o_direct, 0o644)
        try #require(moved >= 0 && gone >= 0)
        #expect(rename(mount.point + "/a", mount.point + "/b") == 0)
        #expect(unlink(mount.point + "/gone") == 0)
        writeAndRead(moved, 1)
        writeAndRead(gone, 2)
        close(gone)
        close(moved)
        #expect(try readFile(site.exported + "/b/file") == [UInt8](repeating: 1, count: 65_536))
        #expect(try mount.bytes(road.isLocal ? "rpc" : "local") == 0)
        #expect(try mount.bytes(road.isLocal ? "local" : "rpc") == 4 * 65_536)
    }

    @Test(arguments: MountedRoad.all) func unmountWritesWhatIsDirty(_ road: MountedRoad) throws {
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        let bytes = (0..<2_000_003).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        let file = open(mount.point + "/dirty", O_RDWR | O_CREAT, 0o644)
        _ = bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
        // Still open: busy, so that it is flushed and detached.
        mount.process.signal(SIGTERM)
        _ = poll(timeout: .seconds(20)) { access(mount.point + "/.localio-status", F_OK) != 0 }
        #expect(try readFile(site.exported + "/dirty") == bytes)
        #expect(pwrite(file, "end", 3, 2_000_003) == 3)
        close(file)
        #expect(mount.process.wait(timeout: .seconds(20)) == 0)
        #expect(try readFile(site.exported + "/dirty") == bytes + Array("end".utf8))
    }

    /// A writer in the middle of its work: unmounting answers EBUSY, SIGTERM flushes, detaches and
    /// goes on serving until it has closed the file. Every byte that write(2) took is there.
    @Test(arguments: MountedRoad.all) func unmountUnderAWriterLosesNothing(
        _ road: MountedRoad
    ) throws {
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        let size = 65_536
        let (blocks, before) = (400, 30)
        let written = Atomic<Int>(0)
        let file = open(mount.point + "/busy", O_RDWR | O_CREAT, 0o644)
        try #require(file >= 0)
        let thread = OwnedThread(name: "writer") {
            for index in 0..<blocks {
                let chunk = [UInt8](repeating: UInt8(index % 251 + 1), count: size)
                let count = chunk.withUnsafeBytes {
                    pwrite(file, $0.baseAddress, size, index * size)
                }
                if count != size { break }
                written.add(1, ordering: .releasing)
                usleep(500)
            }
        }
        let writer = try #require(thread)
        _ = poll(timeout: .seconds(20)) { written.load(ordering: .acquiring) >= before }
        #expect(umount2(mount.point, 0) == -1 && errno == EBUSY)
        mount.process.signal(SIGTERM)
        writer.join()
        #expect(written.load(ordering: .acquiring) == blocks, "a write failed")
        #expect(close(file) == 0)
        #expect(mount.process.wait(timeout: .seconds(30)) == 0)
        let bytes = try readFile(site.exported + "/busy")
        #expect(bytes.count == blocks * size)
        for index in 0..<min(blocks, bytes.count / size) {
            let part = bytes[index * size..<(index + 1) * size]
            #expect(part.allSatisfy { $0 == UInt8(index % 251 + 1) }, "block \(index)")
        }
    }

    @Test(arguments: MountedRoad.all) func whatWasSyncedSurvivesAKill(_ road: MountedRoad) throws {
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        let bytes = (0..<1_500_001).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 2) }
        let file = open(mount.point + "/synced", O_RDWR | O_CREAT, 0o644)
        _ = bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
        #expect(fsync(file) == 0)
        mount.kill9()
        #expect(try readFile(site.exported + "/synced") == bytes)
        #expect(open(mount.point + "/synced", O_RDONLY) == -1 && errno == ENOTCONN)
        close(file)
        // A dead mount point is taken over.
        let again = try MountProcess(url: site.server.url, options: road.options)
        #expect(try readFile(again.point + "/synced") == bytes)
    }

    /// Page-cache writeback goes direct, an odd tail apart, and leaves no second copy in the
    /// server's page cache.
    @Test(arguments: MountedServer.available) func writebackGoesDirect(
        _ server: MountedServer
    ) throws {
        let site = try MountSite(server)
        let mount = try site.mount()
        let chunk = [UInt8](repeating: 0x5a, count: 1 << 20)
        let file = open(mount.point + "/sequential", O_RDWR | O_CREAT, 0o644)
        for _ in 0..<32 { _ = chunk.withUnsafeBytes { write(file, $0.baseAddress, $0.count) } }
        _ = chunk.withUnsafeBytes { write(file, $0.baseAddress, 777) }
        #expect(fsync(file) == 0)
        close(file)
        #expect(try mount.bytes("local") == (32 << 20) + 777)
        #expect(try mount.bytes("rpc") == 0)
        // The odd tail alone does not go by O_DIRECT: far less than 1 % of the bytes.
        let fallbacks = try mount.status()["fallbacks"] as? [String: Int] ?? [:]
        #expect(fallbacks.keys.allSatisfy { $0 == "misaligned" }, "\(fallbacks)")
        #expect(fallbacks["misaligned", default: 0] <= 1, "\(fallbacks)")
        let cached = try PageCacheProbe.cachedPages(
            FilePath(site.exported + "/sequential"), 32 << 20)
        #expect(cached < (32 << 20) / 4096 / 100)
    }
}

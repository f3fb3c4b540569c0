// What goes wrong under the page cache: no room, no server, no lease. Nothing acknowledged is
// lost, and every loss is told.
import Foundation
import LocalIOBench
import LocalIOTesting
import NFSClient
import SystemPackage
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct BufferedErrorTests {
    /// Fills a small disk past its end.
    private final class FullDisk {
        let disk: BlockFixture
        let site: Site
        let client: LocalIOClient

        // The disk is unmounted once nobody uses it.
        deinit {
            client.closeBlocking()
            site.server.stop()
        }

        init(
            _ kind: ServerKind, _ locality: LocalitySetting, errorHold: Duration
        ) throws {
            disk = try BlockFixture(.ext4, on: .loop, byteCount: 48 << 20)
            site = try Site(kind, exporting: disk.path)
            client = try site.connect(locality, policy: .local) {
                $0.cache.byteCount = 16 << 20
                $0.cache.errorHold = errorHold
            }
        }

        /// A file of the disk itself that leaves so many bytes of room.
        func fill(leaving byteCount: Int) throws {
            var status = statvfs()
            try #require(statvfs(disk.path.string, &status) == 0)
            let free = Int(status.f_bavail) * Int(status.f_frsize)
            let path = disk.path.appending("filler")
            let file = try FileDescriptor.open(
                path, .writeOnly, options: [.create], permissions: .ownerReadWrite)
            defer { try? file.close() }
            let wanted = off_t(max(free - byteCount, 1 << 20))
            try #require(posix_fallocate(file.rawValue, 0, wanted) == 0)
        }

        func makeRoom() throws { try #require(unlink(disk.path.appending("filler").string) == 0) }
    }

    private static func write(_ bytes: [UInt8], _ file: BufferedFile, at offset: Int) throws {
        let written = try bytes.withUnsafeBytes {
            try file.writeBlocking(from: $0, at: UInt64(offset))
        }
        try #require(written == bytes.count)
    }

    private static func commitError(_ file: BufferedFile) -> Errno? {
        do {
            try file.commitBlocking()
            return nil
        } catch {
            return error.errno
        }
    }

    /// Without room the commits say so, the bytes stay, and with room again they arrive.
    @Test(
        .enabled(if: Requirement.smallLoopDisk.isMet), arguments: ServerKind.available,
        [LocalitySetting.automatic, .off])
    func bytesWithoutRoomAreKeptAndTold(kind: ServerKind, locality: LocalitySetting) throws {
        let full = try FullDisk(kind, locality, errorHold: .seconds(600))
        try full.fill(leaving: 2 << 20)
        let file = try full.client.openBufferedBlocking("file", .readWrite, options: [.create])
        let other = try full.client.openBufferedBlocking("file", .readOnly)
        var generator = SeededGenerator(seed: 5)
        let bytes = generator.bytes(8 << 20)
        try Self.write(bytes, file, at: 0)
        #expect(Self.commitError(file) == .noSpace)
        // The other opener's own commit tries once more, and is told as well.
        #expect(Self.commitError(other) == .noSpace)
        #expect(full.client.statistics().cache?.dirtyBytes ?? 0 > 0)
        // What could not be written is still read.
        var back = [UInt8](repeating: 0, count: bytes.count)
        let got = try back.withUnsafeMutableBytes { try file.readBlocking(into: $0, at: 0) }
        #expect(got == bytes.count && back == bytes)
        try full.makeRoom()
        // The last failure may have been the other's: told once, then all is well.
        _ = Self.commitError(file)
        #expect(Self.commitError(file) == nil)
        #expect(try full.site.contents("file") == bytes)
        #expect(full.client.statistics().cache?.droppedBytes == 0)
        _ = Self.commitError(other)
        try other.closeBlocking()
        try file.closeBlocking()
    }

    /// After their time the bytes are given up, which every opener is told exactly once.
    @Test(.enabled(if: Requirement.smallLoopDisk.isMet))
    func bytesGivenUpAreToldToEveryOpenerOnce() throws {
        let full = try FullDisk(.embedded, .automatic, errorHold: .seconds(1))
        try full.fill(leaving: 1 << 20)
        let file = try full.client.openBufferedBlocking("file", .readWrite, options: [.create])
        let other = try full.client.openBufferedBlocking("file", .readOnly)
        try Self.write([UInt8](repeating: 3, count: 4 << 20), file, at: 0)
        try file.startWriteback()
        #expect(
            poll(timeout: .seconds(20)) {
                full.client.statistics().cache.map { $0.droppedBytes > 0 && $0.dirtyBytes == 0 }
                    ?? false
            })
        #expect(Self.commitError(file) == .noSpace)
        #expect(Self.commitError(file) == nil, "told twice")
        #expect(Self.commitError(other) == .noSpace)
        #expect(Self.commitError(other) == nil, "told twice")
        try full.makeRoom()
        try Self.write([UInt8](repeating: 4, count: 100_000), file, at: 0)
        #expect(Self.commitError(file) == nil)
        #expect(try full.site.contents("file").prefix(100_000).allSatisfy { $0 == 4 })
        try other.closeBlocking()
        try file.closeBlocking()
    }

    /// A close on a full disk reports it, and ends nevertheless.
    @Test(.enabled(if: Requirement.smallLoopDisk.isMet))
    func aCloseWithoutRoomSaysSo() throws {
        let full = try FullDisk(.embedded, .automatic, errorHold: .seconds(600))
        try full.fill(leaving: 1 << 20)
        let file = try full.client.openBufferedBlocking("file", .readWrite, options: [.create])
        try Self.write([UInt8](repeating: 3, count: 4 << 20), file, at: 0)
        #expect { try file.closeBlocking() } throws: {
            ($0 as? LocalIOError)?.errno == .noSpace
        }
        #expect(full.client.statistics().cache?.dirtyBytes == 0)
    }

    /// The lease goes in the middle of writeback: what is left goes by RPC, and comes back.
    @Test(arguments: ServerKind.available)
    func revocationInTheMiddleOfWriteback(kind: ServerKind) throws {
        let seed = testSeed()
        print("revocation \(kind): LOCALIO_SEED=\(seed)")
        let site = try Site(kind)
        let client = try site.connect(.automatic, policy: .local) {
            $0.cache.byteCount = 4 << 20
            $0.cache.dirtyAge = .milliseconds(10)
            $0.heartbeatInterval = .milliseconds(50)
            $0.heartbeatTimeout = .milliseconds(300)
        }
        let file = try client.openBufferedBlocking("file", .readWrite, options: [.create])
        var generator = SeededGenerator(seed: seed)
        let bytes = generator.bytes(24 << 20)
        let failure = Lock<String?>(nil)
        let writer = OwnedThread(name: "writer") {
            do {
                for start in stride(from: 0, to: bytes.count, by: 100_000) {
                    let end = min(start + 100_000, bytes.count)
                    try Self.write(Array(bytes[start..<end]), file, at: start)
                    usleep(2000)
                }
                try file.commitBlocking()
            } catch {
                failure.withLock { $0 = "\(error)" }
            }
        }
        usleep(100_000)
        kill(site.server.processIdentifier, SIGSTOP)
        let isRevoked = poll(timeout: .seconds(5)) { file.fallbackReason == .leaseRevoked }
        // Time for writeback that meets the revoked road.
        usleep(200_000)
        kill(site.server.processIdentifier, SIGCONT)
        #expect(isRevoked)
        try #require(writer).join()
        #expect(failure.withLock { $0 } == nil)
        #expect(try site.contents("file") == bytes, "seed \(seed)")
        #expect(poll(timeout: .seconds(5)) { file.fallbackReason == nil })
        let roads = client.statistics().roads
        #expect(roads[.local]?.bytes ?? 0 > 0 && roads[.rpc]?.bytes ?? 0 > 0)
        try file.closeBlocking()
    }
}

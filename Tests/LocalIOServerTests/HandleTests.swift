// Handles: their layout, the server's restart, and files that are gone.
import Foundation
import Glibc
import NFSTypes
import Testing

@testable import LocalIOServer

@Suite struct HandleTests {
    @Test func layoutGoesThereAndBack() throws {
        let kernel = ServerHandle(
            exportHash: 0x0123_4567_89ab_cdef, inode: 42,
            generation: .kernelHandle(type: 0x81, bytes: [1, 2, 3, 4, 5, 6, 7, 8]))
        let encoded = try #require(kernel.encoded)
        #expect(encoded.bytes.prefix(5) == [0x4c, 1, 1, 8, 0x01])
        #expect(ServerHandle(encoded) == kernel)
        let birth = ServerHandle(
            exportHash: 1, inode: .max, generation: .birthTime(seconds: -5, nanoseconds: 999))
        #expect(ServerHandle(try #require(birth.encoded)) == birth)
        let long = ServerHandle(
            exportHash: 1, inode: 2,
            generation: .kernelHandle(type: 1, bytes: [UInt8](repeating: 0, count: 41)))
        #expect(long.encoded == nil)
    }

    @Test func everyCutOrChangedHeaderIsRefused() throws {
        let handle = try #require(
            ServerHandle(
                exportHash: 7, inode: 8, generation: .birthTime(seconds: 9, nanoseconds: 10)
            ).encoded)
        for length in 0..<handle.byteCount {
            let cut = try #require(FileHandle(Array(handle.bytes.prefix(length))))
            #expect(ServerHandle(cut) == nil)
        }
        for index in 0..<4 {
            var bytes = handle.bytes
            bytes[index] ^= 0x40
            #expect(ServerHandle(try #require(FileHandle(bytes))) == nil)
        }
    }

    @Test func handlesAndNotVerifiersSurviveARestart() throws {
        let directory = try TemporaryDirectory()
        var served = try Served(directory.path)
        var client = try RawClient(port: served.port)
        let root = try client.mount(directory.path).handle
        let deep = try client.makeDirectory(client.makeDirectory(root, "a").handle, "b").handle
        let file = try client.create(deep, "file").handle
        let verifier = try client.write(file, at: 0, [1, 2, 3], .fileSync).verifier
        served.server.stop()
        #expect(served.server.port == nil)
        served = try Served(directory.path)
        client = try RawClient(port: served.port)
        #expect(try client.read(file, at: 0, 10).bytes == [1, 2, 3])
        #expect(try client.lookUp(deep, "file").handle == file)
        #expect(try client.mount(directory.path).handle == root)
        #expect(try client.commit(file).verifier != verifier)
    }

    @Test func aRecycledInodeIsStale() throws {
        let directory = try TemporaryDirectory()
        let served = try Served(directory.path)
        let client = try RawClient(port: served.port)
        let root = try client.mount(directory.path).handle
        var handles: Set<[UInt8]> = []
        // ext4 and tmpfs hand out a freed inode's number again at once.
        for round in 0..<50 {
            let (status, handle) = try client.create(root, "file")
            #expect(status == .ok && handles.insert(handle).inserted)
            _ = try client.write(handle, at: 0, [UInt8(round)])
            // Half of them go behind the server's back.
            if round % 2 == 0 {
                #expect(try client.remove(root, "file") == .ok)
            } else {
                #expect(unlink(directory.file("file")) == 0)
            }
            for old in handles { #expect(try client.attributes(old).status == .stale) }
            #expect(try client.read(handle, at: 0, 1).status == .stale)
        }
    }

    @Test func openFilesAreClosedWithTheirLastName() throws {
        let directory = try TemporaryDirectory()
        let served = try Served(directory.path)
        let client = try RawClient(port: served.port)
        let root = try client.mount(directory.path).handle
        func openCount() throws -> Int {
            try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").filter {
                let target = try? FileManager.default.destinationOfSymbolicLink(
                    atPath: "/proc/self/fd/" + $0)
                return target?.hasPrefix(directory.path + "/") ?? false
            }.count
        }
        for name in ["one", "two"] {
            _ = try client.write(client.create(root, name).handle, at: 0, [1])
        }
        #expect(try openCount() == 2)
        #expect(try client.remove(root, "one") == .ok)
        #expect(try openCount() == 1)
        _ = try client.create(root, "three")
        #expect(try client.rename(root, "three", root, "two") == .ok)
        #expect(try openCount() == 1)
    }
}

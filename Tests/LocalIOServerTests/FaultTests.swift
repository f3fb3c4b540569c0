// The faults that tests of others rely on, and the read-only export.
import Foundation
import Glibc
import NFSTypes
import Testing

@testable import LocalIOServer

@Suite struct FaultTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    func stored(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: directory.file(name))))
    }

    @Test func heldWritesAreSeenAndReachTheFileWithCommit() throws {
        let served = try Served(directory.path, faults: ServerFaults(holdUncommitted: true))
        let client = try RawClient(port: served.port)
        let root = try client.mount(directory.path).handle
        let file = try client.create(root, "file").handle
        #expect(try client.write(file, at: 0, [1, 2, 3], .fileSync).status == .ok)
        #expect(try client.write(file, at: 2, [7, 8]).committed == 0)
        #expect(try client.write(file, at: 6, [9]).status == .ok)
        #expect(try stored("file") == [1, 2, 3])
        #expect(try client.attributes(file).attributes?.size == 7)
        let all = try client.read(file, at: 0, 100)
        #expect(all.bytes == [1, 2, 7, 8, 0, 0, 9] && all.isEnd)
        #expect(try client.read(file, at: 3, 2).bytes == [8, 0])
        #expect(try client.setAttributes(file, size: 4) == .ok)
        #expect(try client.read(file, at: 0, 100).bytes == [1, 2, 7, 8])
        #expect(try client.commit(file).status == .ok)
        #expect(try stored("file") == [1, 2, 7, 8])
    }

    @Test func heldWritesDieWithTheServer() throws {
        let files = try TemporaryDirectory()
        let options = ["--fault-hold-uncommitted"]
        let daemon = try Daemon(directory.path, files: files, options)
        let client = try RawClient(port: daemon.port)
        let root = try client.mount(directory.path).handle
        let kept = try client.create(root, "kept").handle
        let lost = try client.create(root, "lost").handle
        let before = try client.write(kept, at: 0, [1, 2, 3]).verifier
        _ = try client.write(lost, at: 0, [4, 5, 6])
        #expect(try client.commit(kept).verifier == before)
        daemon.end(SIGKILL)
        #expect(try stored("kept") == [1, 2, 3])
        #expect(try stored("lost") == [])
        let next = try Daemon(directory.path, files: files, options)
        let again = try RawClient(port: next.port)
        #expect(try again.read(kept, at: 0, 3).bytes == [1, 2, 3])
        #expect(try again.commit(lost).verifier != before)
    }

    @Test func theDiskFillsUp() throws {
        let served = try Served(directory.path, faults: ServerFaults(noSpaceAfterBytes: 10))
        let client = try RawClient(port: served.port)
        let file = try client.create(client.mount(directory.path).handle, "file").handle
        let bytes = [UInt8](repeating: 1, count: 8)
        #expect(try client.write(file, at: 0, bytes).count == 8)
        #expect(try client.write(file, at: 8, bytes).count == 2)
        #expect(try client.write(file, at: 10, bytes).status == .noSpace)
    }

    @Test func readsAndWritesAreCutShort() throws {
        let faults = ServerFaults(readByteLimit: 3, writeByteLimit: 5)
        let served = try Served(directory.path, faults: faults)
        let client = try RawClient(port: served.port)
        let file = try client.create(client.mount(directory.path).handle, "file").handle
        #expect(try client.write(file, at: 0, [1, 2, 3, 4, 5, 6, 7]).count == 5)
        let answer = try client.read(file, at: 0, 100)
        #expect(answer.bytes == [1, 2, 3] && !answer.isEnd)
    }

    @Test func callsAreDelayedDroppedAndPutOff() throws {
        let jukebox = try Served(directory.path, faults: ServerFaults(jukeboxEvery: 2))
        let client = try RawClient(port: jukebox.port)
        let root = try client.mount(directory.path).handle
        #expect(try client.attributes(root).status == .ok)
        #expect(try client.attributes(root).status == .jukebox)
        #expect(try client.lookUp(root, "x").status == .noEntry)
        #expect(try client.remove(root, "x") == .jukebox)
        let dropping = try Served(directory.path, faults: ServerFaults(dropConnectionEvery: 3))
        let dropped = try RawClient(port: dropping.port)
        #expect(try dropped.mount(directory.path).status == .ok)
        #expect(try dropped.attributes(root).status == .ok)
        #expect(throws: RPCVerdict.closed) { try dropped.attributes(root) }
        let late = try Served(
            directory.path, faults: ServerFaults(replyDelay: .milliseconds(50)))
        let start = ContinuousClock.now
        _ = try RawClient(port: late.port).mount(directory.path)
        #expect(ContinuousClock.now - start >= .milliseconds(50))
    }

    @Test func aReadOnlyExportChangesNothing() throws {
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: directory.file("file")))
        let served = try Served(directory.path) { $0.readOnly = true }
        let client = try RawClient(port: served.port)
        let root = try client.mount(directory.path).handle
        let file = try client.find(root, "file")
        #expect(try client.read(file, at: 0, 3).bytes == [1, 2, 3])
        #expect(try client.write(file, at: 0, [9]).status == .readOnlyFileSystem)
        #expect(try client.setAttributes(file, size: 0) == .readOnlyFileSystem)
        #expect(try client.create(root, "new").status == .readOnlyFileSystem)
        #expect(try client.remove(root, "file") == .readOnlyFileSystem)
        #expect(try client.rename(root, "file", root, "x") == .readOnlyFileSystem)
        #expect(try client.access(file, [.read, .modify, .extend]) == .read)
        #expect(try stored("file") == [1, 2, 3])
    }
}

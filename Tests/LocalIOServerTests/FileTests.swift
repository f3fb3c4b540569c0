// What the NFSv3 procedures do to files, seen from a raw client and from the directory itself.
import Foundation
import Glibc
import NFSTypes
import Testing

@testable import LocalIOServer

@Suite struct FileTests {
    let directory: TemporaryDirectory
    let served: Served
    let client: RawClient
    let root: [UInt8]

    init() throws {
        directory = try TemporaryDirectory()
        served = try Served(directory.make("export"))
        client = try RawClient(port: served.port)
        root = try client.mount(directory.file("export")).handle
    }

    func path(_ name: String) -> String { directory.file("export/" + name) }

    @Test func writesAndReadsWhatTheFileHolds() throws {
        var random = Seeded("writesAndReadsWhatTheFileHolds")
        let file = try client.create(root, "data").handle
        var expected: [UInt8] = []
        for stable in [StableHow.unstable, .dataSync, .fileSync] {
            for _ in 0..<20 {
                let bytes = random.bytes(Int.random(in: 0...70_000, using: &random))
                let offset = Int.random(in: 0...200_000, using: &random)
                let answer = try client.write(file, at: UInt64(offset), bytes, stable)
                #expect(answer.status == .ok && answer.count == bytes.count)
                #expect(answer.committed == stable.rawValue)
                if bytes.isEmpty { continue }
                let missing = max(0, offset + bytes.count - expected.count)
                expected += [UInt8](repeating: 0, count: missing)
                expected.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
            }
        }
        #expect(try client.commit(file).status == .ok)
        let stored = try Data(contentsOf: URL(fileURLWithPath: path("data")))
        #expect(Array(stored) == expected)
        let whole = try client.read(file, at: 0, 1 << 20)
        #expect(whole.bytes == expected && whole.isEnd)
        let part = try client.read(file, at: 1001, 333)
        #expect(part.bytes == Array(expected[1001..<1334]) && !part.isEnd)
        let past = try client.read(file, at: UInt64(expected.count) + 10, 10)
        #expect(past.status == .ok && past.bytes.isEmpty && past.isEnd)
    }

    @Test func carriesAMebibyteInOneCall() throws {
        var random = Seeded("carriesAMebibyteInOneCall")
        let bytes = random.bytes(1 << 20)
        let file = try client.create(root, "big").handle
        #expect(try client.write(file, at: 0, bytes, .fileSync).count == 1 << 20)
        #expect(try client.read(file, at: 0, 1 << 20).bytes == bytes)
        // More than rtmax is cut.
        #expect(try client.read(file, at: 0, 4 << 20).bytes.count == 1 << 20)
    }

    @Test func exclusiveCreateMayBeSentAgain() throws {
        let first = try client.createExclusively(root, "once", verifier: 0x8123_4567_89ab_cdef)
        let again = try client.createExclusively(root, "once", verifier: 0x8123_4567_89ab_cdef)
        #expect(first.status == .ok && again.status == .ok && first.handle == again.handle)
        #expect(try client.createExclusively(root, "once", verifier: 77).status == .exists)
        #expect(try client.create(root, "once").status == .exists)
    }

    @Test func setAttributesHonoursGuardSizeAndTimes() throws {
        let file = try client.create(root, "file").handle
        _ = try client.write(file, at: 0, [1, 2, 3, 4, 5])
        let before = try #require(client.attributes(file).attributes)
        let wrong = FileTime(seconds: 1, nanoseconds: 1)
        #expect(try client.setAttributes(file, size: 2, guardTime: wrong) == .notSynchronized)
        #expect(try client.setAttributes(file, size: 2, guardTime: before.changeTime) == .ok)
        let time = FileTime(seconds: 1_000_000_000, nanoseconds: 123_456_789)
        #expect(try client.setAttributes(file, mode: 0o640, modified: time) == .ok)
        let after = try #require(client.attributes(file).attributes)
        #expect(after.size == 2 && after.mode == 0o640 && after.modifyTime == time)
        #expect(try client.setAttributes(root, size: 0) == .isDirectory)
    }

    @Test func namesAndDirectories() throws {
        let (status, sub) = try client.makeDirectory(root, "sub")
        #expect(status == .ok)
        #expect(try client.makeDirectory(root, "sub").status == .exists)
        let file = try client.create(sub, "one").handle
        #expect(try client.remove(root, "sub") == .isDirectory)
        #expect(try client.remove(root, "sub", isDirectory: true) == .directoryNotEmpty)
        #expect(try client.remove(sub, "one", isDirectory: true) == .notDirectory)
        #expect(try client.rename(sub, "one", root, "two") == .ok)
        #expect(try client.lookUp(sub, "one").status == .noEntry)
        #expect(try client.lookUp(root, "two").handle == file)
        var linked = try client.nfs(15) {
            $0.opaque(file)
            $0.opaque(sub)
            $0.string("three")
        }
        #expect(linked.status() == .ok)
        #expect(linked.optionalAttributes()?.linkCount == 2)
        #expect(try client.remove(root, "two") == .ok)
        #expect(try client.attributes(file).attributes?.linkCount == 1)
        #expect(try client.remove(sub, "three") == .ok)
        #expect(try client.attributes(file).status == .stale)
        #expect(try client.remove(root, "sub", isDirectory: true) == .ok)
        #expect(try client.lookUp(file, "x").status == .stale)
    }

    @Test func linksAreNeverFollowed() throws {
        try Data("secret".utf8).write(to: URL(fileURLWithPath: directory.file("outside")))
        #expect(try client.makeSymbolicLink(root, "link", to: directory.file("outside")) == .ok)
        #expect(try client.makeSymbolicLink(root, "up", to: "..") == .ok)
        let link = try client.find(root, "link")
        #expect(try client.attributes(link).attributes?.type == .symbolicLink)
        #expect(try client.read(link, at: 0, 10).status == .invalid)
        var target = try client.nfs(5) { $0.opaque(link) }
        #expect(target.status() == .ok)
        _ = target.optionalAttributes()
        #expect(String(decoding: target.opaque(), as: UTF8.self) == directory.file("outside"))
        let up = try client.find(root, "up")
        #expect(try client.lookUp(up, "outside").status == .notDirectory)
        #expect(try client.mount(directory.file("export/up")).status == .notDirectory)
        #expect(try client.create(root, "link").status == .exists)
    }

    @Test func namesCannotLeadOutOfTheExport() throws {
        let sub = try client.makeDirectory(root, "sub").handle
        #expect(try client.lookUp(root, "..").handle == root)
        #expect(try client.lookUp(root, ".").handle == root)
        #expect(try client.lookUp(sub, "..").handle == root)
        for name in ["../export", "sub/..", "/", "", "/etc/passwd", "a\0b"] {
            #expect(try client.lookUp(root, name).status == .accessDenied, "\(name)")
            #expect(try client.create(root, name).status == .accessDenied, "\(name)")
        }
        #expect(try client.lookUp(root, String(repeating: "x", count: 256)).status == .nameTooLong)
        #expect(try client.remove(root, ".") == .invalid)
        #expect(try client.remove(root, "..", isDirectory: true) == .exists)
        #expect(try client.create(root, "..").status == .exists)
        #expect(try client.rename(root, "sub", root, "..") == .invalid)
        // A directory that somebody else moves out of the export has no way up.
        let path = directory.file("moved")
        #expect(Glibc.rename(self.path("sub"), path) == 0)
        let up = try client.lookUp(sub, "..").status
        #expect(up == .accessDenied || up == .stale)
    }

    @Test func mountsTheExportAndBelowOnly() throws {
        #expect(try client.makeDirectory(root, "sub").status == .ok)
        _ = try client.create(root, "file")
        let sub = try client.find(root, "sub")
        let export = directory.file("export")
        #expect(try client.mount(export + "/sub").handle == sub)
        #expect(try client.mount(export + "//sub/").handle == sub)
        #expect(try client.mount(export + "/file").status == .notDirectory)
        #expect(try client.mount(export + "/missing").status == .noEntry)
        #expect(try client.mount(export + "/sub/..").status == .accessDenied)
        for path in ["/", directory.path, export + "2", "relative", ""] {
            #expect(try client.mount(path).status == .accessDenied, "\(path)")
        }
        var exports = try client.call(100005, 3, 5)
        #expect(exports.u32() == 1)
        #expect(String(decoding: exports.opaque(), as: UTF8.self) == export)
        var dump = try client.call(100005, 3, 2)
        #expect(dump.u32() == 1)
        #expect(String(decoding: dump.opaque(), as: UTF8.self) == "tester")
        _ = try client.call(100005, 3, 4)
        dump = try client.call(100005, 3, 2)
        #expect(dump.u32() == 0)
    }

    @Test func makesFifosAndSockets() throws {
        for (type, name) in [(FileType.fifo, "fifo"), (.socket, "socket")] {
            var results = try client.nfs(11) {
                $0.opaque(root)
                $0.string(name)
                $0.u32(type.rawValue)
                $0.attributes(mode: 0o600)
            }
            #expect(results.status() == .ok)
            let handle = try client.find(root, name)
            #expect(try client.attributes(handle).attributes?.type == type)
            // Opening a fifo would wait for its other end for ever.
            #expect(try client.read(handle, at: 0, 1).status == .invalid)
        }
        var results = try client.nfs(11) {
            $0.opaque(root)
            $0.string("no")
            $0.u32(FileType.directory.rawValue)
        }
        #expect(results.status() == .badType)
    }

    @Test func weakCacheConsistencyTellsBothSides() throws {
        let file = try client.create(root, "file").handle
        _ = try client.write(file, at: 0, [1, 2, 3])
        var results = try client.nfs(7) {
            $0.opaque(file)
            $0.u64(3)
            $0.u32(4)
            $0.u32(0)
            $0.opaque([4, 5, 6, 7])
        }
        #expect(results.status() == .ok)
        let weak = results.weakCache()
        #expect(weak.before == 3 && weak.after?.size == 7)
        var failed = try client.nfs(12) {
            $0.opaque(root)
            $0.string("missing")
        }
        #expect(failed.status() == .noEntry)
        #expect(failed.weakCache().after?.type == .directory)
    }

    @Test func fileSystemFacts() throws {
        var information = try client.nfs(19) { $0.opaque(root) }
        #expect(information.status() == .ok)
        #expect(information.optionalAttributes()?.type == .directory)
        #expect(information.u32() == 1 << 20)
        var space = try client.nfs(18) { $0.opaque(root) }
        #expect(space.status() == .ok)
        _ = space.optionalAttributes()
        #expect(space.u64() > 0)
        var limits = try client.nfs(20) { $0.opaque(root) }
        #expect(limits.status() == .ok)
        _ = limits.optionalAttributes()
        _ = limits.u32()
        #expect(limits.u32() == 255 && !limits.isShort)
    }

    @Test func listsInPiecesOfAnySize() throws {
        let names = Set((0..<300).map { "a name of some length, number \($0)" })
        for name in names { #expect(try client.create(root, name).status == .ok) }
        for byteCount in [700, 4096, 65536, 1 << 20] {
            let plain = try client.list(root, plus: false, byteCount: byteCount)
            #expect(plain.count == 300 && Set(plain.map(\.name)) == names)
            let full = try client.list(root, plus: true, byteCount: byteCount)
            #expect(full.count == 300 && Set(full.map(\.name)) == names)
            #expect(full.allSatisfy { $0.attributes?.type == .regular && !$0.handle.isEmpty })
        }
        var small = try client.nfs(16) {
            $0.opaque(root)
            $0.u64(0)
            $0.u64(0)
            $0.u32(100)
        }
        #expect(small.status() == .tooSmall)
        var bad = try client.nfs(16) {
            $0.opaque(root)
            $0.u64(5)
            $0.u64(1234)
            $0.u32(4096)
        }
        #expect(bad.status() == .badCookie)
    }

    @Test func listsAHundredThousandNames() throws {
        let count = 100_000
        for number in 0..<count {
            let descriptor = open(path("n\(number)"), O_CREAT | O_WRONLY, 0o600)
            guard descriptor >= 0 else { throw ToolFailure("open: errno \(errno)") }
            close(descriptor)
        }
        for plus in [false, true] {
            let names = try client.list(root, plus: plus, byteCount: 64 << 10).map(\.name)
            #expect(names.count == count && Set(names).count == count)
        }
    }
}

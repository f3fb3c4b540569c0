// Names are bytes: every one that the file system takes, the mount takes, and lists as it is.
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite(.serialized, .enabled(if: canMount)) struct NameTests {
    /// No UTF-8: Latin-1, a surrogate, an overlong form, a byte sequence cut short, all of
    /// 0x80 to 0xff; and two forms of one letter, which must stay two names.
    private static let names: [[UInt8]] = [
        Array("na".utf8) + [0xef] + Array("ve.txt".utf8),
        [0xff, 0xfe, 0x01], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xe2, 0x82],
        Array(0x80...0xff), Array("e\u{301}".utf8), Array("\u{e9}".utf8),
        [0x20, 0x0a, 0x5c, 0x22], Array(repeating: 0xfd, count: 255),
    ]

    private static func path(_ directory: String, _ name: [UInt8]) -> FilePath {
        FilePath(directory).appending(
            (name + [0]).withUnsafeBytes { bytes in
                FilePath.Component(
                    platformString: bytes.baseAddress!.assumingMemoryBound(to: CChar.self))!
            })
    }

    private static func call(_ path: FilePath, _ body: (UnsafePointer<CChar>) -> Int32) -> Int32 {
        path.withPlatformString { body($0) == 0 ? 0 : errno }
    }

    /// The directory's names, without "." and "..".
    private static func list(_ directory: String) throws -> Set<[UInt8]> {
        let stream = try #require(opendir(directory))
        defer { closedir(stream) }
        var names: Set<[UInt8]> = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != [0x2e] && name != [0x2e, 0x2e] { names.insert(name) }
        }
        return names
    }

    private static func write(_ path: FilePath, _ bytes: [UInt8]) throws {
        let file = try FileDescriptor.open(
            path, .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
        defer { try? file.close() }
        _ = try file.writeAll(bytes)
    }

    private static func content(_ name: [UInt8]) -> [UInt8] {
        (0..<40_000).map { name[$0 % name.count] &+ UInt8(truncatingIfNeeded: $0 / 7) }
    }

    @Test(arguments: MountedRoad.all) func namesAreBytes(_ road: MountedRoad) throws {
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        let folder: [UInt8] = [0x64, 0xe9, 0x72]
        #expect(Self.call(Self.path(mount.point, folder)) { mkdir($0, 0o755) } == 0)
        // Below a directory whose own name is no text, and beside it.
        let inside = Self.path(mount.point, folder).appending("inside")
        try Self.write(inside, Self.content(folder))
        #expect(try readFile(inside) == Self.content(folder))
        for name in Self.names {
            try Self.write(Self.path(mount.point, name), Self.content(name))
        }
        #expect(try Self.list(mount.point) == Set(Self.names + [folder]))
        #expect(try Self.list(site.exported) == Set(Self.names + [folder]))
        for name in Self.names {
            let isRight = try readFile(Self.path(mount.point, name)) == Self.content(name)
            #expect(isRight, "\(name)")
            let isThere = try readFile(Self.path(site.exported, name)) == Self.content(name)
            #expect(isThere, "\(name)")
        }
        if road.isLocal { #expect(try mount.bytes("rpc") == 0) }
    }

    @Test(arguments: MountedRoad.two) func everyCallTakesThem(_ road: MountedRoad) throws {
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        let old: [UInt8] = [0x61, 0xe4]
        let new: [UInt8] = [0x61, 0xf6]
        let link: [UInt8] = [0x6c, 0xff]
        func at(_ name: [UInt8]) -> FilePath { Self.path(mount.point, name) }
        try Self.write(at(old), [1, 2, 3])
        let renamed = at(new).withPlatformString { target in
            Self.call(at(old)) { rename($0, target) }
        }
        #expect(renamed == 0)
        #expect(try Self.list(site.exported) == [new])
        let linked = at(link).withPlatformString { target in
            Self.call(at(new)) { Glibc.link($0, target) }
        }
        #expect(linked == 0)
        #expect(try readFile(at(link)) == [1, 2, 3])
        // A symbolic link's target, too.
        #expect(Self.call(at(link)) { unlink($0) } == 0)
        let target = new + [0]
        let made = target.withUnsafeBufferPointer { bytes in
            let text = UnsafeRawBufferPointer(bytes).baseAddress!
                .assumingMemoryBound(to: CChar.self)
            return Self.call(at(link)) { symlink(text, $0) }
        }
        #expect(made == 0)
        var answer = [CChar](repeating: 0, count: 64)
        let length = at(link).withPlatformString { readlink($0, &answer, answer.count) }
        #expect(answer.prefix(max(0, length)).map { UInt8(bitPattern: $0) } == new)
        #expect(try readFile(at(link)) == [1, 2, 3])
        // Unlinked while open: hidden, readable, gone at the close.
        let file = try FileDescriptor.open(at(new), .readOnly)
        #expect(Self.call(at(new)) { unlink($0) } == 0)
        var bytes = [UInt8](repeating: 0, count: 8)
        let count = try bytes.withUnsafeMutableBytes { try file.read(into: $0) }
        #expect(Array(bytes[..<count]) == [1, 2, 3])
        try file.close()
        #expect(poll(timeout: .seconds(5)) { (try? Self.list(site.exported)) == [link] })
        #expect(Self.call(at(new)) { access($0, F_OK) } == ENOENT)
    }
}

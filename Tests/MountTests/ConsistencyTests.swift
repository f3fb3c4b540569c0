// Close-to-open between two mounts of one export, on different roads.
import Foundation
import Glibc
import LocalIOBench
import LocalIOTesting
import Testing

@Suite(.serialized, .enabled(if: canMount)) struct ConsistencyTests {
    private static func text(_ size: Int, _ salt: Int) -> [UInt8] {
        (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 13 &+ salt &* 101 &+ $0 >> 8) }
    }

    /// What one mount closed, the other reads at its next open: grown, cut, overwritten at the
    /// same size, replaced by a rename, removed.
    @Test(arguments: MountedServer.available) func closeToOpen(_ server: MountedServer) throws {
        let site = try MountSite(server)
        let mounts = [try site.mount("local=on"), try site.mount("local=off")]
        let sizes = [10, 5000, 5000, 100_000, 3, 4096, 300_001, 300_001, 0, 70_000]
        for (round, size) in sizes.enumerated() {
            let writer = mounts[round % 2]
            let reader = mounts[(round + 1) % 2]
            let bytes = Self.text(size, round)
            try writeFile(writer.point + "/shared", bytes)
            #expect(try readFile(reader.point + "/shared") == bytes, "round \(round)")
            #expect(try readFile(writer.point + "/shared") == bytes, "round \(round)")
        }
        for round in 0..<4 {
            let writer = mounts[round % 2]
            let reader = mounts[(round + 1) % 2]
            let bytes = Self.text(2000 + round, round)
            try writeFile(writer.point + "/next", bytes)
            rename(writer.point + "/next", writer.point + "/shared")
            #expect(try readFile(reader.point + "/shared") == bytes, "replaced, round \(round)")
        }
        // Appended by one, then by the other, who must know where the end is.
        try writeFile(mounts[0].point + "/log", [])
        var expected: [UInt8] = []
        for round in 0..<6 {
            let bytes = Self.text(1000 + round * 777, round)
            let file = open(mounts[round % 2].point + "/log", O_WRONLY | O_APPEND)
            _ = bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
            #expect(close(file) == 0)
            expected += bytes
        }
        #expect(try readFile(site.exported + "/log") == expected)
        unlink(mounts[0].point + "/log")
        #expect(open(mounts[1].point + "/log", O_RDONLY) == -1)
    }

    /// Size and time of a file that another mount changed show up within the time-outs, without
    /// an open.
    @Test func noacSeesSizesAtOnce() throws {
        let site = try MountSite(.embedded)
        let writer = try site.mount()
        let reader = try site.mount("noac")
        for size in [5, 50, 4, 5000] {
            try writeFile(writer.point + "/file", Self.text(size, size))
            var status = stat()
            #expect(stat(reader.point + "/file", &status) == 0)
            #expect(Int(status.st_size) == size)
        }
    }

    /// NFS-Ganesha answers NOENT to a listing during which a name goes, which readdir(3) takes for
    /// the end of the directory: a listing would be short, and nobody told.
    @Test(arguments: [2, 3]) func aListingIsWholeOrFails(every: Int) throws {
        let site = try MountSite(
            .embedded, arguments: ["--fault-lost-name-every", "\(every)"])
        let mount = try site.mount()
        let names = Set((0..<3000).map { "file-\($0)" })
        for name in names { try writeFile(site.exported + "/" + name, []) }
        for _ in 0..<5 {
            let found = try FileManager.default.contentsOfDirectory(atPath: mount.point)
            #expect(Set(found) == names && found.count == names.count, "\(found.count)")
        }
        // A server that never says anything else is an error, not an empty directory.
        let deaf = try MountSite(.embedded, arguments: ["--fault-lost-name-every", "1"])
        try writeFile(deaf.exported + "/file", [])
        let stream = opendir(try deaf.mount().point)
        defer { if let stream { closedir(stream) } }
        errno = 0
        #expect(stream.flatMap { readdir($0) } == nil && errno == EIO)
    }

    /// One holds the file open for reading while the other grows it: a new open sees it all.
    @Test(arguments: MountedServer.available) func openReadersDoNotHideChanges(
        _ server: MountedServer
    ) throws {
        let site = try MountSite(server)
        let (one, other) = (try site.mount("local=on"), try site.mount("local=off"))
        try writeFile(one.point + "/file", Self.text(100, 1))
        let held = open(other.point + "/file", O_RDONLY)
        var byte: UInt8 = 0
        #expect(read(held, &byte, 1) == 1)
        try writeFile(one.point + "/file", Self.text(10_000, 2))
        #expect(try readFile(other.point + "/file") == Self.text(10_000, 2))
        close(held)
    }

    @Test func directIOGoesPastTheCache() throws {
        let site = try MountSite(.embedded)
        let (one, other) = (try site.mount("direct_io"), try site.mount("direct_io"))
        let bytes = Self.text(12_345, 3)
        let file = open(one.point + "/file", O_RDWR | O_CREAT, 0o644)
        let view = open(other.point + "/file", O_RDONLY)
        _ = bytes.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, 0) }
        var seen = [UInt8](repeating: 0, count: 20_000)
        #expect(pread(view, &seen, 20_000, 0) == 12_345)
        #expect(Array(seen.prefix(12_345)) == bytes)
        close(file)
        close(view)
    }
}

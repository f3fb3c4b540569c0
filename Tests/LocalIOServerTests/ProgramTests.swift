// localiod as a program, with libnfs's own tools as its clients, as root and as nobody.
import Foundation
import Glibc
import NFSTypes
import Testing

@testable import LocalIOServer

@Suite struct ProgramTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    func url(_ path: String, _ port: Int) -> String {
        "nfs://127.0.0.1\(path)?version=3&nfsport=\(port)&mountport=\(port)"
    }

    /// A tree of odd sizes, empty files, links and depth.
    func makeTree(_ path: String) throws -> [String: [UInt8]] {
        var random = Seeded("makeTree")
        var files: [String: [UInt8]] = [:]
        let deep = (0..<12).map { "level\($0)" }.joined(separator: "/")
        for folder in ["", "sub/", "sub/with space/", deep + "/"] {
            for size in [0, 1, 3, 4095, 4097, 100_001, 1 << 20, (1 << 20) + 5] {
                files["\(folder)file-\(size)"] = random.bytes(size)
            }
        }
        for (name, bytes) in files {
            let url = URL(fileURLWithPath: path + "/" + name)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(bytes).write(to: url)
        }
        return files
    }

    func bytes(_ path: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    /// Copies a tree in with nfs-cp, out with nfs-cp and nfs-cat, and lists it with nfs-ls.
    func exerciseTools(_ export: String, _ port: Int, asUser uid: Int) throws {
        let source = try directory.make("source")
        let files = try makeTree(source)
        let client = try RawClient(port: port)
        let mounted = try client.mount(export)
        #expect(mounted.status == .ok)
        for name in files.keys.sorted() {
            var folder = mounted.handle
            for part in name.split(separator: "/").dropLast() {
                let (status, made) = try client.makeDirectory(folder, String(part))
                folder = status == .exists ? try client.find(folder, String(part)) : made
            }
            let target = url("\(export)/\(name)", port)
            try Tool.succeed(["nfs-cp", "\(source)/\(name)", target])
        }
        for (name, expected) in files {
            #expect(try bytes("\(export)/\(name)") == expected, "\(name)")
            let back = directory.file("back")
            unlink(back)  // nfs-cp makes its target anew
            try Tool.succeed(["nfs-cp", url("\(export)/\(name)", port), back])
            #expect(try bytes(back) == expected, "\(name)")
            var status = stat()
            #expect(stat("\(export)/\(name)", &status) == 0 && status.st_uid == UInt32(uid))
        }
        #expect(try client.makeSymbolicLink(mounted.handle, "link", to: "file-3") == .ok)
        let text = try Tool.succeed(["nfs-cat", url("\(export)/sub/file-4095", port)])
        #expect(!text.isEmpty)
        let crowd = try client.makeDirectory(mounted.handle, "crowd").handle
        for number in 0..<3000 {
            let (status, file) = try client.create(crowd, "file number \(number)")
            #expect(status == .ok)
            _ = try client.write(file, at: 0, Array("\(number)".utf8))
        }
        let listed = try Tool.succeed(["nfs-ls", url("\(export)/crowd", port)])
        #expect(listed.split(separator: "\n").count == 3000)
        for entry in try client.list(crowd, plus: true, byteCount: 32 << 10) {
            let number = Array(entry.name.utf8.dropFirst("file number ".count))
            #expect(try client.read(entry.handle, at: 0, 100).bytes == number)
            #expect(entry.attributes?.size == UInt64(number.count))
        }
    }

    @Test(.enabled(if: Tool.hasLibnfsTools, "needs libnfs-utils"))
    func libnfsToolsCopyATree() throws {
        let export = try directory.make("export")
        let daemon = try Daemon(export, files: directory)
        try exerciseTools(export, daemon.port, asUser: Int(geteuid()))
        #expect(daemon.end(SIGTERM) == 0)
        #expect(access(daemon.portFile, F_OK) != 0)
    }

    @Test(
        .enabled(
            if: Tool.isRoot && Tool.hasLibnfsTools && Tool.exists("setpriv"),
            "needs root to become nobody, libnfs-utils and setpriv"))
    func anUnprivilegedServerDoesTheSame() throws {
        let export = try directory.make("export")
        #expect(chown(directory.path, 65534, 65534) == 0 && chown(export, 65534, 65534) == 0)
        var daemon = try Daemon(export, uid: 65534, files: directory)
        try exerciseTools(export, daemon.port, asUser: 65534)
        var client = try RawClient(port: daemon.port)
        let root = try client.mount(export).handle
        let file = try client.find(root, "sub", "with space", "file-4097")
        let folder = try client.find(root, "sub")
        let bytes = try client.read(file, at: 0, 8192).bytes
        let locked = try client.create(root, "locked", mode: 0).handle
        #expect(try client.write(locked, at: 0, [1, 2, 3]).status == .ok)
        let gone = try client.create(root, "gone").handle
        #expect(try client.remove(root, "gone") == .ok)
        #expect(try client.attributes(gone).status == .stale)
        // After a restart nothing is indexed: the tree is searched for the handle.
        #expect(daemon.end(SIGINT) == 0)
        daemon = try Daemon(export, uid: 65534, files: directory)
        client = try RawClient(port: daemon.port)
        #expect(try client.read(file, at: 0, 8192).bytes == bytes)
        #expect(try client.lookUp(folder, "file-3").status == .ok)
        #expect(try client.attributes(gone).status == .stale)
        // The same after moves behind the server's back.
        #expect(Glibc.rename(export + "/sub", export + "/elsewhere") == 0)
        #expect(try client.read(file, at: 0, 8192).bytes == bytes)
        #expect(try client.attributes(folder).status == .ok)
    }

    @Test func badInputGetsOneLine() throws {
        let file = directory.file("file")
        try Data().write(to: URL(fileURLWithPath: file))
        let port = try Served(directory.path)
        let cases: [([String], Int32, String)] = [
            ([directory.file("missing")], 1, "give a directory that exists"),
            ([file], 1, "give a directory, not a file"),
            ([""], 1, "give the path of a directory"),
            ([directory.path, "--port", "70000"], 1, "out of range"),
            ([directory.path, "--port", "-1"], 64, "--port"),
            ([directory.path, "--port", "\(port.port)"], 1, "in use"),
            ([directory.path, "--bind", "nowhere"], 1, "127.0.0.1"),
            ([directory.path, "--workers", "0"], 1, "workers"),
            ([directory.path, "--port-file", directory.file("no/where")], 1, "port file"),
            ([directory.path, "--port", "x"], 64, "--port"),
            ([directory.path, "--log-level", "loud"], 64, "log level"),
            ([], 64, "DIR"),
            ([directory.path, "--unknown"], 64, "--unknown"),
        ]
        for (arguments, status, part) in cases {
            let result = try Tool.run([Tool.localiod, "serve"] + arguments, seconds: 20)
            #expect(result.status == status, "\(arguments): \(result.error)")
            #expect(result.error.contains(part), "\(arguments): \(result.error)")
            #expect(result.output.isEmpty)
            if status == 1 {
                #expect(result.error.split(separator: "\n").count == 1, "\(result.error)")
            }
        }
        let help = try Tool.succeed([Tool.localiod, "serve", "--help"])
        for option in ["DIR", "--port", "--port-file", "--bind", "--workers", "--read-only"] {
            #expect(help.contains(option))
        }
        #expect(!help.contains("--fault"))
    }

    @Test(.enabled(if: Tool.isRoot && Tool.exists("setpriv"), "needs root to become nobody"))
    func anUnreadableDirectoryIsRefused() throws {
        let closed = try directory.make("closed")
        #expect(chmod(directory.path, 0o755) == 0 && chmod(closed, 0o700) == 0)
        let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        let result = try Tool.run(nobody + [Tool.localiod, "serve", closed], seconds: 20)
        #expect(result.status == 1 && result.error.contains("may read"), "\(result.error)")
    }
}

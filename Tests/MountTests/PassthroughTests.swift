// The option passthrough: the kernel reads and writes the local file, past the mount.
import CLinux
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite(
    .serialized,
    .enabled(
        if: canMount && MountRoad.kernelPassesThrough,
        "needs root, /dev/fuse and FUSE passthrough (Linux 6.9)"))
struct PassthroughTests {
    private static let options = "local=on,passthrough"

    private func passedThrough(_ mount: MountProcess) throws -> Int? {
        try mount.status()["passed_through_files"] as? Int
    }

    @discardableResult
    private func put(_ file: Int32, _ text: String, at offset: off_t) -> Bool {
        text.withCString { pwrite(file, $0, strlen($0), offset) == strlen($0) }
    }

    @Test(arguments: MountedServer.available) func theKernelDoesTheIO(
        _ server: MountedServer
    ) throws {
        let site = try MountSite(server)
        let mount = try site.mount(Self.options)
        let other = try site.mount("local=off,actimeo=0")
        let path = mount.point + "/file"
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        let direct = open(path, O_RDWR | clinux_o_direct | O_CLOEXEC)
        try #require(file >= 0 && direct >= 0)
        #expect(try passedThrough(mount) == 2)
        #expect(ftruncate(file, 65_536) == 0)
        var bytes = [UInt8](repeating: 0, count: 65_536)
        // Buffered, direct and mapped, each seen by the others at once.
        #expect(put(file, "buffered", at: 100))
        let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { page.deallocate() }
        page.initializeMemory(as: UInt8.self, repeating: 7, count: 4096)
        #expect(pwrite(direct, page, 4096, 8192) == 4096)
        let map = mmap(nil, 65_536, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
        try #require(map != MAP_FAILED)
        map?.advanced(by: 20_000).storeBytes(of: 9, as: UInt8.self)
        #expect(pread(file, &bytes, 65_536, 0) == 65_536)
        #expect(String(decoding: bytes[100..<108], as: UTF8.self) == "buffered")
        #expect(bytes[8192..<12_288].allSatisfy { $0 == 7 } && bytes[20_000] == 9)
        #expect(pread(direct, page, 4096, 0) == 4096)
        #expect(page.load(fromByteOffset: 100, as: UInt8.self) == UInt8(ascii: "b"))
        munmap(map, 65_536)
        #expect(try mount.bytes("local") == 0 && mount.bytes("rpc") == 0)
        // Close-to-open: a mount by RPC sees it, through a server that caches attributes.
        close(direct)
        close(file)
        #expect(try readFile(other.point + "/file") == bytes)
        #expect(try readFile(site.exported + "/file") == bytes)
        #expect(poll(timeout: .seconds(10)) { (try? passedThrough(mount)) == 0 })
    }

    /// What was appended past the mount is the file's size everywhere, also by names and at once.
    @Test(arguments: MountedServer.available) func sizesAreTheFiles(
        _ server: MountedServer
    ) throws {
        let site = try MountSite(server)
        let mount = try site.mount(Self.options)
        let path = mount.point + "/log"
        let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        try #require(file >= 0)
        var status = stat()
        for count in 1...50 {
            #expect(write(file, "0123456789", 10) == 10)
            #expect(stat(path, &status) == 0 && status.st_size == count * 10)
        }
        #expect(fsync(file) == 0)
        #expect(try readFile(site.exported + "/log").count == 500)
        let reader = open(path, O_RDONLY | O_CLOEXEC)
        #expect(lseek(reader, 0, SEEK_END) == 500)
        close(reader)
        close(file)
        #expect(stat(path, &status) == 0 && status.st_size == 500)
    }

    /// A file is its opener's until it is closed, whatever becomes of the server; the close waits
    /// for a server to tell.
    ///
    /// The opener is a process of its own: starting the server again, this one would close the
    /// file in the child first, and wait for the server.
    @Test(arguments: MountedServer.available) func aServerThatGoesTakesNothingAlong(
        _ server: MountedServer
    ) throws {
        let site = try MountSite(server)
        let mount = try site.mount(Self.options)
        let scratch = try TemporaryDirectory()
        defer { scratch.remove() }
        let here = scratch.path.string
        #expect(mkfifo(here + "/go", 0o600) == 0)
        // A shell would close a copy of the descriptor after each write.
        let script = """
            sub touched { open(my $t, '>', shift) or die; close($t) or die }
            chdir('\(here)') && open(my $f, '+>', '\(mount.point)/file') or die;
            open(my $go, '<', 'go') or die;
            syswrite($f, 'before') == 6 or die; touched('ready');
            sysread($go, my $line, 1) && syswrite($f, 'while') == 5 or die; touched('written');
            sysread($go, $line, 1) && close($f) or die; touched('closed');
            """
        let worker = try ChildProcess("/usr/bin/perl", ["-e", script])
        defer { worker.kill9() }
        func reaches(_ name: String) -> Bool {
            poll(timeout: .seconds(20)) { access(here + "/" + name, F_OK) == 0 }
        }
        let go = open(here + "/go", O_RDWR | O_CLOEXEC)
        defer { close(go) }
        try #require(reaches("ready"))
        site.server.kill9()
        #expect(write(go, "\n", 1) == 1)
        #expect(reaches("written"))
        #expect(try readFile(site.exported + "/file") == Array("beforewhile".utf8))
        #expect(write(go, "\n", 1) == 1)
        try site.server.restart()
        #expect(reaches("closed"))
        #expect(worker.wait(timeout: .seconds(20)) == 0)
        #expect(try readFile(mount.point + "/file") == Array("beforewhile".utf8))
    }

    @Test func whoSharesAFileSharesItsTreatment() throws {
        let site = try MountSite(.embedded)
        let mount = try site.mount(Self.options)
        let path = mount.point + "/file"
        var files: [Int32] = []
        for flags in [O_RDWR | O_CREAT, O_RDONLY, O_WRONLY, O_RDWR | clinux_o_direct] {
            files.append(open(path, flags | O_CLOEXEC, 0o644))
        }
        #expect(files.allSatisfy { $0 >= 0 })
        #expect(try passedThrough(mount) == 4)
        #expect(put(files[2], "by a writer", at: 0))
        var bytes = [UInt8](repeating: 0, count: 11)
        #expect(pread(files[1], &bytes, 11, 0) == 11)
        #expect(String(decoding: bytes, as: UTF8.self) == "by a writer")
        // Unlinked it stays what it is, and its name is free.
        #expect(unlink(path) == 0)
        let next = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        #expect(next >= 0 && put(next, "another", at: 0))
        #expect(pread(files[1], &bytes, 11, 0) == 11 && bytes[0] == UInt8(ascii: "b"))
        for file in files { close(file) }
        close(next)
        #expect(try readFile(path) == Array("another".utf8))
        #expect(try shell("ls -A \(site.exported)").contains("file"))
    }

    @Test func holesAreTold() throws {
        let site = try MountSite(.embedded)
        let mount = try site.mount(Self.options)
        let file = open(mount.point + "/sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        try #require(file >= 0)
        defer { close(file) }
        #expect(ftruncate(file, 1 << 20) == 0)
        #expect(put(file, "data", at: 524_288))
        // <unistd.h>: SEEK_DATA 3, SEEK_HOLE 4.
        #expect(lseek(file, 0, 3) == 524_288)
        #expect(lseek(file, 0, 4) == 0)
        #expect(lseek(file, 524_288, 4) == 528_384)
    }

    @Test func optionsThatExcludeIt() throws {
        let both = #expect(throws: BenchError.self) {
            try MountProcess(url: "nfs://127.0.0.1/x", options: "passthrough,direct_io")
        }
        #expect(both?.message.contains("exclude each other") == true, "\(both?.message ?? "")")
    }
}

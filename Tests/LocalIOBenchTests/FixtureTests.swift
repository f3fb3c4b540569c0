// The private servers, disks and directories that everything else is tested with.
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite(.serialized, .timeLimit(.minutes(15))) struct FixtureTests {
    @Test func aTemporaryDirectoryGoesWithAllBelowIt() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path.string
        try Files.makeDirectory(path + "/inner")
        try Files.write("text", to: path + "/inner/file")
        #expect(Files.text(at: path + "/inner/file") == "text")
        symlink("/", path + "/inner/link")
        directory.remove()
        #expect(!Files.exists(path))
        #expect(Files.exists("/etc"))
    }

    @Test func aChildIsReapedAndItsExitCodeKept() throws {
        let child = try ChildProcess("/bin/sh", ["-c", "exit 7"])
        #expect(child.wait(timeout: .seconds(10)) == 7)
        #expect(!Files.exists("/proc/\(child.identifier)"))
        let killed = try ChildProcess("/bin/sleep", ["100"])
        #expect(killed.isRunning)
        killed.kill9()
        #expect(killed.exitCode == 128 + SIGKILL)
    }

    @Test func aMissingProgramIsNamed() throws {
        let error = try #require(throws: BenchError.self) {
            _ = try ChildProcess("/nonexistent/program", [])
        }
        #expect(error.message.contains("/nonexistent/program: No such file"))
    }

    @Test func theCompiledTemplateIsTheFileInConfig() throws {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let file = try #require(Files.text(at: "/\(root)/Config/ganesha.conf.template"))
        #expect(GaneshaTemplate.text == file)
        #expect(!GaneshaTemplate.filled([:]).contains("@"))
    }

    @Test(.enabled(if: Requirement.ganesha.isMet))
    func ganeshaServesAndComesBackOnTheSamePorts() throws {
        let export = try TemporaryDirectory()
        try Files.write("hello", to: export.path.string + "/greeting")
        let server = try GaneshaServer(exporting: export.path)
        defer { server.stop() }
        let other = try GaneshaServer(exporting: export.path)
        defer { other.stop() }
        #expect(server.url != other.url)
        let url = server.url
        for attempt in 0..<2 {
            let (code, output) = try ChildProcess.run("/usr/bin/nfs-ls", [url])
            #expect(code == 0 && output.contains("greeting"), "attempt \(attempt): \(output)")
            server.kill9()
            #expect(server.processIdentifier == 0)
            try server.restart()
            #expect(server.url == url)
        }
        let process = server.processIdentifier
        #expect(process > 0 && server.cpuNanoseconds != nil)
        server.stop()
        #expect(!Files.exists("/proc/\(process)"))
        let (code, _) = try ChildProcess.run("/usr/bin/nfs-ls", [other.url])
        #expect(code == 0)
    }

    @Test(.enabled(if: Requirement.ganesha.isMet))
    func ganeshaRefusesAMissingDirectoryInOneLine() throws {
        let error = try #require(throws: BenchError.self) {
            _ = try GaneshaServer(exporting: "/nonexistent/export")
        }
        #expect(error.message == "/nonexistent/export: No such file or directory")
    }

    @Test(.enabled(if: Requirement.xfsOnZRAM.isMet))
    func anXFSOnZRAMComesAndGoes() throws {
        let disk = try BlockFixture(.xfs, on: .zram, byteCount: 320 << 20)
        try Files.write("text", to: disk.path.appending("file").string)
        #expect(Files.text(at: "/proc/mounts")?.contains("\(disk.path) xfs") == true)
        disk.remove()
        // Other tests mount and unmount meanwhile: only this one's own must be gone.
        #expect(Files.text(at: "/proc/mounts")?.contains(disk.path.string) == false)
        #expect(!Files.exists(disk.path.string))
    }

    @Test(.enabled(if: Requirement.smallLoopDisk.isMet))
    func aSmallLoopDiskFillsUp() throws {
        let disk = try BlockFixture(.ext4, on: .loop, byteCount: 8 << 20)
        defer { disk.remove() }
        let big = String(repeating: "x", count: 9 << 20)
        let error = try #require(throws: BenchError.self) {
            try Files.write(big, to: disk.path.appending("file").string)
        }
        #expect(error.message.contains("No space left"))
    }
}

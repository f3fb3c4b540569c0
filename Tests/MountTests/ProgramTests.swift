// The program as people run it: in the background, by mount(8)'s words, with status and script.
import CLinux
import Foundation
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite(.serialized, .enabled(if: canMount)) struct ProgramTests {
    @Test func theDaemonAnswersWhenTheCommandReturns() throws {
        let site = try MountSite(.embedded)
        let place = try TemporaryDirectory()
        let program = try EmbeddedServerProcess.beside("localio-mount")
        let point = place.path.string
        let run = try ChildProcess.run(program, [site.server.url, point, "-o", "rw,noatime"])
        defer { umount2(point, Int32(MNT_DETACH)) }
        #expect(run.exitCode == 0, "\(run.output)")
        try writeFile(point + "/file", [1, 2, 3])
        let status = try ChildProcess.run(program, ["status", point])
        #expect(status.exitCode == 0)
        #expect(status.output.contains("locality: local"))
        let json = try ChildProcess.run(program, ["status", point, "--json"])
        let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8))
        let pid = (object as? [String: Any])?["pid"] as? Int32 ?? 0
        #expect(pid > 0)
        try shell("fusermount3 -u \(point)")
        #expect(poll(timeout: .seconds(20)) { kill(pid, 0) != 0 })
        #expect(try readFile(site.exported + "/file") == [1, 2, 3])
    }

    @Test func readOnlyMountsRefuse() throws {
        let site = try MountSite(.embedded)
        try writeFile(site.exported + "/file", [1])
        let mount = try site.mount("ro")
        #expect(try readFile(mount.point + "/file") == [1])
        #expect(open(mount.point + "/new", O_CREAT | O_WRONLY, 0o644) == -1 && errno == EROFS)
    }

    @Test func whatItCannotDoItSays() throws {
        let site = try MountSite(.embedded)
        let mount = try site.mount()
        try writeFile(mount.point + "/a", [1])
        try writeFile(mount.point + "/b", [2])
        let (a, b) = (mount.point + "/a", mount.point + "/b")
        #expect(clinux_rename(a, mount.point + "/c", 1) == -EINVAL)
        #expect(clinux_rename(a, b, 1) == -EEXIST)
        #expect(clinux_rename(a, b, 2) == -EINVAL)
        let attribute = try shell("setfattr -n user.x -v y \(a) 2>&1 || true")
        #expect(attribute.contains("Operation not supported"))
        let file = open(a, O_RDWR)
        defer { close(file) }
        #expect(clinux_fallocate(file, 0, 0, 100_000) == 0)
        var status = stat()
        #expect(fstat(file, &status) == 0 && status.st_size == 100_000)
        #expect(lseek(file, 0, 4) == 100_000)
        let remote = try site.mount("local=off")
        let other = open(remote.point + "/b", O_RDWR)
        defer { close(other) }
        #expect(clinux_fallocate(other, 0, 0, 100_000) == -EOPNOTSUPP)
    }

    /// The quickest of the script's workloads; .ci/run runs them all, on all four mounts.
    @Test(arguments: MountedRoad.two) func workloads(_ road: MountedRoad) throws {
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        let root = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
        let output = try shell(
            "/\(root)/Mount/workloads.sh --short --only sqlite,fio \(mount.point)",
            timeout: .seconds(300))
        #expect(output.contains("sqlite: ok") && output.contains("fio: ok"), "\(output)")
    }
}

// What a mount does when its server goes, comes back, is full, or says no.
import CLinux
import Foundation
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite(.serialized, .enabled(if: canMount)) struct FailureTests {
    /// A server that is killed and started again under load loses nothing that was synced.
    @Test(arguments: MountedRoad.all) func aRestartUnderLoadLosesNothing(
        _ road: MountedRoad
    ) throws {
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options + ",timeo=20")
        // No O_EXCL (cp(1) would): a server that dies between making the file and keeping the
        // verifier answers "exists" to the call sent again, and the mount must believe it.
        let script = """
            cd \(mount.point) && for i in $(seq 1 12); do
              head -c 300007 /dev/urandom > f$i && sync f$i || exit 1
              cat f$i > g$i && mv g$i h$i || exit 1
              cmp f$i h$i || exit 2
            done
            """
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let log = directory.path.string + "/log"
        let worker = try ChildProcess("/bin/bash", ["-xc", script], outputPath: log)
        defer { worker.kill9() }
        for _ in 0..<2 {
            usleep(200_000)
            site.server.kill9()
            usleep(200_000)
            try site.server.restart()
        }
        try #require(
            worker.wait(timeout: .seconds(120)) == 0, "\(Files.text(at: log) ?? "no log")")
        for index in 1...12 {
            #expect(
                try readFile(site.exported + "/f\(index)")
                    == readFile(site.exported + "/h\(index)"))
        }
    }

    @Test func aSoftMountGivesUp() throws {
        let site = try MountSite(.embedded)
        let mount = try site.mount("soft,timeo=5,retrans=1,actimeo=0,local=off")
        try writeFile(mount.point + "/file", [1, 2, 3])
        site.server.kill9()
        #expect(open(mount.point + "/file", O_RDONLY) == -1)
        #expect(errno == EIO)
        try site.server.restart()
        let isBack = poll(timeout: .seconds(20)) {
            (try? readFile(mount.point + "/file")) == [1, 2, 3]
        }
        #expect(isBack)
    }

    /// On a hard mount whose server is gone a process waits, and can be killed all the same.
    @Test func aWaitingProcessCanBeKilled() throws {
        let site = try MountSite(.embedded)
        let mount = try site.mount("hard,timeo=600,actimeo=0")
        try writeFile(mount.point + "/file", [1, 2, 3])
        site.server.kill9()
        let reader = try ChildProcess("/bin/cat", [mount.point + "/file"])
        defer { reader.kill9() }
        #expect(reader.wait(timeout: .milliseconds(700)) == nil)
        reader.signal(SIGKILL)
        #expect(reader.wait(timeout: .seconds(5)) == 128 + SIGKILL)
        try site.server.restart()
        #expect(try readFile(mount.point + "/file") == [1, 2, 3])
    }

    /// The file goes read-only for its user while open elsewhere: new opens are refused.
    @Test func revokedPermissionIsSeen() throws {
        let site = try MountSite(.embedded)
        let mount = try site.mount("noac")
        try writeFile(mount.point + "/file", [1])
        chmod(site.exported + "/file", 0o600)
        var seen: Int32 = 0
        asUser(12_345, 12_345) {
            seen = open(mount.point + "/file", O_RDONLY) < 0 ? errno : 0
        }
        #expect(seen == EACCES)
    }

    @Test func aFullDiskIsReportedOnce() throws {
        let site = try MountSite(.embedded)
        let mount = try site.mount()
        // The server's own limit on a file's size stands for a disk that is full.
        let file = open(mount.point + "/file", O_RDWR | O_CREAT, 0o644)
        defer { close(file) }
        #expect(ftruncate(file, off_t.max) == -1)
        #expect(errno == EFBIG || errno == EINVAL)
    }

    @Test func aMountOfNothingSaysSo() throws {
        let directory = try TemporaryDirectory()
        let program = try EmbeddedServerProcess.beside("localio-mount")
        let run = try ChildProcess.run(
            program, ["nfs://127.0.0.1:1/none", directory.path.string])
        #expect(run.exitCode == 1)
        #expect(run.output.split(separator: "\n").count == 1)
        #expect(run.output.contains("127.0.0.1:1"))
    }
}

// Bad input: one clear line on standard error, the right status, nothing left behind.
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite(.timeLimit(.minutes(15))) struct CommandLineTests {
    struct Case: CustomTestStringConvertible {
        var arguments: [String]
        var status: Int32
        var says: String
        var testDescription: String { arguments.joined(separator: " ") }
    }

    static let cases: [Case] = [
        Case(arguments: ["--bs", "0"], status: 64, says: "--bs '0'"),
        Case(arguments: ["--bs", "4x"], status: 64, says: "such as 4k"),
        Case(arguments: ["--bs", "99999999999999999999k"], status: 64, says: "--bs"),
        Case(
            arguments: ["mount", "--server", "nfs://h/e"], status: 64,
            says: "give embedded or ganesha"),
        Case(arguments: ["mount", "--cell", "x"], status: 64, says: "write-1m-buffered"),
        Case(arguments: ["mount", "--road", "nfs-fuse"], status: 64, says: "passthrough_ll"),
        Case(arguments: ["with-mount"], status: 64, says: "give a command"),
        Case(
            arguments: ["with-mount", "--local", "maybe", "true"], status: 64,
            says: "must be of on, off"),
        Case(arguments: ["--rw", "foo"], status: 64, says: "must be of read, write"),
        Case(arguments: ["--rw", ""], status: 64, says: "--rw"),
        Case(arguments: ["--iodepth", "0"], status: 64, says: "from 1 to 4096"),
        Case(arguments: ["--iodepth", "5000"], status: 64, says: "--iodepth '5000'"),
        Case(arguments: ["--numjobs", "-1"], status: 64, says: "--numjobs"),
        Case(arguments: ["--size", "1"], status: 64, says: "--size '1'"),
        Case(arguments: ["--size", "8k", "--iodepth", "16"], status: 64, says: "larger --size"),
        Case(arguments: ["--runtime", "0"], status: 64, says: "--runtime '0'"),
        Case(arguments: ["--rounds", "0"], status: 64, says: "--rounds"),
        Case(arguments: ["--road", "teleport"], status: 64, says: "raw, localio, rpc"),
        Case(arguments: ["--policy", "hope"], status: 64, says: "rpc, split, local"),
        Case(arguments: ["--format", "xml"], status: 64, says: "table, json, csv, markdown"),
        Case(arguments: ["--server", "samba"], status: 64, says: "nfs://host/export"),
        Case(arguments: ["--server", "nfs://"], status: 64, says: "nfs://"),
        Case(arguments: ["--seed", "x"], status: 64, says: "--seed 'x'"),
        Case(arguments: ["--offset-misalign", "2m"], status: 64, says: "below 1m"),
        Case(arguments: ["--cache", "8m"], status: 64, says: "--cache: only with --buffered"),
        Case(
            arguments: ["--buffered", "--page-cache", "warm"], status: 64,
            says: "--page-cache: not with --buffered"),
        Case(arguments: ["--page-cache", "x"], status: 64, says: "must be of leave, drop, warm"),
        Case(arguments: ["--cold"], status: 64, says: "--cold: only with --buffered"),
        Case(arguments: ["--road", "direct"], status: 64, says: "only with --buffered"),
        Case(
            arguments: ["--buffered", "--iodepth", "16"], status: 64,
            says: "--iodepth 16: --buffered makes one blocking call at a time"),
        Case(
            arguments: ["--buffered", "--fsync-every", "0"], status: 64, says: "--fsync-every '0'"),
        Case(arguments: ["writeback", "--writers", "x"], status: 64, says: "--writers 'x'"),
        Case(
            arguments: ["writeback", "--device-limit", "20m"], status: 64,
            says: "give --file-system ext4 or xfs"),
        Case(arguments: ["writeback", "--file-system", "fat"], status: 64, says: "ext4, xfs"),
        Case(
            arguments: ["writeback", "--directory", "/nonexistent"], status: 1,
            says: "no such directory"),
        Case(arguments: ["instructions", "--path", "x"], status: 64, says: "inline-read, inline"),
        Case(arguments: ["instructions", "--count", "1"], status: 64, says: "from 16 to 1000000"),
        Case(
            arguments: ["instructions", "--thresholds", "/nonexistent"], status: 64,
            says: "--thresholds /nonexistent: cannot be read"),
        Case(
            arguments: ["instructions", "--directory", "/nonexistent"], status: 1,
            says: "no such directory"),
        Case(arguments: ["--no-such-option"], status: 64, says: "--no-such-option"),
        Case(arguments: ["probe"], status: 64, says: "url"),
        Case(arguments: ["probe", "http://x/"], status: 64, says: "nfs://host/export"),
        Case(
            arguments: ["--bs", "3k", "--road", "raw", "--rw", "read"], status: 1,
            says: "O_DIRECT"),
        Case(
            arguments: ["--directory", "/nonexistent/place"], status: 1,
            says: "no such directory"),
        Case(arguments: ["--directory", "/etc/passwd"], status: 1, says: "not a directory"),
        Case(
            arguments: ["--server", "nfs://127.0.0.1:1/export"], status: 1,
            says: "127.0.0.1:1"),
        Case(arguments: ["probe", "nfs://127.0.0.1:1/export"], status: 1, says: "127.0.0.1:1"),
        Case(
            arguments: ["--output", "/nonexistent/report"], status: 1,
            says: "--output /nonexistent/report: No such file"),
        Case(arguments: ["--directory", "/dev/shm"], status: 1, says: "direct I/O geometry"),
    ]

    @Test(arguments: cases)
    func badInputGetsOneClearLine(_ test: Case) throws {
        let run = try BenchProgram.run(test.arguments)
        #expect(run.status == test.status)
        #expect(run.lines.count == 1, "\(run.output)")
        #expect(run.output.hasPrefix("localio-bench: "))
        #expect(run.output.contains(test.says), "\(run.output)")
    }

    @Test func helpNamesEveryOption() throws {
        let run = try BenchProgram.run(["--help"])
        #expect(run.status == 0)
        let options = [
            "--rw", "--bs", "--iodepth", "--numjobs", "--size", "--runtime", "--rounds", "--road",
            "--policy", "--offset-misalign", "--server", "--directory", "--seed", "--verify",
            "--format", "--output", "--buffered", "--fsync-every", "--cache", "--cold",
            "--page-cache",
        ]
        for option in options { #expect(run.output.contains(option)) }
        #expect(!run.output.contains(EmbeddedServerProcess.subcommand))
    }

    @Test func anExportTheServerDoesNotHaveIsRefused() throws {
        let export = try TemporaryDirectory()
        let server = try EmbeddedServerProcess(exporting: export.path)
        defer { server.stop() }
        let url = server.url.replacing(export.path.string, with: "/somewhere/else")
        let run = try BenchProgram.run(["--server", url])
        #expect(run.status == 1 && run.lines.count == 1, "\(run.output)")
        #expect(run.output.contains("/somewhere/else"))
    }

    @Test(.enabled(if: Requirement.smallLoopDisk.isMet))
    func aFullDiskIsNamed() throws {
        let disk = try BlockFixture(.ext4, on: .loop, byteCount: 16 << 20)
        defer { disk.remove() }
        let run = try BenchProgram.run(["--directory", disk.path.string, "--size", "64m"])
        #expect(run.status == 1 && run.lines.count == 1, "\(run.output)")
        #expect(run.output.contains("No space left on device"))
        #expect(run.output.contains("smaller --size"))
        #expect(BenchProgram.names(in: disk.path.string) == ["lost+found"])
    }

    @Test(.enabled(if: Requirement.root.isMet))
    func ganeshaWithoutRootSaysSo() throws {
        let directory = try TemporaryDirectory(mode: 0o777)
        let program = directory.path.string + "/localio-bench"
        try ChildProcess.mustRun("/bin/cp", [BenchProgram.path, program])
        let (status, output) = try ChildProcess.run(
            "/usr/bin/setpriv",
            ["--reuid=65534", "--regid=65534", "--clear-groups", program, "--server", "ganesha"])
        #expect(status == 1)
        #expect(output.contains("needs root"), "\(output)")
        #expect(output.split(separator: "\n").count == 1)
    }

    @Test func anUnprivilegedUserCanMeasure() throws {
        let directory = try TemporaryDirectory(mode: 0o777)
        let program = directory.path.string + "/localio-bench"
        try ChildProcess.mustRun("/bin/cp", [BenchProgram.path, program])
        let work = try TemporaryDirectory(mode: 0o777)
        let arguments = [
            program, "--rw", "randread", "--iodepth", "4", "--size", "4m", "--runtime", "100ms",
            "--rounds", "1", "--directory", work.path.string,
        ]
        let drop = ["--reuid=65534", "--regid=65534", "--clear-groups"]
        let (status, output) =
            geteuid() == 0
            ? try ChildProcess.run("/usr/bin/setpriv", drop + arguments)
            : try ChildProcess.run("/usr/bin/env", arguments)
        #expect(status == 0, "\(output)")
        #expect(BenchProgram.names(in: work.path.string).isEmpty)
    }
}

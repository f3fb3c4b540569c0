// Who is local, who is not, and why; and that every fall-back is counted under its reason.
import Glibc
import LocalIOBench
import LocalIOTesting
import NFSClient
import NFSTypes
import SystemPackage
import Testing

@testable import DirectIO
@testable import LocalIO

@Suite(.serialized) struct LocalityTests {
    @Test(arguments: ServerKind.available)
    func theExportListLeadsToTheDirectory(kind: ServerKind) throws {
        let site = try Site(kind)
        let client = try site.connect(.automatic)
        #expect(client.locality == .local(.nonceFile))
        #expect(client.probeReport.exportRoot == site.directory.path)
        #expect(client.probeReport.steps.count >= 4)
        // The nonce file is gone.
        #expect(try names(site.directory.path).isEmpty)
    }

    @Test func anotherDirectoryIsNotTheExport() throws {
        let site = try Site(.embedded)
        let other = try TemporaryDirectory()
        let client = try site.connect(.exportRoot(other.path))
        #expect(client.locality == .remote(.exportRootDiffers))
        let missing = try site.connect(.exportRoot("/nonexistent/export"))
        #expect(missing.locality == .remote(.exportRootUnreachable))
    }

    @Test func switchedOffIsRemoteAndCounted() throws {
        let site = try Site(.embedded)
        let client = try site.connect(.off)
        #expect(client.locality == .remote(.localityOff))
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        try write(3, of: 4096, to: file)
        #expect(client.statistics().fallbacks == [.localityOff: 3])
        #expect(client.statistics().roads[.rpc]?.operations == 3)
    }

    @Test func tmpfsHasNoDirectIO() throws {
        guard let shared = try? TemporaryDirectory(in: "/dev/shm") else {
            Issue.record("no tmpfs at /dev/shm")
            return
        }
        let server = try EmbeddedServerProcess(exporting: shared.path)
        defer { server.stop() }
        let client = try LocalIOClient.connectBlocking(to: NFSURL(server.url))
        defer { client.closeBlocking() }
        #expect(client.locality == .local(.nonceFile))
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        #expect(file.fallbackReason == .noDirectIO)
        try write(2, of: 4096, to: file)
        #expect(client.statistics().fallbacks == [.noDirectIO: 2])
    }

    @Test(.enabled(if: Requirement.ganesha.isMet))
    func withoutTheServersPermissionThereIsNoDescriptor() throws {
        let site = try Site(.ganesha)
        let path = site.directory.path.appending("secret").string
        try Files.write("secret", to: path)
        chmod(path, 0o600)
        chmod(site.directory.path.string, 0o755)
        let client = try site.connect(.automatic) {
            $0.session.credentials = Credentials(uid: 4711, gid: 4711)
        }
        let file = try client.openBlocking("secret", .readOnly)
        #expect(file.fallbackReason != nil)
        var bytes = [UInt8](repeating: 0, count: 6)
        let error = #expect(throws: LocalIOError.self) {
            try bytes.withUnsafeMutableBytes { try file.readBlocking(into: $0, at: 0) }
        }
        #expect(error?.errno == .permissionDenied)
    }

    @Test(.enabled(if: Requirement.ganesha.isMet))
    func aReadOnlyExportIsProvedByItsRoot() throws {
        let directory = try TemporaryDirectory()
        try Files.write("text", to: directory.path.appending("file").string)
        let server = try GaneshaServer(
            exporting: directory.path, options: ExportOptions(readOnly: true))
        defer { server.stop() }
        let client = try LocalIOClient.connectBlocking(to: NFSURL(server.url))
        defer { client.closeBlocking() }
        #expect(client.locality == .local(.rootAttributes), "\(client.probeReport)")
        let reader = try client.openBlocking("file", .readOnly)
        #expect(reader.fallbackReason == nil)
        let writer = try client.openBlocking("file", .readWrite)
        #expect(writer.fallbackReason == .accessDenied)
    }

    @Test func alignedRunsHaveNoFallBacksAndMisalignedOnesOneEach() throws {
        let site = try Site(.embedded)
        for policy in MisalignmentPolicy.allCases {
            let client = try site.connect(.automatic, policy: policy)
            let file = try client.openBlocking("file-\(policy)", .readWrite, options: [.create])
            try write(20, of: 8192, to: file)
            #expect(client.statistics().fallbacks.isEmpty)
            #expect(client.statistics().roads[.local]?.operations == 20)
            #expect(client.statistics().roads[.rpc]?.operations == 0)
            try write(10, of: 8192, to: file, shift: 100)
            #expect(client.statistics().fallbacks == [.misaligned: 10], "\(policy)")
            let byRPC = client.statistics().roads[.rpc]?.operations ?? 0
            #expect(policy == .local ? byRPC == 0 : byRPC >= 10, "\(policy)")
        }
    }

    @Test func aFullDiskSurfacesAndIsNotDrivenAgain() throws {
        try #require(Requirement.smallLoopDisk.isMet)
        let disk = try BlockFixture(.ext4, on: .loop, byteCount: 16 << 20)
        defer { disk.remove() }
        let server = try EmbeddedServerProcess(exporting: disk.path)
        defer { server.stop() }
        let client = try LocalIOClient.connectBlocking(to: NFSURL(server.url))
        defer { client.closeBlocking() }
        let file = try client.openBlocking("big", .readWrite, options: [.create])
        #expect(file.fallbackReason == nil)
        let error = #expect(throws: LocalIOError.self) { try write(64, of: 1 << 20, to: file) }
        #expect(error?.errno == .noSpace)
        #expect(client.statistics().fallbacks[.redriven] == nil)
        try file.closeBlocking()
    }

    @Test func symbolicLinksStayInTheExport() throws {
        let site = try Site(.embedded)
        let root = site.directory.path.string
        try Files.makeDirectory(root + "/inner")
        try Files.write("text", to: root + "/inner/file")
        symlink("inner/file", root + "/link")
        symlink("/etc/passwd", root + "/outside")
        symlink("../../etc/passwd", root + "/above")
        symlink("loop", root + "/loop")
        let client = try site.connect(.automatic)
        let file = try client.openBlocking("/link", .readOnly)
        #expect(file.fallbackReason == nil)
        #expect(try file.attributesBlocking().size == 4)
        for name in ["outside", "above", "loop", "missing", "inner/file/more", ".."] {
            #expect(throws: LocalIOError.self, "\(name)") { try client.openBlocking(name) }
        }
    }

    private func names(_ directory: FilePath) throws -> [String] {
        let (_, output) = try ChildProcess.run("/bin/ls", ["-A", directory.string])
        return output.split(separator: "\n").map(String.init)
    }

    private func write(
        _ count: Int, of byteCount: Int, to file: LocalIOFile, shift: Int = 0
    ) throws {
        let memory = TestMemory(byteCount)
        for index in 0..<count {
            let written = try file.writeBlocking(
                from: UnsafeRawBufferPointer(memory.bytes),
                at: UInt64(index * byteCount + shift))
            try #require(written == byteCount)
        }
    }
}

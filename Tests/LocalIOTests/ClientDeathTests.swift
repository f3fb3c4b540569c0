// The client dies without a word: what its commits acknowledged is in the file.
import Glibc
import LocalIOBench
import LocalIOTesting
import NFSClient
import SystemPackage
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct ClientDeathTests {
    @Test(arguments: ServerKind.available, [true, false])
    func killingTheClientLosesNothingCommitted(kind: ServerKind, isLocal: Bool) async throws {
        let seed = testSeed()
        print("client death \(kind) local \(isLocal): LOCALIO_SEED=\(seed)")
        let site = try Site(kind)
        let url = site.server.url
        let progress = site.directory.path.appending("progress").string
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [url = url as String, progress = progress as String, seed = seed as UInt64,
             isLocal = isLocal as Bool] in
            try writeUntilKilled(url, progress, seed, isLocal: isLocal)
        }
        let text = try #require(Files.text(at: progress))
        let committed = try #require(Int(text.split(separator: "\n").last ?? ""))
        #expect(committed > 0)
        var there = ReferenceFile()
        there.write(try site.contents("records"), at: 0)
        let record = RestartTests.Record(seed: seed)
        for index in 0..<committed {
            let isThere = record.bytes(index).withUnsafeBytes {
                there.matches($0, at: record.offset(index))
            }
            #expect(isThere, "record \(index) of \(committed) is lost, seed \(seed)")
        }
    }
}

/// Writes and commits, noting each commit after it returned, until another thread kills the
/// process in the middle.
private func writeUntilKilled(
    _ url: String, _ progress: String, _ seed: UInt64, isLocal: Bool
) throws {
    var configuration = ClientConfiguration()
    configuration.locality = isLocal ? .automatic : .off
    configuration.misalignment = .split
    let client = try LocalIOClient.connectBlocking(to: NFSURL(url), configuration: configuration)
    let file = try client.openBlocking("records", .readWrite, options: [.create])
    let notes = try FileDescriptor.open(
        FilePath(progress), .writeOnly, options: [.create, .append],
        permissions: .ownerReadWrite)
    let record = RestartTests.Record(seed: seed)
    var index = 0
    var killer: OwnedThread?
    while true {
        for _ in 0..<5 {
            let bytes = record.bytes(index)
            let count = try bytes.withUnsafeBytes {
                try file.writeBlocking(from: $0, at: UInt64(record.offset(index)))
            }
            guard count == bytes.count else { exit(20) }
            index += 1
        }
        try file.commitBlocking()
        try notes.writeAll("\(index)\n".utf8)
        if killer == nil {
            killer = OwnedThread(name: "killer") {
                usleep(useconds_t(20_000 + seed % 100_000))
                kill(getpid(), SIGKILL)
            }
        }
    }
}

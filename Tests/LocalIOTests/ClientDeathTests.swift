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
    @Test(arguments: ServerKind.available, FileRoad.allCases)
    func killingTheClientLosesNothingCommitted(kind: ServerKind, road: FileRoad) async throws {
        let seed = testSeed()
        print("client death \(kind) \(road): LOCALIO_SEED=\(seed)")
        let site = try Site(kind)
        let url = site.server.url
        let progress = site.directory.path.appending("progress").string
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [url = url as String, progress = progress as String, seed = seed as UInt64,
             road = road.rawValue as String] in
            try writeUntilKilled(url, progress, seed, FileRoad(rawValue: road) ?? .rpc)
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
    _ url: String, _ progress: String, _ seed: UInt64, _ road: FileRoad
) throws {
    var configuration = ClientConfiguration()
    configuration.locality = road.locality
    configuration.misalignment = .split
    let client = try LocalIOClient.connectBlocking(to: NFSURL(url), configuration: configuration)
    let file = try road.open("records", client)
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
                try file.write($0, at: UInt64(record.offset(index)))
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

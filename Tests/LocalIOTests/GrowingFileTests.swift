// READ at the end of a file that another call is making longer: the server looks at the size
// after it has read, and must not say "nothing, yet no end".
import Foundation
import LocalIOBench
import LocalIOTesting
import NFSClient
import NFSTypes
import Synchronization
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct GrowingFileTests {
    @Test(arguments: ServerKind.available)
    func readsPastAGrowingEndSucceed(kind: ServerKind) throws {
        let site = try Site(kind)
        let session = try NFSSession.connectBlocking(to: NFSURL(site.server.url))
        defer { session.closeBlocking() }
        _ = try session.performBlocking(
            .create(session.root, "growing", mode: .guarded(SetAttributes(mode: 0o644))))
        let file = try session.performBlocking(.lookup(session.root, "growing")).handle
        let page = 4096
        let pages = max(testOperations(20_000) / 5, 100)
        let written = Atomic<Int>(0)
        let writer = OwnedThread(name: "writer") {
            defer { written.store(pages, ordering: .releasing) }
            do {
                for index in 0..<pages {
                    let bytes = [UInt8](repeating: UInt8(index % 255 + 1), count: page)
                    _ = try bytes.withUnsafeBytes {
                        try session.writeBlocking(
                            file, offset: UInt64(index * page), from: $0, stable: .unstable)
                    }
                    written.store(index + 1, ordering: .releasing)
                }
            } catch {
                Issue.record("write: \(error)")
            }
        }
        let thread = try #require(writer)
        defer { thread.join() }
        var back = [UInt8](repeating: 0, count: 4 * page)
        while true {
            let end = written.load(ordering: .acquiring)
            if end == pages { break }
            // From the last page that is surely there to three that may come meanwhile.
            let first = max(end - 1, 0)
            let start = Int.random(in: first...first + 2)
            let reply = try back.withUnsafeMutableBytes {
                try session.readBlocking(file, offset: UInt64(start * page), into: $0)
            }
            for position in 0..<reply.byteCount / page {
                let expected = UInt8((start + position) % 255 + 1)
                #expect(back[position * page] == expected)
                #expect(back[position * page + page - 1] == expected)
            }
        }
    }
}

// Commits of one file at the same time: none returns before the bytes it answers for are durable.
import LocalIOBench
import LocalIOTesting
import Testing
import Threads

@testable import LocalIO

@Suite(.serialized) struct CommitTests {
    final class Outcome: Sendable {
        let done = Semaphore()
        let failure = Lock<String?>(nil)
    }

    /// A flush under way has taken the duty to fdatasync already: a second commit must wait for
    /// its end instead of finding nothing to do.
    @Test func aCommitWaitsForTheFlushUnderWay() throws {
        let site = try Site(.embedded)
        let client = try site.connect(.automatic)
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        let memory = TestMemory(4096)
        _ = try file.writeBlocking(from: UnsafeRawBufferPointer(memory.bytes), at: 0)
        let outcome = Outcome()
        var second: OwnedThread?
        try file.state.flushingAlone { () throws(LocalIOError) in
            #expect(file.state.takeLocalDirty())
            second = OwnedThread(name: "second") {
                do throws(LocalIOError) {
                    try file.commitBlocking()
                } catch {
                    outcome.failure.withLock { $0 = error.message }
                }
                outcome.done.signal()
            }
            let finished = outcome.done.wait(timeout: .milliseconds(100))
            #expect(!finished, "it did not wait")
            // As a flush whose fdatasync failed: the second commit must do it itself.
            file.state.putBackLocalDirty()
        }
        outcome.done.wait()
        second?.join()
        #expect(outcome.failure.withLock { $0 } == nil)
        #expect(!file.state.isLocalDirty)
    }
}

// After start-up nothing between a buffered write and the local file allocates, on any thread.
import CAllocationCounter
import Glibc
import LocalIOTesting
import Testing

@testable import LocalIO

@Suite(
    .enabled(
        if: callocationcounter_available(), "a sanitizer owns malloc here, so nothing can count"))
struct BufferedAllocationTests {
    /// In a process of its own, where every allocation of every thread is this test's.
    @Test func writebackAllocatesNothing() async {
        let result = await #expect(
            processExitsWith: .success, observing: [\.standardOutputContent, \.standardErrorContent]
        ) {
            var failures: [String] = []
            do {
                failures = try BufferedAllocationTests.countAllocations()
            } catch { failures = ["\(error)"] }
            for failure in failures { print(failure) }
            fflush(nil)
            exit(failures.isEmpty ? 0 : 1)
        }
        let output = result?.standardOutputContent ?? []
        let complaint = result?.standardErrorContent ?? []
        let text = String(decoding: output + complaint, as: UTF8.self)
        print(text)
        #expect(text.contains("its RPC included"), "the counting did not come to its end")
    }

    /// - Returns: a line for each kind of call that allocated.
    static func countAllocations() throws -> [String] {
        let site = try Site(.embedded)
        let client = try site.connect(.automatic) {
            $0.cache.byteCount = 4 << 20
            $0.heartbeatInterval = .seconds(3600)
        }
        guard case .local = client.locality else { return ["not local: \(client.locality)"] }
        let file = try client.openBufferedBlocking("file", .readWrite, options: [.create])
        let memory = TestMemory(256 << 10)
        let chunk = UnsafeRawBufferPointer(memory.bytes)

        /// 16 MiB through 4 MiB of cache: most of it is written back meanwhile.
        func pass() throws {
            for index in 0..<64 {
                _ = try file.writeBlocking(from: chunk, at: UInt64(index * chunk.count))
            }
        }
        /// Until all is written back by the flusher and the workers, without a commit.
        func drain() throws {
            try file.startWriteback()
            for _ in 0..<2000 {
                guard let cache = client.statistics().cache,
                    cache.dirtyBytes + cache.writebackBytes > 1 << 20
                else { return }
                usleep(1000)
            }
        }
        for _ in 0..<3 { try pass() }
        try drain()
        try file.commitBlocking()

        /// Allocations of a pass over warm tables. A busy machine may make threads meet as they
        /// have not met before, which makes something once: what allocates always is the least.
        func least(_ body: () throws -> Void) rethrows -> UInt64 {
            var least = UInt64.max
            for _ in 0..<3 where least > 0 {
                let before = callocationcounter_total()
                try body()
                least = min(least, UInt64(callocationcounter_total() - before))
            }
            return least
        }

        var failures: [String] = []
        let written = try least { try pass() }
        if written != 0 { failures.append("\(written) allocations in 64 writes and writeback") }

        // Data alone: what a commit tells the server afterwards is RPC.
        let flushed = try least { try file.flushPages() }
        if flushed != 0 { failures.append("\(flushed) allocations in a flush") }

        let read = try least {
            for index in 0..<64 {
                _ = try file.readBlocking(into: memory.bytes, at: UInt64(index * chunk.count))
            }
        }
        if read != 0 { failures.append("\(read) allocations in 64 reads") }

        let start = callocationcounter_total()
        try file.commitBlocking()
        print("allocations of a commit, its RPC included: \(callocationcounter_total() - start)")
        try file.closeBlocking()
        return failures
    }
}

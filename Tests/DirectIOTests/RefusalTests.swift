// Where the kernel refuses io_uring (here by seccomp, as container runtimes do), threads take
// over at run time, and the statistics say so.
import CLinux
import DirectIO
import Glibc
import Testing

@Suite struct RefusalTests {
    @Test func aRefusedRingMeansThreads() async {
        // In a process of its own: a filter cannot be taken off again.
        let result = await #expect(
            processExitsWith: .success, observing: [\.standardErrorContent]
        ) {
            guard clinux_refuse_io_uring() == 0 else { exit(10) }
            let engine = try IOEngine()
            let statistics = engine.statistics
            guard statistics.kind == .threads else { exit(11) }
            guard let refusal = statistics.ioUringRefusal, !refusal.isEmpty else { exit(12) }
            let file = TemporaryFile()
            let descriptor = try file.open()
            var buffer = try makeBuffer()
            buffer.withUnsafeMutableBytes {
                _ = $0.initializeMemory(as: UInt8.self, repeating: 0x3c)
            }
            let written = buffer.withUnsafeBytes {
                engine.writeBlocking(fd: descriptor.raw, from: $0, offset: 0)
            }
            guard written == 4096 else { exit(13) }
            var queue = try InlineQueue(engine: engine, depth: 4)
            let submission = buffer.withUnsafeMutableBytes { bytes in
                bytes.initializeMemory(as: UInt8.self, repeating: 0)
                return queue.submit(
                    .read(fd: descriptor.raw, offset: 0, into: bytes), token: 7)
            }
            guard submission == .queued, !queue.usesRing else { exit(14) }
            var results: [Int64] = []
            queue.reap(minimum: 1) { token, result in if token == 7 { results.append(result) } }
            let isSame = buffer.withUnsafeBytes { $0.allSatisfy { $0 == 0x3c } }
            exit(results == [4096] && isSame ? 0 : 15)
        }
        if let result, !result.standardErrorContent.isEmpty {
            print(String(decoding: result.standardErrorContent, as: UTF8.self))
        }
    }
}

/// A page, or the end of the test's process.
private func makeBuffer() throws -> AlignedBuffer {
    guard let buffer = AlignedBuffer(byteCount: 4096) else { exit(16) }
    return buffer
}

// Where the kernel refuses io_uring (here by seccomp, as container runtimes do), threads take
// over at run time, and the statistics say so.
import CLinux
import DirectIO
import Glibc
import Testing

@Suite struct RefusalTests {
    @Test func aRefusedRingMeansThreads() async {
        // In a process of its own: a filter cannot be taken off again.
        await #expect(processExitsWith: .success) {
            try exit(roundTripWithoutIOUring())
        }
    }
}

/// 0, or the number of the step that went wrong. Returns before the process ends, so that its
/// file is gone.
private func roundTripWithoutIOUring() throws -> Int32 {
    guard clinux_refuse_io_uring() == 0 else { return 10 }
    let engine = try IOEngine()
    let statistics = engine.statistics
    guard statistics.kind == .threads else { return 11 }
    guard let refusal = statistics.ioUringRefusal, !refusal.isEmpty else { return 12 }
    let file = TemporaryFile()
    let descriptor = try file.open()
    guard var buffer = AlignedBuffer(byteCount: 4096) else { return 13 }
    buffer.withUnsafeMutableBytes { _ = $0.initializeMemory(as: UInt8.self, repeating: 0x3c) }
    let written = buffer.withUnsafeBytes {
        engine.writeBlocking(fd: descriptor.raw, from: $0, offset: 0)
    }
    guard written == 4096 else { return 14 }
    var queue = try InlineQueue(engine: engine, depth: 4)
    let submission = buffer.withUnsafeMutableBytes { bytes in
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
        return queue.submit(.read(fd: descriptor.raw, offset: 0, into: bytes), token: 7)
    }
    guard submission == .queued, !queue.usesRing else { return 15 }
    var results: [Int64] = []
    queue.reap(minimum: 1) { token, result in if token == 7 { results.append(result) } }
    guard results == [4096] else { return 16 }
    return buffer.withUnsafeBytes { $0.allSatisfy { $0 == 0x3c } } ? 0 : 17
}

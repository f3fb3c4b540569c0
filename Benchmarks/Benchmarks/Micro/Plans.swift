// Cutting a request into segments: the first thing that every read and write costs.
import Benchmark
import DirectIO

/// A disk of 512-byte sectors, as statx(2) describes it.
private let geometry = DirectGeometry(memoryAlignment: 512, offsetAlignment: 512)

/// Plans the same request at a thousand offsets.
private func plan(_ name: String, byteCount: Int, lead: UInt64, policy: MisalignmentPolicy) {
    Benchmark(plain(name)) { benchmark in
        for index in benchmark.scaledIterations {
            let offset = UInt64(index) << 20 + lead
            blackHole(
                SegmentPlan.make(
                    offset: offset, byteCount: byteCount, memoryAddress: 4096, isWrite: true,
                    geometry: geometry, policy: policy))
        }
    }
}

func planBenchmarks() {
    plan("segment plan: aligned 4k", byteCount: 4096, lead: 0, policy: .local)
    plan("segment plan: misaligned 47008, local", byteCount: 47_008, lead: 100, policy: .local)
    plan("segment plan: misaligned 47008, split", byteCount: 47_008, lead: 100, policy: .split)
    plan("segment plan: misaligned 47008, rpc", byteCount: 47_008, lead: 100, policy: .rpc)
}

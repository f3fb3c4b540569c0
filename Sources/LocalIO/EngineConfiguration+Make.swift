// Turns the public settings into an engine with its buffer pool.
internal import DirectIO
internal import SystemPackage

extension EngineConfiguration {
    /// Starts an engine.
    func makeEngine() throws(Errno) -> IOEngine {
        var configuration = IOEngine.Configuration()
        configuration.backend = backend == .threads ? .threads : .automatic
        configuration.workers = min(max(workers, 1), 32)
        configuration.depth = min(max(depth, 1), 4096)
        configuration.queueCapacity = max(queueCapacity, 16)
        return try IOEngine(configuration: configuration, pool: makePool())
    }

    /// Slabs of three sizes: an eighth of the bytes for pages, an eighth for 64 KiB, the rest
    /// for the largest transfers. nil without memory: misaligned I/O then goes by RPC.
    private func makePool() -> BufferPool? {
        guard poolByteCount >= 4 << 20 else { return nil }
        let eighth = poolByteCount / 8
        return BufferPool(classes: [
            BufferPool.SizeClass(byteCount: 4 << 10, slabs: eighth / (4 << 10)),
            BufferPool.SizeClass(byteCount: 64 << 10, slabs: max(eighth / (64 << 10), 1)),
            BufferPool.SizeClass(
                byteCount: BounceLease.largest,
                slabs: max(poolByteCount * 3 / 4 / BounceLease.largest, 1)),
        ])
    }
}

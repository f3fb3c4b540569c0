// The ways an I/O can take through the engine, each counted by itself.
internal import SystemPackage

/// One way of 4 KiB between a caller's memory and the file.
///
/// A new way is a case here and its loop in `InstructionWork`; a threshold for it is a line of
/// Config/instructions.yaml.
package enum InstructionPath: String, CaseIterable, Hashable, Sendable {
    /// One blocking call, one system call of the caller.
    case inlineRead = "inline-read"
    case inlineWrite = "inline-write"
    /// A channel's ring on the caller's thread, sixteen at a time.
    case channelRead = "channel-read"
    case channelWrite = "channel-write"
    /// Through the submission queue to a worker's ring and back, sixteen at a time: what
    /// writeback does.
    case queuedWrite = "queued-write"
    /// One blocking call by NFS, the same client with locality off.
    case rpcRead = "rpc-read"
    case rpcWrite = "rpc-write"
    /// One O_DIRECT call of another process on a mount: what localio-mount does for it, libfuse's
    /// part included.
    case mountRead = "mount-read"
    case mountWrite = "mount-write"

    /// I/Os that are started before the first of them is waited for.
    var batch: Int {
        switch self {
        case .channelRead, .channelWrite, .queuedWrite: 16
        case .inlineRead, .inlineWrite, .rpcRead, .rpcWrite, .mountRead, .mountWrite: 1
        }
    }

    /// The counted process is localio-mount instead of this program.
    var isOfMount: Bool { self == .mountRead || self == .mountWrite }

    var isLocal: Bool { self != .rpcRead && self != .rpcWrite }
}

/// What every I/O of every path moves, and the file it goes round in.
enum InstructionFile {
    static let name = "localio-instructions"
    static let blockSize = 4096
    static let byteCount = 4 << 20

    static func offset(_ index: Int) -> UInt64 {
        UInt64(index % (byteCount / blockSize) * blockSize)
    }

    /// Creates the file in `directory` with every block written, so that each write overwrites.
    static func make(in directory: String) throws(BenchError) {
        let file = try PlainFile(
            path: FilePath("\(directory)/\(name)"), create: true)
        defer { _ = file.close() }
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { unsafe block.deallocate() }
        for offset in stride(from: 0, to: byteCount, by: block.count) {
            unsafe BlockPattern(seed: 1).fill(block, offset: UInt64(offset), generation: 1)
            let status = unsafe file.write(from: UnsafeRawBufferPointer(block), at: UInt64(offset))
            guard status == block.count else {
                throw .system("cannot write \(directory)/\(name)", errno: Int32(min(status, -1)))
            }
        }
        let status = file.commit()
        guard status == 0 else { throw .system("fsync of \(name)", errno: Int32(status)) }
    }
}

// A part of a file that one lane writes, and what every block of it must hold afterwards.
internal import DirectIO
internal import Glibc

/// SplitMix64: small and seeded.
struct Generator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// Blocks of 4 KiB, each with the generation of its last write; 0: never written.
///
/// Every sector of a block begins with its number, its generation and the seed, so that a lost,
/// torn or misplaced write shows.
struct Region {
    static let blockSize = 4096
    private static let sectorSize = 512

    let fd: Int32
    /// Of the file, the first of this region.
    let firstBlock: Int
    private(set) var generations: [UInt32]
    private let seed: UInt64

    init(fd: Int32, firstBlock: Int, blocks: Int, seed: UInt64) {
        self.fd = fd
        self.firstBlock = firstBlock
        generations = Array(repeating: 0, count: blocks)
        self.seed = seed
    }

    /// Fills `buffer` with the next generation of `count` blocks and answers the write of them.
    mutating func nextWrite(
        block: Int, count: Int, buffer: UnsafeMutableRawBufferPointer
    ) -> IOOperation {
        for index in 0..<count {
            generations[block + index] += 1
            let generation = generations[block + index]
            for sector in 0..<(Self.blockSize / Self.sectorSize) {
                unsafe buffer.storeBytes(
                    of: stamp(block + index, generation),
                    toByteOffset: index * Self.blockSize + sector * Self.sectorSize,
                    as: UInt64.self)
            }
        }
        let bytes = unsafe UnsafeRawBufferPointer(
            rebasing: buffer[0..<(count * Self.blockSize)])
        return unsafe .write(
            fd: fd, offset: UInt64((firstBlock + block) * Self.blockSize), from: bytes)
    }

    private func stamp(_ block: Int, _ generation: UInt32) -> UInt64 {
        generation == 0 ? 0 : (UInt64(firstBlock + block) << 32 | UInt64(generation)) ^ seed
    }

    /// Reads all of it through the engine, of which `fd` is opened for direct I/O, and answers
    /// how many blocks differ.
    func wrongBlocks(
        _ engine: IOEngine, fd: Int32, buffer: UnsafeMutableRawBufferPointer
    ) throws -> Int {
        var wrong = 0
        let step = buffer.count / Self.blockSize
        for first in stride(from: 0, to: generations.count, by: step) {
            let count = min(step, generations.count - first)
            let part = unsafe UnsafeMutableRawBufferPointer(
                rebasing: buffer[0..<(count * Self.blockSize)])
            let offset = UInt64((firstBlock + first) * Self.blockSize)
            let result = unsafe engine.readBlocking(fd: fd, into: part, offset: offset)
            guard result == Int64(part.count) else {
                throw Failure("read of \(part.count) bytes at \(offset): \(result)")
            }
            for index in 0..<count {
                let expected = stamp(first + index, generations[first + index])
                let isRight = (0..<(Self.blockSize / Self.sectorSize)).allSatisfy { sector in
                    let place = index * Self.blockSize + sector * Self.sectorSize
                    return unsafe part.load(fromByteOffset: place, as: UInt64.self) == expected
                }
                if !isRight { wrong += 1 }
            }
        }
        return wrong
    }
}

// The bytes of every block, so that a wrong, stale or displaced one cannot pass for right.

/// A block starts with a stamp of its offset, generation and seed (three little-endian words);
/// the rest follows from the stamp.
package struct BlockPattern: Sendable {
    /// The stamp and one word of content.
    package static let blockSizeMinimum = 32
    /// Chosen at random for a run, or given to repeat one.
    package let seed: UInt64

    package init(seed: UInt64) { self.seed = seed }

    private static let step: UInt64 = 0x9e37_79b9_7f4a_7c15

    @inline(__always)
    private func base(offset: UInt64, generation: UInt32) -> UInt64 {
        mix(seed ^ mix(offset &+ UInt64(generation) << 40))
    }

    /// Fills `block`, which is eight-byte aligned, for a write at `offset`.
    package func fill(
        _ block: UnsafeMutableRawBufferPointer, offset: UInt64, generation: UInt32
    ) {
        guard let start = block.baseAddress else { return }
        let words = block.count / 8
        let content = unsafe start.assumingMemoryBound(to: UInt64.self)
        var word = base(offset: offset, generation: generation)
        for index in 0..<words {
            unsafe content[index] = word
            word &+= Self.step
        }
        for index in words * 8..<block.count {
            unsafe block[index] = UInt8(truncatingIfNeeded: word >> UInt64((index & 7) * 8))
        }
        unsafe content[0] = offset
        unsafe content[1] = UInt64(generation)
        unsafe content[2] = seed
    }

    /// What is wrong with a block read at `offset`, or nil if all its bytes are right.
    package func fault(
        _ block: UnsafeRawBufferPointer, offset: UInt64, generation: UInt32
    ) -> String? {
        let words = block.count / 8
        var word = base(offset: offset, generation: generation) &+ 3 &* Self.step
        var difference: UInt64 = 0
        for index in 3..<words {
            let found = unsafe block.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)
            difference |= found ^ word
            word &+= Self.step
        }
        for index in words * 8..<block.count {
            let byte = UInt8(truncatingIfNeeded: word >> UInt64((index & 7) * 8))
            difference |= UInt64(unsafe block[index] ^ byte)
        }
        let stamp = unsafe (
            block.loadUnaligned(as: UInt64.self),
            block.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
            block.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        )
        if stamp == (offset, UInt64(generation), seed) && difference == 0 { return nil }
        if stamp.2 != seed { return "its seed is 0x\(String(stamp.2, radix: 16))" }
        if stamp.0 != offset { return "it belongs at offset \(stamp.0)" }
        if stamp.1 != UInt64(generation) {
            return "it is generation \(stamp.1) instead of \(generation)"
        }
        return "its content does not follow from its stamp"
    }
}

/// The generation that each block of the file was last written with.
///
/// A job touches its own region only, so that jobs need no lock.
@safe
package final class GenerationTable: @unchecked Sendable {
    private let generations: UnsafeMutableBufferPointer<UInt32>

    package init(blockCount: Int) {
        unsafe generations = .allocate(capacity: max(1, blockCount))
        unsafe generations.initialize(repeating: 0)
    }

    deinit { unsafe generations.deallocate() }

    package subscript(block: Int) -> UInt32 {
        get { unsafe generations[block] }
        set { unsafe generations[block] = newValue }
    }
}

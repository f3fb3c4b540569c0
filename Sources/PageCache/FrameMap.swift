// Which frames are free, so that neighbouring pages of a file get neighbouring frames: a run of
// frames is a folio that leaves as one direct write.

/// A bitmap of free frames. Whole free words (64 frames, 256 KiB) are handed to new streams
/// first, so that a sequential stream grows next to itself and others stay out of its way.
struct FrameMap: ~Copyable {
    private let words: FixedArray<UInt64>
    // One bit a word: it has a free frame; all its frames are free.
    private let someFree: FixedArray<UInt64>
    private let allFree: FixedArray<UInt64>
    private let frameCount: Int
    private(set) var freeCount: Int
    // Where the last search ended: the next one starts there.
    private var someRover: Int32 = 0
    private var allRover: Int32 = 0

    init(frameCount: Int) {
        self.frameCount = frameCount
        let wordCount = (frameCount + 63) / 64
        words = FixedArray(0, count: wordCount)
        someFree = FixedArray(0, count: (wordCount + 63) / 64)
        allFree = FixedArray(0, count: (wordCount + 63) / 64)
        freeCount = 0
        for frame in 0..<Int32(frameCount) { free(frame) }
    }

    borrowing func isFree(_ frame: Int32) -> Bool {
        frame >= 0 && frame < frameCount && words[frame / 64] & (1 << UInt64(frame % 64)) != 0
    }

    /// Takes a free frame: `wanted` itself if it is free, else one with room to grow behind it.
    mutating func allocate(near wanted: Int32) -> Int32? {
        guard freeCount > 0 else { return nil }
        if isFree(wanted) {
            take(wanted)
            return wanted
        }
        let found =
            Self.firstSet(allFree, from: &allRover).map { $0 * 64 }
            ?? Self.firstSet(someFree, from: &someRover).map { word in
                word * 64 + Int32(words[word].trailingZeroBitCount)
            }
        guard let found else { return nil }
        take(found)
        return found
    }

    mutating func free(_ frame: Int32) {
        let word = frame / 64
        let bit: UInt64 = 1 << UInt64(frame % 64)
        precondition(words[word] & bit == 0, "frame \(frame) was freed twice")
        words[word] |= bit
        someFree[word / 64] |= 1 << UInt64(word % 64)
        if words[word] == .max { allFree[word / 64] |= 1 << UInt64(word % 64) }
        freeCount += 1
    }

    private mutating func take(_ frame: Int32) {
        let word = frame / 64
        words[word] &= ~(1 << UInt64(frame % 64))
        allFree[word / 64] &= ~(1 << UInt64(word % 64))
        if words[word] == 0 { someFree[word / 64] &= ~(1 << UInt64(word % 64)) }
        freeCount -= 1
    }

    /// The number of a set bit, searched for from `rover` on and around.
    private static func firstSet(
        _ bits: borrowing FixedArray<UInt64>, from rover: inout Int32
    ) -> Int32? {
        let count = Int32(bits.count)
        var index = rover
        for _ in Numbers(0, count) {
            if bits[index] != 0 {
                rover = index
                return index * 64 + Int32(bits[index].trailingZeroBitCount)
            }
            index = index + 1 == count ? 0 : index + 1
        }
        return nil
    }
}

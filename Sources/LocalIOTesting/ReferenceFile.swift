// The one definition of what a file holds after a sequence of operations: every road is compared
// with it.
internal import Glibc
package import LocalIOBench

/// A file as plain bytes in memory, with the semantics of pwrite, pread and ftruncate.
///
/// Copies and compares with the C library: unoptimised test builds are slow byte by byte.
package struct ReferenceFile: Sendable {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    package var size: Int { bytes.count }

    /// Writes at `offset`, filling a hole before it with zeros.
    package mutating func write(_ data: [UInt8], at offset: Int) {
        unsafe data.withUnsafeBytes { unsafe write($0, at: offset) }
    }

    /// The same from memory.
    package mutating func write(_ data: UnsafeRawBufferPointer, at offset: Int) {
        guard unsafe !data.isEmpty else { return }
        if bytes.count < offset + data.count { extend(to: offset + data.count) }
        unsafe bytes.withUnsafeMutableBytes { bytes in
            unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[offset...])
                .copyMemory(from: data)
        }
    }

    /// How many bytes a read answers: none at or past the end.
    package func readable(at offset: Int, byteCount: Int) -> Int {
        max(0, min(byteCount, bytes.count - offset))
    }

    /// Whether `data` is what a read of so many bytes at `offset` answers.
    package func matches(_ data: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        guard let start = data.baseAddress, offset + data.count <= bytes.count else {
            return unsafe data.isEmpty
        }
        return unsafe bytes.withUnsafeBytes { bytes in
            guard let own = bytes.baseAddress else { return unsafe data.isEmpty }
            return unsafe memcmp(own + offset, start, data.count) == 0
        }
    }

    package mutating func truncate(to size: Int) {
        if size < bytes.count { bytes.removeLast(bytes.count - size) } else { extend(to: size) }
    }

    private mutating func extend(to size: Int) {
        bytes.append(contentsOf: [UInt8](repeating: 0, count: size - bytes.count))
    }
}

/// A large block of random bytes to take write payloads from without making each anew.
package struct PayloadPool: Sendable {
    private let block: [UInt8]

    package init(seed: UInt64, largest: Int) {
        var generator = SeededGenerator(seed: seed)
        block = generator.bytes(largest * 2)
    }

    /// Copies payload number `number` into `target`: its own bytes, stamped with its number.
    package func fill(_ target: UnsafeMutableRawBufferPointer, number: UInt64) {
        var generator = SeededGenerator(seed: number)
        let start = Int(generator.next() % UInt64(block.count - target.count))
        unsafe block.withUnsafeBytes { block in
            unsafe target.copyMemory(
                from: UnsafeRawBufferPointer(rebasing: block[start..<start + target.count]))
        }
        for index in 0..<min(8, target.count) {
            unsafe target[index] = UInt8(truncatingIfNeeded: number >> UInt64(index * 8))
        }
    }
}

extension SeededGenerator {
    /// So many bytes that do not compress and do not repeat.
    package mutating func bytes(_ count: Int) -> [UInt8] {
        var result = [UInt8]()
        result.reserveCapacity(count + 8)
        while result.count < count {
            var word = next()
            for _ in 0..<8 {
                result.append(UInt8(truncatingIfNeeded: word))
                word >>= 8
            }
        }
        result.removeLast(result.count - count)
        return result
    }
}

// Reads of what this host's kernel has in its page cache already: copied from there, because the
// server that put it there would answer faster than the disk. Nothing is brought into the cache.
internal import CLinux
internal import Glibc
internal import Synchronization

/// Whether looking into the page cache has been worth it lately. One for each open local file.
///
/// A file that nobody reads or writes through the server is not in the page cache, and a look
/// costs a system call: after each look in vain twice as many reads go by without one, up to
/// `longestPause`. Any thread; the two numbers are changed without care for other threads, who
/// at worst look once too often or too seldom.
struct CachedReadHint: ~Copyable {
    private static let longestPause: UInt32 = 64
    private static let never = UInt32.max

    private let pause: Atomic<UInt32>
    private let readsLeft = Atomic<UInt32>(0)

    init(isOn: Bool) { pause = Atomic(isOn ? 0 : Self.never) }

    /// Counts a read; whether it should look.
    @inline(__always)
    func isDue() -> Bool {
        let left = readsLeft.load(ordering: .relaxed)
        if left == 0 { return pause.load(ordering: .relaxed) != Self.never }
        readsLeft.store(left &- 1, ordering: .relaxed)
        return false
    }

    func found() { pause.store(0, ordering: .relaxed) }

    func missed() {
        let longer = min(max(pause.load(ordering: .relaxed) &* 2, 1), Self.longestPause)
        pause.store(longer, ordering: .relaxed)
        readsLeft.store(longer, ordering: .relaxed)
    }

    /// The kernel does not tell, or nobody wants to know: never again.
    func turnOff() { pause.store(Self.never, ordering: .relaxed) }
}

extension LocalFile {
    /// Reads from the page cache if all of it is there and looking is due; nil otherwise.
    ///
    /// What comes back is what a direct read would bring: the kernel writes dirty pages to the
    /// disk before a direct read of them and drops cached ones at a direct write. With the range
    /// held, as for the direct read.
    /// - Returns: bytes, fewer than asked only at the end of the file.
    @inline(__always)
    func readCached(
        _ address: UnsafeMutableRawPointer, byteCount: Int, at offset: UInt64
    ) -> Int64? {
        guard hint.isDue() else { return nil }
        return unsafe lookIntoCache(address, byteCount, offset)
    }

    private func lookIntoCache(
        _ address: UnsafeMutableRawPointer, _ byteCount: Int, _ offset: UInt64
    ) -> Int64? {
        let result = unsafe clinux_pread_cached(bufferedRaw, address, byteCount, Int64(offset))
        if result == byteCount {
            hint.found()
            return result
        }
        // Short: at the end of the file, or a page has gone meanwhile. The disk knows.
        if result >= 0 || result == -Int64(EAGAIN) { hint.missed() } else { hint.turnOff() }
        return nil
    }
}

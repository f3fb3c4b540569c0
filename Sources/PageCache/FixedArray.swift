// Arrays that are mapped and locked once and never grow: nothing on the path of a page allocates.
internal import CLinux

/// A fixed number of trivial values in locked memory; every access is checked.
@safe
struct FixedArray<Element: BitwiseCopyable>: ~Copyable, @unchecked Sendable {
    private let base: UnsafeMutablePointer<Element>
    let count: Int

    init(_ value: Element, count: Int) {
        unsafe base = .allocate(capacity: max(count, 1))
        unsafe base.initialize(repeating: value, count: max(count, 1))
        self.count = count
    }

    deinit { unsafe base.deallocate() }

    subscript(_ index: Int32) -> Element {
        @inline(__always) get {
            precondition(UInt(bitPattern: Int(index)) < UInt(bitPattern: count))
            return unsafe base[Int(index)]
        }
        @inline(__always) nonmutating _modify {
            precondition(UInt(bitPattern: Int(index)) < UInt(bitPattern: count))
            yield unsafe &base[Int(index)]
        }
    }

    /// Changes a value in place.
    ///
    /// For `+=` and mutating calls on members: through the subscript of a noncopyable value's
    /// property they crash the compiler (6.3) in a build for Thread Sanitizer.
    @inline(__always)
    borrowing func update(_ index: Int32, _ body: (inout Element) -> Void) {
        precondition(UInt(bitPattern: Int(index)) < UInt(bitPattern: count))
        unsafe body(&base[Int(index)])
    }

    /// Keeps the values in memory; false if the system does not allow it.
    borrowing func lock() -> Bool {
        unsafe clinux_lock_memory(base, count * MemoryLayout<Element>.stride) == 0
    }
}

/// Numbers of frames, files or requests in order.
///
/// A loop over `Range<Int32>` allocates at every step in unoptimized builds (Swift 6.3: an
/// unspecialized coroutine), which are the ones where the tests count allocations.
struct Numbers: Sequence, IteratorProtocol {
    private var following: Int32
    private let end: Int32

    init(_ first: Int32, _ count: Int32) {
        following = first
        end = first + count
    }

    mutating func next() -> Int32? {
        guard following < end else { return nil }
        defer { following += 1 }
        return following
    }
}

// A lock that Thread Sanitizer can see and the optimizer can look through: Synchronization's
// Mutex sleeps on a futex inside the (uninstrumented) standard library, so every use of it looks
// like a race; pthread_mutex costs two calls where two atomic instructions do.
internal import CLinux
public import Synchronization

/// A value that one thread at a time may touch; blocks while another does.
///
/// Not recursive. Hold it for a few instructions only, and never across a call that waits: debug
/// builds stop at a wait with a lock held, and at two locks that are taken in both orders
/// anywhere in the process (locks made at one place of the source count as one).
///
/// Public, in a room that is no product, because the optimizer looks into no other room's `package`
/// functions (Swift 6.3): every lock would be taken through an unspecialized generic call.
///
/// The word is 0 while free, 1 while held, 2 while held and somebody may sleep on it: the third
/// mutex of Ulrich Drepper's "Futexes Are Tricky".
@safe
public struct Lock<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    // In one cache line, if the value is small.
    @usableFromInline let word: UnsafeMutablePointer<Atomic<UInt32>>
    @usableFromInline let value: UnsafeMutablePointer<Value>
    #if DEBUG
        @usableFromInline let lockClass: Int32
    #endif

    public init(
        _ initial: consuming sending Value, file: StaticString = #fileID, line: Int32 = #line
    ) {
        #if DEBUG
            lockClass = LockOrder.lockClass(file, line)
        #endif
        let start = max(MemoryLayout<Value>.alignment, 16)
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: start + MemoryLayout<Value>.size, alignment: max(start, 64))
        unsafe word = memory.bindMemory(to: Atomic<UInt32>.self, capacity: 1)
        unsafe value = (memory + start).bindMemory(to: Value.self, capacity: 1)
        unsafe word.initialize(to: Atomic(0))
        unsafe value.initialize(to: initial)
    }

    deinit {
        unsafe value.deinitialize(count: 1)
        unsafe word.deinitialize(count: 1)
        unsafe UnsafeMutableRawPointer(word).deallocate()
    }

    /// Runs `body` with the lock held.
    @inlinable
    @inline(__always)
    public func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        #if DEBUG
            noteAcquiring()
            defer { noteReleased() }
        #endif
        let (isMine, _) = unsafe word.pointee.compareExchange(
            expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed)
        if !isMine { acquireSlowly() }
        defer {
            if unsafe word.pointee.exchange(0, ordering: .releasing) == 2 { wakeOne() }
        }
        return try unsafe body(&value.pointee)
    }

    #if DEBUG
        @usableFromInline func noteAcquiring() { LockOrder.acquiring(lockClass) }
        @usableFromInline func noteReleased() { LockOrder.released(lockClass) }
    #endif

    @usableFromInline
    @inline(never)
    func acquireSlowly() {
        while unsafe word.pointee.exchange(2, ordering: .acquiring) != 0 {
            unsafe clinux_futex_wait(UnsafeRawPointer(word), 2)
        }
    }

    @usableFromInline
    @inline(never)
    func wakeOne() { unsafe clinux_futex_wake_one(UnsafeRawPointer(word)) }
}

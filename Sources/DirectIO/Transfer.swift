// An operation on its way: what to do after each answer of the kernel, the same on every road.
internal import CLinux
internal import Glibc

/// An operation with the bytes moved so far; `operation` is what remains of it.
struct Transfer {
    enum Step {
        /// Submit `operation` again: it was short, or interrupted.
        case again
        /// Bytes in all, or a negative errno.
        case finished(Int64)
    }

    private static let retryLimit: UInt16 = 1000

    var operation: IOOperation
    private(set) var done: Int64 = 0
    private var retries: UInt16 = 0

    init(_ operation: IOOperation) { self.operation = operation }

    /// Takes the kernel's answer to `operation`.
    ///
    /// A short write goes on until a real errno; a short read until the local end of the file.
    /// After bytes have moved an error is not told: the next byte will meet it again.
    mutating func advance(_ result: Int64) -> Step {
        if operation.kind == .dataSync || operation.kind == .sync {
            return result == Int64(-EINTR) && mayRetry() ? .again : .finished(result)
        }
        if result > 0 {
            done += result
            if operation.offset != .max { operation.offset &+= UInt64(result) }
            operation.byteCount -= Int(result)
            unsafe operation.address = unsafe operation.address.map { unsafe $0 + Int(result) }
            retries = 0
            if operation.byteCount <= 0 { return .finished(done) }
            return operation.kind == .read && isAtEnd ? .finished(done) : .again
        }
        if result == 0 {
            if operation.kind == .read || operation.byteCount == 0 { return .finished(done) }
            return mayRetry() ? .again : .finished(done > 0 ? done : Int64(-EIO))
        }
        // RWF_DONTCACHE is a wish: kernels before 6.14 and some file systems do not know it.
        if result == Int64(-EOPNOTSUPP) && operation.flags & clinux_rwf_dontcache != 0 {
            operation.flags &= ~clinux_rwf_dontcache
            return .again
        }
        if (result == Int64(-EINTR) || result == Int64(-EAGAIN)) && mayRetry() { return .again }
        return .finished(done > 0 ? done : result)
    }

    private mutating func mayRetry() -> Bool {
        retries += 1
        return retries <= Self.retryLimit
    }

    /// Asked before a short direct read goes on: past the end its offset would be misaligned,
    /// and the kernel would answer EINVAL rather than zero bytes.
    private var isAtEnd: Bool {
        var status = clinux_stat()
        guard unsafe clinux_statx(operation.fd, nil, false, &status) == 0 else { return false }
        return status.mode & UInt32(S_IFMT) == UInt32(S_IFREG) && operation.offset >= status.size
    }

    /// One blocking system call for what remains; bytes or a negative errno.
    func callKernel(extraFlags: Int32 = 0) -> Int64 {
        let flags = operation.flags | extraFlags
        let offset = Int64(truncatingIfNeeded: operation.offset)
        switch operation.kind {
        case .read:
            return unsafe clinux_pread2(
                operation.fd, operation.address, operation.byteCount, offset, flags)
        case .write:
            return unsafe clinux_pwrite2(
                operation.fd, operation.address, operation.byteCount, offset, flags)
        case .dataSync: return fdatasync(operation.fd) == 0 ? 0 : Int64(-errno)
        case .sync: return fsync(operation.fd) == 0 ? 0 : Int64(-errno)
        }
    }

    /// Blocks until it is finished.
    mutating func runBlocking() -> Int64 {
        while true {
            if case .finished(let result) = advance(callKernel()) { return result }
        }
    }
}

/// Remembers for a while which kinds of I/O cannot be done without blocking (writes that
/// allocate, reads larger than the device takes at once), so that they are not tried in vain.
struct NowaitHints {
    /// So many operations of a kind skip the attempt after one failed.
    static let penalty: Int32 = 64
    private var skips: (Int32, Int32, Int32, Int32) = (0, 0, 0, 0)

    /// False while the attempt is not worth it; counts the question.
    mutating func shouldTry(_ operation: IOOperation) -> Bool {
        switch Self.kind(operation) {
        case 0: return Self.count(&skips.0)
        case 1: return Self.count(&skips.1)
        case 2: return Self.count(&skips.2)
        default: return Self.count(&skips.3)
        }
    }

    mutating func failed(_ operation: IOOperation) {
        switch Self.kind(operation) {
        case 0: skips.0 = Self.penalty
        case 1: skips.1 = Self.penalty
        case 2: skips.2 = Self.penalty
        default: skips.3 = Self.penalty
        }
    }

    static func kind(_ operation: IOOperation) -> Int {
        (operation.kind == .write ? 2 : 0) + (operation.byteCount > 1 << 16 ? 1 : 0)
    }

    private static func count(_ skip: inout Int32) -> Bool {
        if skip == 0 { return true }
        skip -= 1
        return false
    }
}

// UNSTABLE writes kept in memory until COMMIT, so that a test's kill loses them for certain.
internal import Glibc
internal import NFSTypes
internal import Threads

/// The uncommitted writes of a server with the fault `holdUncommitted`. Any thread.
final class HeldWrites: Sendable {
    private struct Extent {
        var offset: UInt64
        var bytes: [UInt8]
        var end: UInt64 { offset + UInt64(bytes.count) }
    }

    private let files = Lock([FileHandle: [Extent]]())

    func hold(_ handle: FileHandle, offset: UInt64, bytes: UnsafeRawBufferPointer) {
        let extent = Extent(offset: offset, bytes: unsafe Array(bytes))
        files.withLock { $0[handle, default: []].append(extent) }
    }

    /// The file's size as clients must see it.
    func size(_ handle: FileHandle, stored: UInt64) -> UInt64 {
        files.withLock { files in
            files[handle]?.reduce(stored) { max($0, $1.end) } ?? stored
        }
    }

    /// Lays what is held over `byteCount` stored bytes in `target`, read at `offset`.
    /// - Returns: the bytes now valid in `target`, which may be more.
    func overlay(
        _ handle: FileHandle, offset: UInt64, byteCount: Int, target: UnsafeMutableRawBufferPointer
    ) -> Int {
        files.withLock { files in
            var valid = byteCount
            for extent in files[handle] ?? [] {
                let start = max(extent.offset, offset)
                let end = min(extent.end, offset + UInt64(target.count))
                guard start < end else { continue }
                let at = Int(start - offset)
                // A hole between the stored end and what is held reads as zeros.
                for index in stride(from: valid, to: at, by: 1) { unsafe target[index] = 0 }
                for index in at..<Int(end - offset) {
                    let source = Int(offset + UInt64(index) - extent.offset)
                    unsafe target[index] = extent.bytes[source]
                }
                valid = max(valid, Int(end - offset))
            }
            // Nor is a hole between here and what is held further on the end of the file.
            let end = files[handle]?.map(\.end).max() ?? 0
            let seen = end > offset ? Int(min(end - offset, UInt64(target.count))) : 0
            for index in stride(from: valid, to: seen, by: 1) { unsafe target[index] = 0 }
            return max(valid, seen)
        }
    }

    /// Writes what is held to the file.
    func release(_ handle: FileHandle, to file: Int32) throws(Refusal) {
        let extents = files.withLock { $0.removeValue(forKey: handle) } ?? []
        for extent in extents {
            let refusal = unsafe extent.bytes.withUnsafeBytes { bytes -> Refusal? in
                do throws(Refusal) {
                    unsafe try writeWhole(file, bytes, at: extent.offset)
                    return nil
                } catch {
                    return error
                }
            }
            if let refusal { throw refusal }
        }
    }

    /// Forgets a removed file's bytes, or those past a truncation.
    func truncate(_ handle: FileHandle, to size: UInt64) {
        files.withLock { files in
            guard let extents = files[handle] else { return }
            files[handle] = extents.compactMap { extent in
                guard extent.end > size else { return extent }
                guard extent.offset < size else { return nil }
                let kept = Int(size - extent.offset)
                return Extent(offset: extent.offset, bytes: Array(extent.bytes[..<kept]))
            }
        }
    }
}

/// pwrite(2) until all is written.
func writeWhole(
    _ file: Int32, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
) throws(Refusal) {
    var done = 0
    while done < bytes.count {
        let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
        let count = unsafe pwrite(file, rest.baseAddress, rest.count, off_t(offset) + done)
        if count < 0 {
            if errno == EINTR { continue }
            throw Refusal(errno: errno)
        }
        if count == 0 { throw Refusal(.ioError) }
        done += count
    }
}

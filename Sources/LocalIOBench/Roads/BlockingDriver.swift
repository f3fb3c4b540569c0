// Files that are read and written by calls that block, behind the measuring loop: the kernel's
// page cache and the client's are measured by the same calls.
internal import Glibc
internal import LocalIO
internal import NFSTypes
internal import SystemPackage

/// An open file. Results are bytes (or 0 from `commit`), or a negative errno.
protocol BlockingFile: AnyObject, Sendable {
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int
    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int
    /// fsync.
    func commit() -> Int
    func close() -> Int
}

/// A file of the local file system, through the kernel's page cache.
final class PlainFile: BlockingFile {
    private let descriptor: FileDescriptor

    init(path: FilePath, create: Bool = false) throws(BenchError) {
        do {
            descriptor = try .open(
                path, .readWrite, options: create ? [.create] : [],
                permissions: .ownerReadWrite)
        } catch { throw BenchError("raw: cannot open \(path): \(error)") }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int {
        let count = unsafe pread(
            descriptor.rawValue, buffer.baseAddress, buffer.count, Int(offset))
        return count < 0 ? -Int(errno) : count
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int {
        let count = unsafe pwrite(
            descriptor.rawValue, buffer.baseAddress, buffer.count, Int(offset))
        return count < 0 ? -Int(errno) : count
    }

    func commit() -> Int { fsync(descriptor.rawValue) == 0 ? 0 : -Int(errno) }

    func close() -> Int { Glibc.close(descriptor.rawValue) == 0 ? 0 : -Int(errno) }

    /// Forgets what the kernel has cached of the file; what is dirty is written first.
    func dropCached() {
        _ = commit()
        posix_fadvise(descriptor.rawValue, 0, 0, POSIX_FADV_DONTNEED)
    }
}

/// An open file of a client, as blocking callers use it.
protocol BlockingClientFile: AnyObject, Sendable {
    func readBlocking(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(LocalIOError) -> Int
    func writeBlocking(
        from buffer: UnsafeRawBufferPointer, at offset: UInt64
    ) throws(LocalIOError) -> Int
    func commitBlocking() throws(LocalIOError)
    func closeBlocking() throws(LocalIOError)
}

extension BufferedFile: BlockingClientFile {}

/// Each call is one I/O, done by its caller where it is aligned.
extension LocalIOFile: BlockingClientFile {
    func writeBlocking(
        from buffer: UnsafeRawBufferPointer, at offset: UInt64
    ) throws(LocalIOError) -> Int {
        try unsafe writeBlocking(from: buffer, at: offset, stable: .unstable)
    }
}

/// A file of an export, through the client's page cache (`BufferedFile`) or without one.
final class ExportFile<File: BlockingClientFile>: BlockingFile {
    private let file: File

    init(_ file: File) { self.file = file }

    /// Bytes, or the negative errno of what was thrown.
    private func outcome(_ body: () throws(LocalIOError) -> Int) -> Int {
        do throws(LocalIOError) {
            return try body()
        } catch { return -Int(error.errno.rawValue) }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> Int {
        outcome { () throws(LocalIOError) in
            try unsafe file.readBlocking(into: buffer, at: offset)
        }
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) -> Int {
        outcome { () throws(LocalIOError) in
            try unsafe file.writeBlocking(from: buffer, at: offset)
        }
    }

    func commit() -> Int {
        outcome { () throws(LocalIOError) in
            try file.commitBlocking()
            return 0
        }
    }

    func close() -> Int {
        outcome { () throws(LocalIOError) in
            try file.closeBlocking()
            return 0
        }
    }
}

/// Does each I/O as it is submitted, so that the loop times the blocking call; every so many
/// writes one of them carries an fsync.
struct BlockingDriver<File: BlockingFile>: RoadDriver, ~Copyable {
    private let file: File
    private let fsyncEvery: Int?
    private var unsynced = 0
    private var done: (slot: Int, outcome: Int)?

    init(file: File, fsyncEvery: Int?) {
        self.file = file
        self.fsyncEvery = fsyncEvery
    }

    mutating func submit(
        slot: Int, isWrite: Bool, buffer: UnsafeMutableRawBufferPointer, offset: UInt64
    ) -> Bool {
        guard done == nil else { return false }
        var outcome =
            isWrite
            ? unsafe file.write(from: UnsafeRawBufferPointer(buffer), at: offset)
            : unsafe file.read(into: buffer, at: offset)
        if isWrite, let fsyncEvery {
            unsynced += 1
            if unsynced >= fsyncEvery {
                unsynced = 0
                let status = file.commit()
                if status < 0 { outcome = status }
            }
        }
        done = (slot, outcome)
        return true
    }

    mutating func reap(timeout: Duration, _ body: (Int, Int) -> Void) -> Int {
        guard let (slot, outcome) = done else { return 0 }
        done = nil
        body(slot, outcome)
        return 1
    }

    mutating func abandon(inFlight: Int) -> Bool { true }
}

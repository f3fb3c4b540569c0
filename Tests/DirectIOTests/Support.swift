// Seeds, temporary files and memory that the tests of this target share.
import CLinux
import DirectIO
import Foundation
import Glibc
import SystemPackage
import Testing
import Threads

/// SplitMix64: small, seeded, good enough for tests.
struct SeededGenerator: RandomNumberGenerator {
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

/// A fresh seed, or the one that `LOCALIO_SEED` gives back; printed with the test's name.
func testSeed(_ name: String) -> UInt64 {
    let given = ProcessInfo.processInfo.environment["LOCALIO_SEED"].flatMap(UInt64.init)
    let seed = given ?? UInt64.random(in: 1...UInt64.max)
    print("\(name): LOCALIO_SEED=\(seed)")
    return seed
}

/// A file on a real disk (tmpfs has no direct I/O), gone with this object.
final class TemporaryFile {
    let path: String

    init(directory: String = "/var/tmp") {
        path = "\(directory)/localio-directio-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    }

    deinit { unlink(path) }

    func open(direct: Bool = true, flags: Int32 = O_RDWR | O_CREAT) throws -> Descriptor {
        try Descriptor(
            path: FilePath(path), flags: flags | (direct ? Descriptor.directFlag : 0))
    }

    /// Writes these bytes through the page cache and to the disk.
    func fill(_ bytes: [UInt8]) throws {
        let descriptor = try open(direct: false)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                pwrite(descriptor.raw, $0.baseAddress! + done, bytes.count - done, off_t(done))
            }
            try #require(count > 0)
            done += count
        }
        try #require(fsync(descriptor.raw) == 0)
    }

    func contents() throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }
}

func randomBytes(_ count: Int, _ generator: inout SeededGenerator) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.withUnsafeMutableBytes { buffer in
        for index in stride(from: 0, to: count - count % 8, by: 8) {
            buffer.storeBytes(of: generator.next(), toByteOffset: index, as: UInt64.self)
        }
        for index in (count - count % 8)..<count {
            buffer[index] = UInt8.random(in: 0...255, using: &generator)
        }
    }
    return bytes
}

/// Collects completions from the workers' threads.
final class Results: @unchecked Sendable {
    private let received = Lock<[UInt64: Int64]>([:])
    private let semaphore = Semaphore()

    func completion(_ token: UInt64) -> IOCompletion {
        IOCompletion(
            function: { context, token, result in
                Unmanaged<Results>.fromOpaque(context!).takeUnretainedValue().put(token, result)
            },
            context: Unmanaged.passUnretained(self).toOpaque(), token: token)
    }

    private func put(_ token: UInt64, _ result: Int64) {
        received.withLock { $0[token] = result }
        semaphore.signal()
    }

    func wait(_ count: Int) {
        for _ in 0..<count { semaphore.wait() }
    }

    subscript(token: UInt64) -> Int64? { received.withLock { $0[token] } }
    var count: Int { received.withLock { $0.count } }
}

func makeEngine(
    _ kind: EngineKind, workers: Int = 2, depth: Int = 64, queueCapacity: Int = 1024,
    threadWorkers: Int = 4, pool: BufferPool? = nil
) throws -> IOEngine {
    var configuration = IOEngine.Configuration()
    configuration.backend = kind == .threads ? .threads : .automatic
    configuration.workers = workers
    configuration.depth = depth
    configuration.queueCapacity = queueCapacity
    configuration.threadWorkers = threadWorkers
    return try IOEngine(configuration: configuration, pool: pool)
}

/// Whether this machine gives us rings; tests of the ring's own behaviour need them.
let ringsAvailable: Bool = {
    do {
        _ = try Ring(depth: 1)
        return true
    } catch { return false }
}()

/// Runs a program and answers its exit status.
@discardableResult
func run(_ arguments: String...) -> Int32 {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = arguments
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    do { try process.run() } catch { return -1 }
    process.waitUntilExit()
    return process.terminationStatus
}

struct NoMemory: Error {}

/// `#require` cannot look into what cannot be copied.
func makeBuffer(_ byteCount: Int) throws -> AlignedBuffer {
    guard let buffer = AlignedBuffer(byteCount: byteCount) else { throw NoMemory() }
    return buffer
}

/// A slab, or memory of its own if the pool has none left.
func lease(_ byteCount: Int, from pool: BufferPool) throws -> AlignedBuffer {
    if let buffer = pool.lease(byteCount: byteCount) { return buffer }
    return try makeBuffer(byteCount)
}

// How the cost of an I/O grows with the number of open files and with the size of a file: random
// reads of sparse files, which no device slows down.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import LocalIO
internal import NFSClient
internal import NFSTypes
internal import SystemPackage

/// One point of a growth curve: so many files of such a size.
struct GrowthPoint: Hashable, Sendable {
    var files: Int
    /// Bytes of each, none of them stored.
    var fileByteCount: Int

    private static let small = 64 << 10

    static func all(quick: Bool) -> [GrowthPoint] {
        let counts = quick ? [1, 1000] : [1, 10, 100, 1000, 10_000]
        let sizes = quick ? [64 << 30] : [4096, 1 << 20, 64 << 20, 4 << 30, 64 << 30]
        return counts.map { GrowthPoint(files: $0, fileByteCount: small) }
            + sizes.map { GrowthPoint(files: 1, fileByteCount: $0) }
    }

    /// Files are what grows: otherwise it is the size.
    var isOfFiles: Bool { fileByteCount == Self.small }
}

/// Measures one point on every road. Use once, from one thread.
final class GrowthRun {
    static let blockSize = 4096
    static let depth = 16

    private let point: GrowthPoint
    private let directory: FilePath
    private let url: String
    private var names: [String] = []

    init(_ point: GrowthPoint, directory: FilePath, url: String) {
        self.point = point
        self.directory = directory
        self.url = url
    }

    /// - Parameter slice: of one road in one round.
    func run(
        roads: [String], rounds: Int, slice: Duration, seed: UInt64
    ) throws(BenchError) -> [CompareRoad] {
        let folder = try TemporaryDirectory(in: directory)
        defer { folder.remove() }
        try makeFiles(in: folder.path)
        var results = roads.map { CompareRoad(name: $0, rates: []) }
        var processor = roads.map { _ in [Double]() }
        for (round, index) in turns(of: roads.count, rounds: rounds) {
            try StopFlag.check()
            let seed = mix(seed &+ UInt64(round << 8 + index))
            let sample = try measure(roads[index], slice, seed)
            results[index].rates.append(sample.rate)
            processor[index].append(sample.cpuMicroseconds)
        }
        for index in roads.indices {
            let median = Spread(results[index].rates).median
            results[index].bytesPerSecond = median * Double(Self.blockSize)
            results[index].cpuMicroseconds = Spread(processor[index]).median
        }
        return results
    }

    private func makeFiles(in folder: FilePath) throws(BenchError) {
        let name = folder.lastComponent?.string ?? ""
        for number in 0..<point.files {
            let file = folder.appending("\(number)").string
            names.append("\(name)/\(number)")
            let descriptor = unsafe open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
            guard descriptor >= 0 else { throw .system("cannot create \(file)", errno: errno) }
            defer { close(descriptor) }
            guard ftruncate(descriptor, point.fileByteCount) == 0 else {
                throw .system(
                    "cannot make a file of \(ByteSize.text(point.fileByteCount))", errno: errno)
            }
        }
    }

    /// The files are opened anew in each round: a process may not have so many twice.
    private func measure(
        _ road: String, _ slice: Duration, _ seed: UInt64
    ) throws(BenchError) -> GrowthSample {
        var loop = GrowthLoop(point: point, slice: slice, seed: seed)
        if road == "raw" {
            var driver = try RawFiles(directory, names)
            defer { driver.close() }
            return try loop.run(&driver)
        }
        let client = try ClientSession.connect(
            url, locality: road == "rpc" ? .off : .exportRoot(directory), readsPageCache: false)
        defer { client.closeBlocking() }
        var driver = try ClientFiles(client, names)
        defer { driver.close() }
        return try loop.run(&driver)
    }
}

private struct GrowthSample {
    var rate: Double
    var cpuMicroseconds: Double
}

/// One road to many files.
private protocol ManyFiles: ~Copyable {
    mutating func submit(
        slot: Int, file: Int, buffer: UnsafeMutableRawBufferPointer, offset: UInt64) -> Bool
    /// Completions, or a negative errno.
    mutating func reap(_ body: (_ slot: Int, _ result: Int) -> Void) -> Int
}

/// Random reads of random files, `GrowthRun.depth` in flight.
private struct GrowthLoop {
    let point: GrowthPoint
    let slice: Duration
    var seed: UInt64

    mutating func run<Road: ManyFiles & ~Copyable>(
        _ road: inout Road
    ) throws(BenchError) -> GrowthSample {
        let size = GrowthRun.blockSize
        let byteCount = GrowthRun.depth * size
        guard let memory = unsafe clinux_map_memory(byteCount) else {
            throw BenchError("no memory for \(GrowthRun.depth) buffers")
        }
        defer { unsafe clinux_unmap_memory(memory, byteCount) }
        var generator = SeededGenerator(seed: seed)
        var free = Array(0..<GrowthRun.depth)
        var done = 0
        var failure = 0
        let blocks = UInt64(max(point.fileByteCount / size, 1))
        let cpu = clinux_process_cpu_nanoseconds()
        let start = monotonicNanoseconds()
        let end = start + slice.nanosecondCount
        while true {
            let isOver = monotonicNanoseconds() >= end || failure < 0
            while !isOver, let slot = free.popLast() {
                let buffer = unsafe UnsafeMutableRawBufferPointer(
                    start: memory + slot * size, count: size)
                let file = Int.random(in: 0..<point.files, using: &generator)
                let offset = UInt64.random(in: 0..<blocks, using: &generator) * UInt64(size)
                guard unsafe road.submit(slot: slot, file: file, buffer: buffer, offset: offset)
                else {
                    free.append(slot)
                    break
                }
            }
            if free.count == GrowthRun.depth { break }
            let reaped = road.reap { slot, result in
                free.append(slot)
                done += 1
                if result != size { failure = min(result, -1) }
            }
            if reaped < 0 { throw .system("waiting for I/O", errno: Int32(reaped)) }
        }
        if failure < 0 { throw .system("a read of a sparse file", errno: Int32(failure)) }
        let elapsed = Double(monotonicNanoseconds() - start) / 1e9
        let spent = Double(clinux_process_cpu_nanoseconds() - cpu) / 1000
        return GrowthSample(
            rate: Double(done) / elapsed, cpuMicroseconds: spent / Double(max(done, 1)))
    }
}

private struct RawFiles: ManyFiles, ~Copyable {
    private var ring: Ring
    private var descriptors: [Int32]

    init(_ directory: FilePath, _ names: [String]) throws(BenchError) {
        let opened = try Self.open(directory, names)
        ring = try Self.makeRing()
        descriptors = opened
    }

    private static func makeRing() throws(BenchError) -> Ring {
        do {
            let ring = try Ring(depth: GrowthRun.depth)
            try ring.start()
            return ring
        } catch { throw BenchError("raw: the kernel refuses io_uring: \(error)") }
    }

    private static func open(
        _ directory: FilePath, _ names: [String]
    ) throws(BenchError) -> [Int32] {
        var opened: [Int32] = []
        for name in names {
            let path = directory.appending(name).string
            let raw = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | Descriptor.directFlag)
            guard raw >= 0 else {
                let code = errno
                for descriptor in opened { Glibc.close(descriptor) }
                throw .system("raw: cannot open \(path)", errno: code)
            }
            opened.append(raw)
        }
        return opened
    }

    mutating func close() {
        for descriptor in descriptors { Glibc.close(descriptor) }
        descriptors = []
    }

    mutating func submit(
        slot: Int, file: Int, buffer: UnsafeMutableRawBufferPointer, offset: UInt64
    ) -> Bool {
        unsafe ring.prepare(
            .read(fd: descriptors[file], offset: offset, into: buffer), userData: UInt64(slot))
    }

    mutating func reap(_ body: (Int, Int) -> Void) -> Int {
        let status = ring.submitAndWait(minimum: 1, nanoseconds: 500_000_000)
        if status < 0 && status != -ETIME && status != -EINTR { return Int(status) }
        return ring.reap { body(Int($0.userData), Int($0.result)) }
    }
}

private struct ClientFiles: ManyFiles, ~Copyable {
    private var channel: IOChannel
    private var files: [LocalIOFile]

    init(_ client: LocalIOClient, _ names: [String]) throws(BenchError) {
        let opened = try Self.open(client, names)
        channel = try Self.makeChannel(client)
        files = opened
    }

    private static func makeChannel(_ client: LocalIOClient) throws(BenchError) -> IOChannel {
        do throws(LocalIOError) {
            return try IOChannel(client: client, depth: GrowthRun.depth)
        } catch { throw BenchError("\(error)") }
    }

    private static func open(
        _ client: LocalIOClient, _ names: [String]
    ) throws(BenchError) -> [LocalIOFile] {
        var files: [LocalIOFile] = []
        do throws(LocalIOError) {
            for name in names {
                let file = try client.openBlocking(name, .readOnly)
                // Opens the local file, as the raw road's are by now.
                _ = file.fallbackReason
                files.append(file)
            }
        } catch { throw BenchError("\(error)") }
        return files
    }

    mutating func close() {
        for file in files { do throws(LocalIOError) { try file.closeBlocking() } catch {} }
        files = []
    }

    mutating func submit(
        slot: Int, file: Int, buffer: UnsafeMutableRawBufferPointer, offset: UInt64
    ) -> Bool {
        unsafe channel.submitRead(files[file], into: buffer, at: offset, token: UInt64(slot))
            == .queued
    }

    mutating func reap(_ body: (Int, Int) -> Void) -> Int {
        channel.reap(minimum: 1, timeout: .milliseconds(500)) { body(Int($0), Int($1)) }
    }
}

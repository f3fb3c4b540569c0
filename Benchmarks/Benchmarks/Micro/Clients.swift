// A real client of the embedded server in this process: where an I/O goes, a page found in the
// cache, an inline read of the file itself.
import Benchmark
import Foundation
import LocalIO
import LocalIOServer
import Logging
import NFSClient
import SystemPackage
import Threads

/// A server, a client with a local road, and a file of 1 MiB opened twice over.
private final class Stage: Sendable {
    static let byteCount = 1 << 20
    let directory: URL
    let server: EmbeddedServer
    let client: LocalIOClient
    let direct: LocalIOFile
    let buffered: BufferedFile

    init() throws {
        directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("localio-micro-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: directory, withIntermediateDirectories: true)
        for name in ["direct", "buffered"] {
            try Data(count: Self.byteCount).write(to: directory.appendingPathComponent(name))
        }
        server = EmbeddedServer(ServerConfiguration(directory: directory.path))
        try server.start()
        var configuration = ClientConfiguration()
        configuration.locality = .exportRoot(FilePath(directory.path))
        client = try LocalIOClient.connectBlocking(
            to: try NFSURL(server.url ?? ""), configuration: configuration,
            logger: Logger(label: "micro") { _ in SwiftLogNoOpLogHandler() })
        direct = try client.openBlocking("direct", .readWrite)
        buffered = try client.openBufferedBlocking("buffered", .readWrite)
    }

    /// Nothing is left in the temporary directory, also when the process exits elsewhere.
    func close() {
        try? direct.closeBlocking()
        try? buffered.closeBlocking()
        client.closeBlocking()
        server.stop()
        try? FileManager.default.removeItem(at: directory)
    }
}

/// The stage of the benchmark that runs, from its setup to its teardown.
private final class Current: Sendable {
    let stage = Lock(Stage?.none)
}

private func benchmark(
    _ name: String,
    _ body: @escaping (Benchmark, Stage, UnsafeMutableRawBufferPointer) throws -> Void
) {
    let current = Current()
    Benchmark(plain(name)) { (benchmark: Benchmark, stage: Stage) in
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { page.deallocate() }
        try body(benchmark, stage, page)
    } setup: {
        let stage = try Stage()
        current.stage.withLock { $0 = stage }
        return stage
    } teardown: {
        current.stage.withLock { $0 }?.close()
        current.stage.withLock { $0 = nil }
    }
}

func clientBenchmarks() {
    benchmark("router: the road of an open file") { benchmark, stage, _ in
        var remote = 0
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations where stage.direct.fallbackReason != nil {
            remote += 1
        }
        benchmark.stopMeasurement()
        blackHole(remote)
        precondition(remote == 0, "the file was not local")
    }
    benchmark("page cache: 4k hit") { benchmark, stage, page in
        for offset in stride(from: 0, to: Stage.byteCount, by: 4096) {
            _ = try stage.buffered.readBlocking(into: page, at: UInt64(offset))
        }
        benchmark.startMeasurement()
        for index in benchmark.scaledIterations {
            blackHole(try stage.buffered.readBlocking(into: page, at: UInt64(index % 256) << 12))
        }
        benchmark.stopMeasurement()
    }
    benchmark("page cache: 4k write of a dirty page") { benchmark, stage, page in
        _ = try stage.buffered.writeBlocking(from: UnsafeRawBufferPointer(page), at: 0)
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations {
            blackHole(
                try stage.buffered.writeBlocking(from: UnsafeRawBufferPointer(page), at: 0))
        }
        benchmark.stopMeasurement()
    }
}

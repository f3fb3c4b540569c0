// Where a writeback run happens: server, client, a file system of its own, limits.
internal import Glibc
internal import LocalIO
internal import SystemPackage

/// Everything that has to go when the run is over.
final class WritebackStage {
    let host: BenchReport.Host
    private let plan: WritebackPlan
    private let temporary: TemporaryDirectory?
    private let disk: BlockFixture?
    private var server: (any NFSServerFixture)?
    private var client: LocalIOClient?
    private var memoryLimit: MemoryLimit?
    private let directory: FilePath
    /// Below the export; all files are in it.
    private let folder: String

    init(_ plan: WritebackPlan, folder: String) throws(BenchError) {
        self.plan = plan
        self.folder = folder
        disk = try Self.makeDisk(plan)
        if let given = plan.directory, !Files.isDirectory(given) {
            throw BenchError("--directory \(given): no such directory; give one that exists")
        }
        temporary = disk == nil && plan.directory == nil ? try TemporaryDirectory() : nil
        let place = disk?.path.string ?? plan.directory ?? temporary?.path.string ?? "/"
        directory = FilePath(try Files.resolve(place))
        host = HostFacts.gather(directory: directory, geometry: nil)
        do throws(BenchError) { try start() } catch {
            close()
            throw error
        }
    }

    private static func makeDisk(_ plan: WritebackPlan) throws(BenchError) -> BlockFixture? {
        guard let device = plan.device else { return nil }
        // Room for the files and the file system itself.
        let byteCount = max(plan.fileSize * plan.writers * 5 / 4 + (64 << 20), 512 << 20)
        do throws(BenchError) {
            let slow = plan.deviceLimit.map { BlockFixture.Device.slow(bytesPerSecond: $0) }
            let loop = slow ?? .loop
            switch device {
            case .ext4: return try BlockFixture(.ext4, on: loop, byteCount: byteCount)
            case .xfs: return try BlockFixture(.xfs, on: loop, byteCount: byteCount)
            case .xfsOnZRAM: return try BlockFixture(.xfs, on: .zram, byteCount: byteCount)
            }
        } catch { throw BenchError("--file-system \(device.rawValue): \(error.message)") }
    }

    private func start() throws(BenchError) {
        try Files.makeDirectory(directory.appending(folder).string, mode: 0o777)
        if plan.road != .raw {
            let url: String
            switch plan.server {
            case .url(let given): url = given
            case .embedded:
                let started = try EmbeddedServerProcess(exporting: directory)
                (server, url) = (started, started.url)
            case .ganesha:
                if let reason = GaneshaServer.unavailableReason {
                    throw BenchError("--server ganesha: \(reason)")
                }
                let started = try GaneshaServer(exporting: directory)
                (server, url) = (started, started.url)
            }
            // The server stays outside of the limit: it is not what is measured.
            try limitMemory()
            // Bytes that wait for a COMMIT are kept beside the cache, up to twice this.
            client = try ClientSession.connect(
                url, locality: plan.road == .rpc ? .off : .exportRoot(directory),
                cacheByteCount: plan.cacheByteCount,
                uncommittedByteCount: plan.memoryLimit.map { max($0 / 16, 1 << 20) })
        } else {
            try limitMemory()
        }
    }

    private func limitMemory() throws(BenchError) {
        memoryLimit = try plan.memoryLimit.map { limit throws(BenchError) in
            try MemoryLimit(byteCount: limit)
        }
    }

    var locality: String? { client.map { ClientSession.text($0.locality) } }
    var cache: CacheStatistics? { client?.statistics().cache }
    var groupPeakBytes: Int? { memoryLimit?.peakBytes }
    var fallbacks: [String: Int] {
        guard plan.road == .localio, let client else { return [:] }
        let counts = client.statistics().fallbacks.map { ($0.key.rawValue, Int($0.value)) }
        return Dictionary(uniqueKeysWithValues: counts)
    }

    /// A new file for buffered I/O on the plan's road.
    func open(_ name: String) throws(BenchError) -> any BlockingFile {
        guard let client else {
            return try PlainFile(
                path: directory.appending(folder).appending(name), create: true)
        }
        do throws(LocalIOError) {
            return ExportFile(
                try client.openBufferedBlocking(
                    "\(folder)/\(name)", .readWrite, options: [.create]))
        } catch { throw BenchError("cannot open \(folder)/\(name): \(error)") }
    }

    func close() {
        client?.closeBlocking()
        client = nil
        server?.stop()
        memoryLimit?.remove()
        _ = try? ChildProcess.run("/bin/rm", ["-rf", directory.appending(folder).string])
        disk?.remove()
        temporary?.remove()
    }
}

// The roads of a buffered run: the kernel's page cache on the file itself, and our client's page
// cache over the local road or over RPC.
internal import Glibc
internal import LocalIO
internal import NFSClient
internal import NFSTypes
internal import SystemPackage
internal import Threads

/// The raw road through the kernel's page cache; each job opens the file for itself.
final class PlainSession: RoadSession {
    let road = BenchRoad.raw
    private let path: FilePath
    private let file: PlainFile
    private let fsyncEvery: Int?

    init(path: FilePath, fsyncEvery: Int?) throws(BenchError) {
        self.path = path
        self.fsyncEvery = fsyncEvery
        file = try PlainFile(path: path)
    }

    var fallbacks: [String: Int] { [:] }

    func begin(cold: Bool) throws(BenchError) {
        if cold { file.dropCached() }
    }

    func run(_ job: Job) throws(BenchError) -> JobResult {
        let mine = try PlainFile(path: path)
        defer { _ = mine.close() }
        var driver = BlockingDriver(file: mine, fsyncEvery: fsyncEvery)
        return try job.run(&driver, road: road)
    }

    func commit() throws(BenchError) {
        let status = file.commit()
        guard status == 0 else { throw .system("raw: fsync of \(path)", errno: Int32(status)) }
    }

    func close() { _ = file.close() }
}

/// A client and its page cache; each job opens the file for itself, since read-ahead follows an
/// opener.
final class BufferedSession: ClientRoadSession {
    let road: BenchRoad
    let client: LocalIOClient
    private let name: String
    private let created: String?
    private let fsyncEvery: Int?
    // Keeps the pages between rounds; reopened at each to see what other roads have written.
    private let file: Lock<BufferedFile>

    init(
        road: BenchRoad, url: String, exportRoot: FilePath?, file name: String, create: Bool,
        options: BufferedOptions
    ) throws(BenchError) {
        self.road = road
        self.name = name
        created = create ? name : nil
        fsyncEvery = options.fsyncEvery
        client = try ClientSession.connect(
            url, locality: road == .rpc ? .off : exportRoot.map { .exportRoot($0) } ?? .automatic,
            cacheByteCount: options.cacheByteCount)
        do throws(LocalIOError) {
            file = Lock(
                try client.openBufferedBlocking(
                    name, .readWrite, options: create ? [.create] : [], mode: 0o644))
        } catch {
            client.closeBlocking()
            throw BenchError("\(road.rawValue): cannot open \(name) at \(url): \(error)")
        }
    }

    private func open() throws(BenchError) -> BufferedFile {
        do throws(LocalIOError) {
            return try client.openBufferedBlocking(name, .readWrite)
        } catch { throw BenchError("\(road.rawValue): cannot open \(name): \(error)") }
    }

    private var kept: BufferedFile { file.withLock { $0 } }

    func begin(cold: Bool) throws(BenchError) {
        try finish(kept)
        let reopened = try open()
        file.withLock { $0 = reopened }
        guard cold else { return }
        do throws(LocalIOError) {
            try reopened.dropCached()
        } catch { throw BenchError("\(road.rawValue): \(error)") }
    }

    /// A server that caches attributes would go on telling the old ones, and the client keep pages
    /// that are no longer the file's: new times make NFS-Ganesha look.
    func fileHasChanged() throws(BenchError) {
        let session = client.session
        do throws(RPCError) {
            let found = try session.performBlocking(.lookup(session.root, NFSName(name)))
            _ = try session.performBlocking(
                .setAttributes(
                    found.handle, SetAttributes(modifyTime: .serverTime), guardChangeTime: nil))
        } catch { throw BenchError("\(road.rawValue): cannot touch \(name): \(error)") }
    }

    func run(_ job: Job) throws(BenchError) -> JobResult {
        let mine = try open()
        var driver = BlockingDriver(file: ExportFile(mine), fsyncEvery: fsyncEvery)
        do {
            let result = try job.run(&driver, road: road)
            try finish(mine)
            return result
        } catch {
            _ = ExportFile(mine).close()
            throw error
        }
    }

    private func finish(_ mine: BufferedFile) throws(BenchError) {
        do throws(LocalIOError) {
            try mine.closeBlocking()
        } catch { throw BenchError("\(road.rawValue): close: \(error)") }
    }

    func setSize(_ size: Int) throws(BenchError) {
        do throws(LocalIOError) {
            try kept.truncateBlocking(to: UInt64(size))
        } catch { throw BenchError("\(road.rawValue): \(error)") }
    }

    func commit() throws(BenchError) {
        do throws(LocalIOError) {
            try kept.commitBlocking()
        } catch { throw BenchError("\(road.rawValue): commit: \(error)") }
    }

    func close() {
        // What matters was committed; a server that has gone cannot be told goodbye.
        _ = ExportFile(kept).close()
        disconnect(removing: created)
    }
}

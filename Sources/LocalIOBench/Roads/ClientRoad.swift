// The localio and rpc roads: one LocalIO client each, locality on or off.
internal import DirectIO
internal import Glibc
internal import LocalIO
internal import Logging
internal import NFSClient
internal import NFSTypes
internal import SystemPackage

/// A road that goes through a client of ours.
protocol ClientRoadSession: RoadSession {
    var client: LocalIOClient { get }
    func setSize(_ size: Int) throws(BenchError)
    /// Somebody who is no client has written to the file.
    func fileHasChanged() throws(BenchError)
}

extension ClientRoadSession {
    /// "local (nonce_file)", or "remote: reason".
    var locality: String { ClientSession.text(client.locality) }

    var isLocal: Bool { if case .local = client.locality { true } else { false } }

    var context: BenchReport.Context {
        let engine = client.statistics().engine
        var flusher = "active"
        var reason: String?
        if case .degraded(let why) = engine.context { (flusher, reason) = ("degraded", why) }
        return BenchReport.Context(
            ioFlusher: flusher, ioFlusherReason: reason,
            engine: engine.kind == .threads ? "threads" : "io_uring", locality: locality)
    }

    /// On the rpc road everything goes by RPC because it was asked to: that is no fall-back.
    var fallbacks: [String: Int] {
        guard road != .rpc else { return [:] }
        return client.fallbackCounts
    }

    func fileHasChanged() throws(BenchError) {}

    /// Removes a file that the session itself made, and disconnects.
    func disconnect(removing created: String?) {
        if let created {
            do throws(RPCError) {
                let session = client.session
                _ = try session.performBlocking(.remove(session.root, NFSName(created)))
            } catch {
                BenchCommand.complain("cannot remove \(created) at \(client.url): \(error)")
            }
        }
        client.closeBlocking()
    }
}

/// A connected client with the measured file open; each job gets a channel of its own.
final class ClientSession: ClientRoadSession {
    let road: BenchRoad
    let client: LocalIOClient
    private let file: LocalIOFile
    /// The file's name if this session made it: then it also removes it.
    private let created: String?

    /// - Parameters:
    ///   - exportRoot: the export's directory on this host, if it is known.
    ///   - create: the file is not there yet (a server elsewhere).
    init(
        road: BenchRoad, url: String, exportRoot: FilePath?, file name: String, create: Bool,
        policy: MisalignmentPolicy
    ) throws(BenchError) {
        self.road = road
        created = create ? name : nil
        client = try Self.connect(
            url, locality: road == .rpc ? .off : exportRoot.map { .exportRoot($0) } ?? .automatic,
            policy: policy)
        do throws(LocalIOError) {
            file = try client.openBlocking(
                name, .readWrite, options: create ? [.create] : [], mode: 0o644)
        } catch {
            client.closeBlocking()
            throw BenchError("\(road.rawValue): cannot open \(name) at \(url): \(error)")
        }
        // Opens the local file now, not in a round's time.
        _ = file.fallbackReason
    }

    /// Connects with time-outs after which a dead server is an error rather than a wait.
    static func connect(
        _ url: String, locality: LocalitySetting, policy: MisalignmentPolicy = .local,
        agent: AgentChoice = AgentChoice(), cacheByteCount: Int? = nil,
        uncommittedByteCount: Int? = nil, readsPageCache: Bool = true
    ) throws(BenchError) -> LocalIOClient {
        let parsed: NFSURL
        do throws(NFSURLError) {
            parsed = try NFSURL(url)
        } catch {
            throw BenchError(error.description, kind: .usage)
        }
        var configuration = ClientConfiguration()
        configuration.locality = locality
        configuration.misalignment = policy
        configuration.readsPageCache = readsPageCache
        agent.apply(to: &configuration)
        if let cacheByteCount {
            configuration.cache.byteCount = cacheByteCount
            // Of its I/O only the odd ends of files are bounced.
            configuration.engine.poolByteCount = 4 << 20
        }
        if let uncommittedByteCount { configuration.uncommittedByteCount = uncommittedByteCount }
        configuration.session.recovery = .soft(retries: 1)
        configuration.session.requestTimeout = .seconds(6)
        configuration.session.connectTimeout = .seconds(4)
        do throws(LocalIOError) {
            return try LocalIOClient.connectBlocking(
                to: parsed, configuration: configuration, logger: quietLogger)
        } catch {
            throw BenchError("cannot use \(url): \(error)")
        }
    }

    /// Errors reach the user as the run's one line, not as log lines beside it.
    private static var quietLogger: Logger {
        Logger(label: "localio-bench") { _ in SwiftLogNoOpLogHandler() }
    }

    /// The export's directory on this host if the probe finds and this process may write it.
    static func findExportRoot(_ url: String) throws(BenchError) -> FilePath? {
        let client = try connect(url, locality: .automatic)
        defer { client.closeBlocking() }
        guard case .local = client.locality, let root = client.probeReport.exportRoot,
            unsafe access(root.string, W_OK | X_OK) == 0
        else { return nil }
        return root
    }

    static func text(_ locality: Locality) -> String {
        switch locality {
        case .local(let proof): "local (\(proof.rawValue))"
        case .remote(let reason): "remote: \(reason.explanation)"
        }
    }

    func run(_ job: Job) throws(BenchError) -> JobResult {
        if road == .queue {
            var driver = QueueDriver(file: file, depth: job.point.depth)
            return try job.run(&driver, road: road)
        }
        var driver = try ChannelDriver(client: client, file: file, depth: job.point.depth)
        #if DEBUG
            driver.slowDown(job)
        #endif
        return try job.run(&driver, road: road)
    }

    func setSize(_ size: Int) throws(BenchError) {
        do throws(LocalIOError) {
            try file.truncateBlocking(to: UInt64(size))
        } catch { throw BenchError("\(road.rawValue): \(error)") }
    }

    func commit() throws(BenchError) {
        do throws(LocalIOError) {
            try file.commitBlocking()
        } catch { throw BenchError("\(road.rawValue): commit: \(error)") }
    }

    func close() {
        // What matters was committed; a server that has gone cannot be told goodbye.
        do throws(LocalIOError) { try file.closeBlocking() } catch {}
        disconnect(removing: created)
    }
}

/// A channel and the file it reads and writes.
struct ChannelDriver: RoadDriver, ~Copyable {
    private var channel: IOChannel
    private let file: LocalIOFile
    #if DEBUG
        /// Microseconds that each local I/O is held up: proves that a comparison notices.
        private var delay: UInt32 = 0
    #endif

    init(client: LocalIOClient, file: LocalIOFile, depth: Int) throws(BenchError) {
        self.file = file
        channel = try Self.makeChannel(client, depth: depth)
    }

    #if DEBUG
        /// While measuring only: filling and proving would take minutes.
        mutating func slowDown(_ job: Job) {
            guard file.fallbackReason == nil, !job.extent.isPass else { return }
            delay = UInt32(environment("LOCALIO_BENCH_SLOW_DOWN") ?? "") ?? 0
        }
    #endif

    private static func makeChannel(
        _ client: LocalIOClient, depth: Int
    ) throws(BenchError) -> IOChannel {
        do throws(LocalIOError) {
            return try IOChannel(client: client, depth: depth)
        } catch { throw BenchError("\(error)") }
    }

    mutating func submit(
        slot: Int, isWrite: Bool, buffer: UnsafeMutableRawBufferPointer, offset: UInt64
    ) -> Bool {
        #if DEBUG
            if delay > 0 { usleep(delay) }
        #endif
        let token = UInt64(slot)
        let answer =
            isWrite
            ? unsafe channel.submitWrite(
                file, from: UnsafeRawBufferPointer(buffer), at: offset, token: token)
            : unsafe channel.submitRead(file, into: buffer, at: offset, token: token)
        return answer == .queued
    }

    mutating func reap(timeout: Duration, _ body: (Int, Int) -> Void) -> Int {
        channel.reap(minimum: 1, timeout: timeout) { token, result in
            body(Int(token), Int(result))
        }
    }

    mutating func abandon(inFlight: Int) -> Bool {
        // Calls end by themselves: the session gives a silent server up after its retries.
        for _ in 0..<60 where channel.inFlight > 0 {
            channel.reap(minimum: channel.inFlight, timeout: .milliseconds(500)) { _, _ in }
        }
        return channel.inFlight == 0
    }
}

extension LocalIOClient {
    /// I/Os that did not go the local road, by the reason's name.
    var fallbackCounts: [String: Int] {
        let counts = statistics().fallbacks.map { ($0.key.rawValue, Int($0.value)) }
        return Dictionary(uniqueKeysWithValues: counts)
    }
}

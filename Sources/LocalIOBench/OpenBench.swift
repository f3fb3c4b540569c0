// What opening a file costs: through the client with local I/O, through the client by RPC alone,
// and by open(2); and whether a great many opens leave anything behind.
internal import DirectIO
internal import Glibc
internal import LocalIO
internal import NFSClient
internal import NFSTypes
package import SystemPackage

/// The words of `localio-bench open`.
package struct OpenArguments: Sendable {
    /// embedded, ganesha, or the URL of an export.
    package var server = "embedded"
    /// The export's directory on this host, for open(2); known for private servers.
    package var directory: String?
    /// Opens on each road.
    package var count = 10_000
    /// How the client proves that it is local.
    package var agent = AgentChoice()

    package init() {}
}

/// Where the agent is, where it is not where it usually is.
package struct AgentChoice: Sendable {
    package var socket: String?
    package var programPort: UInt16?

    package init() {}

    func apply(to configuration: inout ClientConfiguration) {
        if let socket { configuration.agentSocket = FilePath(socket) }
        if let programPort { configuration.programPort = programPort }
    }
}

/// One road's opens.
package struct OpenResult: Sendable {
    package var road: String
    /// How the road's files are opened, such as "local (agent)".
    package var locality: String
    /// Microseconds.
    package var openMedian: Double
    package var open99: Double
    package var closeMedian: Double
    /// Open, one read of 4 KiB and close together: by the local road this asks the agent.
    package var readMedian: Double
    /// RPC calls that one open and close made; heartbeats (NULL) belong to no open.
    package var callsPerOpen: Double
    /// Opens, of those with a read, whose I/O goes by RPC.
    package var remoteOpens: Int
    package var before: ProcessUse
    package var after: ProcessUse
}

/// What a process holds at a moment.
package struct ProcessUse: Sendable {
    package var descriptors: Int
    /// Resident bytes.
    package var residentBytes: Int

    package static func now() -> ProcessUse { of("self", countingItself: 1) }

    /// Of another process; nothing once it has gone.
    package static func of(process: Int32) -> ProcessUse { of("\(process)", countingItself: 0) }

    private static func of(_ process: String, countingItself own: Int) -> ProcessUse {
        var count = 0
        if let directory = unsafe opendir("/proc/\(process)/fd") {
            // The directory's own descriptor, "." and ".." are none of the process's.
            while unsafe readdir(directory) != nil { count += 1 }
            count -= 2 + own
            unsafe closedir(directory)
        }
        return ProcessUse(descriptors: count, residentBytes: status("VmRSS:", of: process))
    }

    /// The most that was resident since the start or the last `resetPeak`.
    package static var peakResidentBytes: Int { status("VmHWM:") }

    /// Where the system does not allow it, peaks count from the start.
    package static func resetPeak() {
        do throws(BenchError) { try Files.write("5", to: "/proc/self/clear_refs") } catch {}
    }

    private static func status(_ name: String, of process: String = "self") -> Int {
        let line = Files.text(at: "/proc/\(process)/status")?.split(separator: "\n")
            .first { $0.hasPrefix(name) }
        // "VmRSS:\t  1234 kB"
        let digits = line?.drop { !$0.isNumber }.prefix { $0.isNumber } ?? ""
        return (Int(digits) ?? 0) << 10
    }
}

/// Opens files again and again on three roads.
package struct OpenBench {
    /// Distinct files; more opens than that go round.
    private static let fileLimit = 500
    static let readByteCount = 4096
    private let url: String
    private let directory: FilePath?
    private let count: Int
    private let agent: AgentChoice

    package init(url: String, directory: FilePath?, count: Int, agent: AgentChoice) {
        self.url = url
        self.directory = directory
        self.count = count
        self.agent = agent
    }

    /// The roads in the order open(2), rpc, localio; the first only with a directory.
    package func run() throws(BenchError) -> [OpenResult] {
        let maker = try ClientSession.connect(url, locality: .off)
        defer { maker.closeBlocking() }
        let names = try makeFiles(maker)
        defer { removeFiles(maker, names) }
        var results: [OpenResult] = []
        if let directory { results.append(try rawOpens(directory, names)) }
        results.append(try clientOpens("rpc", .off, names))
        results.append(try clientOpens("localio", .automatic, names))
        return results
    }

    private func makeFiles(_ client: LocalIOClient) throws(BenchError) -> [String] {
        let folder = "localio-bench-" + String(UInt64.random(in: 0...UInt64.max), radix: 16)
        var names: [String] = []
        let block = try Self.makeBlock()
        do {
            _ = try client.session.performBlocking(
                .makeDirectory(client.session.root, NFSName(folder), SetAttributes(mode: 0o755)))
            for number in 0..<min(count, Self.fileLimit) {
                let name = "\(folder)/\(number)"
                names.append(name)
                let file = try client.openBlocking(name, .readWrite, options: [.create])
                _ = try unsafe file.writeBlocking(
                    from: UnsafeRawBufferPointer(block.mutableBytes), at: 0)
                try file.closeBlocking()
            }
            return names
        } catch {
            removeFiles(client, names)
            throw BenchError("cannot make files at \(url): \(error)")
        }
    }

    /// As far as the server lets us.
    private func removeFiles(_ client: LocalIOClient, _ names: [String]) {
        guard let folder = names.first?.split(separator: "/").first.map(String.init) else { return }
        let session = client.session
        guard let found = try? session.performBlocking(.lookup(session.root, NFSName(folder)))
        else { return }
        for name in names {
            guard let last = name.split(separator: "/").last else { continue }
            _ = try? session.performBlocking(.remove(found.handle, NFSName(last)))
        }
        _ = try? session.performBlocking(.removeDirectory(session.root, NFSName(folder)))
    }

    // MARK: - Roads

    private func rawOpens(
        _ directory: FilePath, _ names: [String]
    ) throws(BenchError) -> OpenResult {
        let paths = names.map { directory.appending($0).string }
        let block = try Self.makeBlock()
        return try measure("open(2)", "O_DIRECT") { (index, reads) throws(BenchError) in
            let start = monotonicNanoseconds()
            let path = paths[index % paths.count]
            let descriptor = unsafe open(path, O_RDWR | O_CLOEXEC | Descriptor.directFlag)
            let opened = monotonicNanoseconds()
            guard descriptor >= 0 else { throw .system("cannot open \(path)", errno: errno) }
            defer { close(descriptor) }
            let memory = unsafe block.mutableBytes
            if reads, unsafe pread(descriptor, memory.baseAddress, memory.count, 0) < 0 {
                throw .system("cannot read \(path)", errno: errno)
            }
            return Times(start: start, opened: opened, isRemote: false)
        }
    }

    private func clientOpens(
        _ road: String, _ locality: LocalitySetting, _ names: [String]
    ) throws(BenchError) -> OpenResult {
        let client = try ClientSession.connect(url, locality: locality, agent: agent)
        defer { client.closeBlocking() }
        let block = try Self.makeBlock()
        func one(_ index: Int, reads: Bool) throws(BenchError) -> Times {
            let name = names[index % names.count]
            do throws(LocalIOError) {
                let start = monotonicNanoseconds()
                let file = try client.openBlocking(name, .readWrite)
                var times = Times(start: start, opened: monotonicNanoseconds(), isRemote: false)
                if reads {
                    _ = try unsafe file.readBlocking(into: block.mutableBytes, at: 0)
                    times.isRemote = file.fallbackReason != nil
                }
                try file.closeBlocking()
                return times
            } catch {
                throw BenchError("\(road): cannot open \(name): \(error)")
            }
        }
        // What is made once, at the first opens, is not what an open leaves behind.
        for index in 0..<min(names.count, 100) { _ = try one(index, reads: true) }
        let before = client.session.statistics
        var after = before
        var result = try measure(road, ClientSession.text(client.locality), one) {
            after = client.session.statistics
        }
        let calls = (after.calls - after.nullCalls) - (before.calls - before.nullCalls)
        result.callsPerOpen = Double(calls) / Double(count)
        return result
    }

    private struct Times {
        var start: UInt64
        var opened: UInt64
        var isRemote: Bool
    }

    private static func makeBlock() throws(BenchError) -> AlignedBuffer {
        guard let block = AlignedBuffer(byteCount: readByteCount) else {
            throw BenchError("no memory for a block of \(readByteCount) bytes")
        }
        return block
    }

    /// Opens and closes `count` times, then as often with a read between.
    ///
    /// - Parameter afterOpens: called between the two.
    private func measure(
        _ road: String, _ locality: String,
        _ body: (_ index: Int, _ reads: Bool) throws(BenchError) -> Times,
        afterOpens: () -> Void = {}
    ) throws(BenchError) -> OpenResult {
        var opens: [UInt64] = []
        var closes: [UInt64] = []
        opens.reserveCapacity(count)
        closes.reserveCapacity(count)
        let before = ProcessUse.now()
        for index in 0..<count {
            try StopFlag.check()
            let times = try body(index, false)
            closes.append(monotonicNanoseconds() - times.opened)
            opens.append(times.opened - times.start)
        }
        afterOpens()
        var wholes: [UInt64] = []
        var remote = 0
        for index in 0..<count {
            try StopFlag.check()
            let times = try body(index, true)
            wholes.append(monotonicNanoseconds() - times.start)
            if times.isRemote { remote += 1 }
        }
        let after = ProcessUse.now()
        return OpenResult(
            road: road, locality: locality, openMedian: Self.microseconds(opens, 0.5),
            open99: Self.microseconds(opens, 0.99), closeMedian: Self.microseconds(closes, 0.5),
            readMedian: Self.microseconds(wholes, 0.5), callsPerOpen: 0, remoteOpens: remote,
            before: before, after: after)
    }

    private static func microseconds(_ values: [UInt64], _ quantile: Double) -> Double {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return 0 }
        let index = min(Int(Double(sorted.count) * quantile), sorted.count - 1)
        return Double(sorted[index]) / 1000
    }
}

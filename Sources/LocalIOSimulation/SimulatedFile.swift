// A file as the product's transfers and commits see it, over simulated storage.
internal import DirectIO
internal import Glibc
internal import LocalIO
internal import Logging
internal import NFSClient
internal import NFSTypes
internal import Threads

/// One inode and this client's only open of it. Touched with the baton held.
@safe
final class SimulatedFile: TransferFile, @unchecked Sendable {
    let number: Int
    let host: SimulatedHost
    let storage: SimulatedStorage
    package let state: FileState
    package let budget: UncommittedBudget
    package let logger: Logger
    package let misalignment: MisalignmentPolicy
    /// The planted bug: RPC and buffered segments take their pages as direct I/O does.
    package let sharesPages: Bool
    /// The size the server remembers, if it caches attributes.
    var serverSize = 0
    private var road: Route = .remote(.leaseRevoked)
    /// Whether memory of a write must not change until it has ended.
    var isStable = true
    static let direct: Int32 = -2
    static let buffered: Int32 = -3

    init(
        number: Int, capacity: Int, host: SimulatedHost, budget: UncommittedBudget,
        sharesPages: Bool, logger: Logger
    ) {
        self.number = number
        self.host = host
        self.budget = budget
        self.sharesPages = sharesPages
        self.logger = logger
        storage = SimulatedStorage(capacity: capacity)
        misalignment =
            switch host.faults.policy {
            case .rpc: .rpc
            case .split: .split
            case .local: .local
            }
        let handle = FileHandle([1, 2, 3, UInt8(truncatingIfNeeded: number)])
        precondition(handle != nil, "four bytes are a handle")
        state = unsafe FileState(handle: handle.unsafelyUnwrapped, budget: budget)
        if host.isLocal { openLocally() }
    }

    package var path: String { "file \(number)" }
    package var access: AccessMode { .readWrite }
    package func route() -> Route { road }
    package func setRoute(_ route: Route) { road = route }

    func openLocally() {
        let block = host.faults.block
        let geometry = DirectGeometry(memoryAlignment: 512, offsetAlignment: block)
        road = .local(
            LocalFile(simulated: geometry, direct: Self.direct, buffered: Self.buffered))
    }

    // MARK: - The local road

    package var bouncePool: BufferPool? { host.bouncePool }
    package var usesDontCache: Bool { false }
    package func dontCacheIsRefused() {}

    package func enqueue(_ operation: IOOperation, _ completion: IOCompletion) -> Bool {
        guard host.queued < host.faults.queueCapacity else {
            host.scheduler.note("queue full", number)
            host.troubles += 1
            return false
        }
        host.queued += 1
        LocalOperation(file: self, operation, completion).start()
        return true
    }

    package func syncLocal(_ local: LocalFile) -> Int64 {
        let scheduler = host.scheduler
        scheduler.note("fdatasync", number)
        scheduler.sleep(host.delay())
        let sync = storage.syncBegins()
        scheduler.sleep(host.delay())
        if host.happens(host.faults.syncError) {
            scheduler.note("fdatasync fails", number)
            return -Int64(EIO)
        }
        storage.syncEnds(sync)
        scheduler.note("fdatasync done", number)
        return 0
    }

    package func localAttributes(_ local: LocalFile) -> FileAttributes? {
        attributes(size: storage.size)
    }

    private func attributes(size: Int) -> FileAttributes {
        let time = FileTime(seconds: storage.changes, nanoseconds: 0)
        return FileAttributes(
            type: .regular, mode: 0o644, linkCount: 1, uid: 0, gid: 0, size: UInt64(size),
            used: UInt64(size), deviceMajor: 0, deviceMinor: 0, fileSystemID: 1,
            fileID: UInt64(number), accessTime: time, modifyTime: time, changeTime: time)
    }

    // MARK: - The RPC road

    package func readRemote(
        offset: UInt64, into target: UnsafeMutableRawBufferPointer,
        completion: @escaping @Sendable (Result<ReadReply, RPCError>) -> Void
    ) {
        guard let address = target.baseAddress else { return }
        RemoteCall(file: self, name: "READ") { [self] in
            let start = Int(offset)
            var count = unsafe storage.readCached(address, start, target.count)
            if host.faults.serverCachesSize { count = max(0, min(count, serverSize - start)) }
            host.scheduler.note("READ", number, start, count)
            return .success(
                ReadReply(byteCount: count, isEndOfFile: count < target.count, attributes: nil))
        } completion: {
            completion($0)
        }.start()
    }

    package func writeRemote(
        offset: UInt64, from source: UnsafeRawBufferPointer, stable: StableHow,
        completion: @escaping @Sendable (Result<WriteReply, RPCError>) -> Void
    ) {
        guard let address = source.baseAddress else { return }
        let start = Int(offset)
        // The session sends what is larger than the server takes in parts.
        let first = source.count > 8192 && host.scheduler.oneIn(2) ? 4096 : source.count
        let parts = first < source.count ? [0..<first, first..<source.count] : [0..<first]
        let collector = PartsOfWrite(count: parts.count, completion: completion)
        for part in parts {
            RemoteCall(file: self, name: "WRITE") { [self] in
                unsafe executeWrite(
                    address + part.lowerBound, start + part.lowerBound, part.count, stable)
            } completion: {
                collector.ended($0)
            }.start()
        }
    }

    private func executeWrite(
        _ address: UnsafeRawPointer, _ start: Int, _ byteCount: Int, _ stable: StableHow
    ) -> Result<WriteReply, RPCError> {
        let isExtending = start + byteCount > storage.size
        if host.isFull && (isExtending || host.scheduler.oneIn(2))
            || host.happens(host.faults.rpcNoSpace)
        {
            host.scheduler.note("WRITE finds no space", number, start, byteCount)
            host.troubles += 1
            return .failure(RPCError(.status(.noSpace), server: "simulated"))
        }
        unsafe storage.writeCached(address, start, byteCount, local: false)
        serverSize = max(serverSize, start + byteCount)
        let isStable = stable != .unstable || host.faults.serverIsStable
        if isStable { storage.syncRange(start, byteCount) }
        host.scheduler.note("WRITE", start, byteCount, isStable ? 1 : 0)
        return .success(
            WriteReply(
                byteCount: byteCount, committed: isStable ? .fileSync : .unstable,
                verifier: WriteVerifier(rawValue: host.verifier), attributes: nil))
    }

    package func touchRemote(completion: @escaping @Sendable (Result<Void, RPCError>) -> Void) {
        RemoteCall(file: self, name: "SETATTR") { [self] in
            serverSize = storage.size
            return .success(())
        } completion: {
            completion($0)
        }.start()
    }

    package func commitRemote() throws(RPCError) -> CommitReply {
        try wait("COMMIT") { [self] in
            let sync = storage.syncBegins()
            serverSize = storage.size
            if host.happens(host.faults.syncError) {
                return .failure(RPCError(.status(.ioError), server: "simulated"))
            }
            storage.syncEnds(sync)
            host.scheduler.note("COMMIT", number)
            return .success(
                CommitReply(verifier: WriteVerifier(rawValue: host.verifier), attributes: nil))
        }
    }

    package func remoteAttributes() throws(RPCError) -> FileAttributes {
        try wait("GETATTR") { [self] in
            .success(
                attributes(size: host.faults.serverCachesSize ? serverSize : storage.size))
        }
    }

    package func setRemoteAttributes(_ attributes: SetAttributes) throws(RPCError) {
        _ = try wait("SETATTR", mayBeLost: attributes.size == nil) {
            [self] () -> Result<Bool, RPCError> in
            if let size = attributes.size {
                host.scheduler.note("SETATTR size", number, Int(size))
                storage.setSize(Int(size))
            }
            serverSize = storage.size
            return .success(true)
        }
    }

    private func wait<Reply: Sendable>(
        _ name: StaticString, mayBeLost: Bool = true,
        _ execute: @escaping () -> Result<Reply, RPCError>
    ) throws(RPCError) -> Reply {
        let box = Answer<Reply, RPCError>()
        RemoteCall(file: self, name: name, execute: execute) { box.set($0) }
            .start(mayBeLost: mayBeLost)
        return try box.wait()
    }

    // MARK: - Bookkeeping

    package func fallBack(_ reason: FallbackReason) {
        host.scheduler.note("falls back", number, Int(reason.rawValue.utf8.count))
    }
    package func record(_ road: Statistics.Road, byteCount: Int, started: UInt64) {}
    package func countResentWrite() { host.scheduler.note("re-sent", number) }
    package func runControlWork(_ work: @escaping @Sendable () -> Void) -> Bool {
        host.runWork(work)
    }
    package func runCommitWork(_ work: @escaping @Sendable () -> Void) -> Bool {
        host.runWork(work)
    }
}

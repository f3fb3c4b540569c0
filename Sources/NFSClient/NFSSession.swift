// A mounted export: the connections to its server and what is known about it.
internal import CNFS
internal import Logging
public import NFSTypes
internal import Synchronization
internal import Threads

/// A session with one export of one NFSv3 server.
///
/// Any thread and any task may use it. Completions run on the connection's thread: they must
/// not block, and they must not call `closeBlocking`. Close a session when it is not needed any
/// more; dropping it ends its connections too, but tells the server nothing.
public final class NFSSession: Sendable {
    public let url: NFSURL
    /// The export's root directory.
    public let root: FileHandle
    /// The server's limits.
    public let info: FileSystemInfo
    /// The server's numeric address.
    public let serverAddress: String
    /// The port NFS is served at.
    public let nfsPort: UInt16
    /// The port MOUNT is served at.
    public let mountPort: UInt16
    public let configuration: SessionConfiguration

    let connections: [Connection]
    let observer: ObserverBox
    let server: String
    private let nextNumber = Atomic<UInt64>(1)

    /// The most bytes one READ and one WRITE carry: the server's limits, and libnfs's own,
    /// which drops the connection on a reply longer than 1 MiB and a header.
    public let readByteCountLimit: Int
    public let writeByteCountLimit: Int

    init(mount: Mount, url: NFSURL, configuration: SessionConfiguration, logger: Logger)
        throws(RPCError)
    {
        self.url = url
        self.configuration = configuration
        root = mount.root
        info = mount.info
        serverAddress = mount.address
        nfsPort = mount.nfsPort
        mountPort = mount.mountPort
        readByteCountLimit = Self.bounded(mount.info.readLimit)
        writeByteCountLimit = Self.bounded(mount.info.writeLimit)
        server = "\(url.host):\(mount.nfsPort)"
        observer = ObserverBox()
        let target = ConnectionTarget(
            address: mount.address, port: mount.nfsPort, server: server,
            configuration: configuration)
        var connections: [Connection] = []
        for index in 0..<max(1, configuration.connections) {
            guard
                let connection = Connection(
                    index: index, target: target, observer: observer, logger: logger)
            else {
                for connection in connections { connection.close(waiting: true) }
                throw RPCError(
                    .unreachable("this process has no thread or descriptor left"),
                    server: server)
            }
            connections.append(connection)
        }
        self.connections = connections
    }

    deinit {
        // The last reference may go with a completion, on a thread that cannot wait for itself.
        let mayWait = !ConnectionOfThread.isConnection
        for connection in connections { connection.close(waiting: mayWait) }
    }

    private static func bounded(_ limit: UInt32) -> Int {
        let libraryLimit = 1 << 20
        return limit == 0 ? 32_768 : min(Int(limit), libraryLimit)
    }

    // MARK: - State

    /// At least one connection stands.
    public var isConnected: Bool { connections.contains { $0.statistics.isConnected } }

    /// Which of the connections stand, by their numbers.
    var connectionStates: [Bool] { connections.map(\.statistics.isConnected) }

    /// What the session did so far.
    public var statistics: SessionStatistics {
        var sum = SessionStatistics()
        for connection in connections { connection.statistics.add(to: &sum) }
        return sum
    }

    /// Sets who hears about lost and restored connections; nil for nobody. The observer runs on
    /// a connection's thread and must not block.
    public func setConnectionObserver(_ observer: (@Sendable (ConnectionEvent) -> Void)?) {
        self.observer.set(observer)
    }

    // MARK: - Choosing and naming

    /// The connection with the least to do, the first of equals; those that stand come first.
    func leastLoaded() -> Int {
        var best = 0
        var bestCount = Int.max
        for index in connections.indices {
            let statistics = connections[index].statistics
            // A broken connection may come back later than the others: only if all are broken
            // is it as good as any.
            let penalty = statistics.isConnected ? 0 : Int.max / 2
            let count = statistics.pendingCount + penalty
            if count == 0 { return index }
            if count < bestCount {
                best = index
                bestCount = count
            }
        }
        return best
    }

    func makeID(connection index: Int) -> RequestID {
        RequestID(
            number: nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue,
            connectionIndex: index)
    }

    /// Ends a request with `.cancelled`, unless it has ended already. Its completion is called
    /// once either way, and its memory is not touched after that. The server may still carry the
    /// call out.
    public func cancel(_ request: RequestID) {
        guard connections.indices.contains(request.connectionIndex) else { return }
        connections[request.connectionIndex].cancel(number: request.number)
    }
}

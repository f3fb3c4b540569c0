// How a session connects, waits, retries and bounds its memory.
internal import Glibc
public import NFSTypes

/// How a session behaves; the defaults are a hard mount with two connections.
public struct SessionConfiguration: Hashable, Sendable {
    /// What happens to calls while the server does not answer.
    public enum Recovery: Hashable, Sendable {
        /// Waits for the server for as long as it takes.
        case hard
        /// Fails a call after it was tried this many times more.
        case soft(retries: Int)
    }

    /// TCP connections, each with its own thread; at least 1.
    public var connections: Int
    /// How long one transmission of a call may go unanswered before the connection is taken
    /// for dead and the call is sent again on a new one. A call that must not be sent twice
    /// then fails with `.connectionLost(mayHaveExecuted: true)`, with hard recovery too.
    public var requestTimeout: Duration
    /// How long making one connection may take.
    public var connectTimeout: Duration
    public var recovery: Recovery
    /// The wait before the first reconnection; doubled for each further one.
    public var reconnectDelay: Duration
    /// The longest wait between two reconnections.
    public var reconnectDelayLimit: Duration
    /// The wait before a call that was answered NFS3ERR_JUKEBOX is sent again.
    public var jukeboxDelay: Duration
    /// Calls on the wire per connection; those beyond wait in the connection's queue.
    public var inFlightLimit: Int
    /// Calls per connection, on the wire and waiting; those beyond fail with `.busy`.
    public var pendingLimit: Int
    /// Who makes the calls, where a call does not say otherwise.
    public var credentials: Credentials

    public init(
        connections: Int = 2, requestTimeout: Duration = .seconds(60),
        connectTimeout: Duration = .seconds(10), recovery: Recovery = .hard,
        reconnectDelay: Duration = .milliseconds(20), reconnectDelayLimit: Duration = .seconds(5),
        jukeboxDelay: Duration = .milliseconds(500), inFlightLimit: Int = 128,
        pendingLimit: Int = 4096, credentials: Credentials = .ofProcess
    ) {
        self.connections = connections
        self.requestTimeout = requestTimeout
        self.connectTimeout = connectTimeout
        self.recovery = recovery
        self.reconnectDelay = reconnectDelay
        self.reconnectDelayLimit = reconnectDelayLimit
        self.jukeboxDelay = jukeboxDelay
        self.inFlightLimit = inFlightLimit
        self.pendingLimit = pendingLimit
        self.credentials = credentials
    }
}

extension Credentials {
    /// The effective ids and the supplementary groups of this process.
    public static var ofProcess: Credentials {
        let count = getgroups(0, nil)
        var groups = [gid_t](repeating: 0, count: max(0, Int(count)))
        let filled = unsafe getgroups(Int32(groups.count), &groups)
        return Credentials(
            uid: geteuid(), gid: getegid(), groups: Array(groups.prefix(max(0, Int(filled)))))
    }
}

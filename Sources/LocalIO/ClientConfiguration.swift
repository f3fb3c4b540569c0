// What a program may choose about a client, with the defaults that suit most.
public import DirectIO
internal import Glibc
public import NFSClient
public import SystemPackage

/// Who may prove that the server is on this host and open its files.
public enum LocalitySetting: Sendable, Hashable {
    /// The agent; without one this process itself, in the directory of the server's export list.
    case automatic
    /// The agent; else this process itself, in this directory. Still proved before it is used.
    case exportRoot(FilePath)
    /// The agent alone.
    case agent
    /// Nowhere: everything travels as RPC.
    case off
}

/// The local road's engine: its workers, their depth, its buffers.
public struct EngineConfiguration: Sendable, Hashable {
    /// What the engine runs on.
    public enum Backend: Sendable, Hashable {
        /// io_uring, or threads where the kernel refuses it (io_uring_disabled, seccomp).
        case automatic
        case threads
    }

    public var backend = Backend.automatic
    /// Threads of the submission queue, each with a ring of its own.
    public var workers = 2
    /// I/Os in flight per worker.
    public var depth = 64
    /// I/Os that may wait for a worker.
    public var queueCapacity = 1024
    /// Locked memory for bounce buffers of misaligned I/O, in bytes; at least 4 MiB, which is
    /// enough where all files are buffered, or 0 for none.
    public var poolByteCount = 16 << 20

    public init() {}
}

/// How a client works.
public struct ClientConfiguration: Sendable {
    /// Where to look for the export's directory.
    public var locality: LocalitySetting = .automatic
    /// The agent's Unix socket; nil to ask no agent.
    public var agentSocket: FilePath? = Self.defaultAgentSocket
    /// The TCP port of the LOCALIO program at the server's host; nil: what rpcbind there says,
    /// else 20122, else the port of NFS itself (where the embedded server answers).
    public var programPort: UInt16?
    /// How long the agent, and the LOCALIO program, may take for one answer.
    public var agentTimeout: Duration = .seconds(3)
    /// What becomes of an I/O that direct I/O cannot take as it is. The default is what the
    /// measurements say (see the article Performance).
    public var misalignment: MisalignmentPolicy = .local
    /// Whether local reads look for what this host's kernel has in its page cache, where the
    /// server put it, before they go to the disk. Nothing is brought into the page cache.
    public var readsPageCache = true
    /// Whether misaligned local reads of which each begins where another ended go through this
    /// host's page cache, as the server would read them: the kernel reads ahead, and neighbours
    /// share the block in which they meet. Only with the policy `.local`; aligned reads and
    /// misaligned ones here and there never do.
    public var readsAhead = true
    /// Connections, time-outs, recovery and credentials of the RPC road.
    public var session = SessionConfiguration()
    /// Workers, depth and buffers of the local road's engine.
    public var engine = EngineConfiguration()
    /// The page cache of buffered files.
    public var cache = CacheConfiguration()
    /// UNSTABLE RPC writes are kept until their COMMIT; past this many bytes a COMMIT is sent in
    /// the background, past twice as many RPC writes go FILE_SYNC.
    public var uncommittedByteCount = 64 << 20
    /// How often the server is asked whether it still answers, while local I/O is on.
    public var heartbeatInterval: Duration = .seconds(1)
    /// Without an answer for this long, local I/O stops until the server is back.
    public var heartbeatTimeout: Duration = .seconds(5)
    /// The first and the longest wait between two probes after local I/O was lost.
    public var probeBackoff: ClosedRange<Duration> = .milliseconds(50) ... .seconds(2)
    /// The longest wait between two probes of a client that was never local, while an agent is
    /// there and does not prove it: the server may be elsewhere for good.
    public var unprovedProbeInterval: Duration = .seconds(30)
    /// Threads for open, close, truncate and the like on behalf of async callers.
    public var controlThreads = 4

    public init() {}

    /// LOCALIO_SOCKET, else /run/localio/agent.sock.
    public static var defaultAgentSocket: FilePath {
        if let value = unsafe getenv("LOCALIO_SOCKET") {
            let text = unsafe String(cString: value)
            if !text.isEmpty { return FilePath(text) }
        }
        return "/run/localio/agent.sock"
    }
}

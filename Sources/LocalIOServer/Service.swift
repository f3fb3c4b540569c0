// What the workers of one server share.
internal import CLinux
internal import Glibc
internal import Logging
internal import NFSTypes
internal import Synchronization
internal import Threads

/// One running server's shared state. Any thread.
final class Service: Sendable {
    let configuration: ServerConfiguration
    let export: Export
    let index: InodeIndex
    let openFiles: OpenFiles
    let faults: FaultInjector
    let held: HeldWrites?
    let inodeLocks = InodeLocks()
    let mounts = MountList()
    let queue = RequestQueue()
    /// What an agent in this process waits for; nil without one.
    let nonces: NonceTable?
    private let bootVerifier: Atomic<UInt64>

    init(configuration: ServerConfiguration, export: Export, nonces: NonceTable? = nil) {
        self.nonces = nonces
        self.configuration = configuration
        self.export = export
        index = InodeIndex(export: export, limit: configuration.limits.indexedNames)
        openFiles = OpenFiles(limit: configuration.limits.openFiles)
        faults = FaultInjector(configuration.faults)
        held = configuration.faults.holdUncommitted ? HeldWrites() : nil
        bootVerifier = Atomic(UInt64.random(in: 1...UInt64.max))
    }

    /// The write verifier: another one each time a server starts.
    var verifier: UInt64 { bootVerifier.load(ordering: .acquiring) }

    /// After a failed fsync the kernel may have dropped what others wrote and not committed:
    /// with another verifier every client sends its uncommitted writes again.
    func changeVerifier() {
        bootVerifier.store(UInt64.random(in: 1...UInt64.max), ordering: .releasing)
    }

    var logger: Logger { configuration.logger }
}

/// Locks for steps that must see a file's attributes before and after and nothing between
/// (wcc_data, SETATTR's guard). An inode shares its lock with others.
final class InodeLocks: Sendable {
    private final class Stripe: Sendable {
        let lock = Lock(())
    }

    private let stripes = (0..<64).map { _ in Stripe() }

    /// Runs `body` with the inode's lock held, also while it waits for the disk: other changes
    /// of the same file would wait in the kernel anyway.
    func withLock<Result: ~Copyable>(
        _ inode: UInt64, _ body: () throws(Refusal) -> Result
    ) throws(Refusal) -> Result {
        try stripes[Int(inode % 64)].lock.withLock { (_) throws(Refusal) in try body() }
    }

    /// The same for two inodes, in one order for all.
    func withLocks(
        _ one: UInt64, _ other: UInt64, _ body: () throws(Refusal) -> Void
    ) throws(Refusal) {
        let (low, high) = (min(one % 64, other % 64), max(one % 64, other % 64))
        if low == high { return try withLock(low, body) }
        try withLock(low) { () throws(Refusal) in try withLock(high, body) }
    }
}

/// Who mounted what, for DUMP; bounded, the oldest forgotten first (RFC 1813, appendix I).
final class MountList: Sendable {
    struct Mount: Hashable, Sendable {
        var host: String
        var path: String
    }

    static let limit = 256
    private let mounts = Lock([Mount]())

    func add(_ mount: Mount) {
        mounts.withLock { mounts in
            if mounts.contains(mount) { return }
            if mounts.count >= Self.limit { mounts.removeFirst() }
            mounts.append(mount)
        }
    }

    /// Forgets one path of a host, or all of them.
    func remove(host: String, path: String?) {
        mounts.withLock { mounts in
            mounts.removeAll { $0.host == host && (path == nil || $0.path == path) }
        }
    }

    var all: [Mount] { mounts.withLock { $0 } }
}

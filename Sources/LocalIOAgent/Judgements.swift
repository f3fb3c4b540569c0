// What the server has just granted, kept while the file's own change time says that nobody has
// changed who may.
internal import AgentProtocol
internal import CLinux
internal import Glibc
internal import NFSTypes
internal import Threads

/// Grants of one export's server, for opens of the same file by the same user in short order.
///
/// What ACCESS answers follows from the file's owner, group, mode and ACL and from the server's
/// settings. Each change of the former moves the inode's change time, which the agent reads here
/// at every open; the latter are looked at again after `lifetime`, as they are for files that
/// are open. So a grant holds while both say the same as when it was given. Denials are never
/// kept. Any thread.
final class Judgements: Sendable {
    /// Who asked for what.
    struct Question: Hashable {
        var handle: FileHandle
        var access: AgentAccess
        var peer: Credentials
    }

    private struct Grant {
        var attributes: FileAttributes
        var epoch: UInt64
        var until: ContinuousClock.Instant
    }

    private static let limit = 4096

    private let grants = Lock<[Question: Grant]>([:])
    private let lifetime: Duration

    init(lifetime: Duration) { self.lifetime = lifetime }

    /// What the server said, if that is young enough. It holds if `isSame` still says so.
    ///
    /// - Parameter epoch: of the export: what was granted before a revocation counts no more.
    func attributes(_ question: Question, epoch: UInt64) -> FileAttributes? {
        let grant = grants.withLock { $0[question] }
        guard let grant, grant.epoch == epoch, ContinuousClock.now < grant.until else {
            return nil
        }
        return grant.attributes
    }

    /// Keeps what the server granted on `attributes`, if that is still the inode's state.
    ///
    /// - Parameter status: of the inode, read after the server's answer.
    func keep(
        _ question: Question, _ attributes: FileAttributes, epoch: UInt64, status: clinux_stat
    ) {
        // The server may have judged by what it remembers, and a change within the clock's tick
        // of the last one leaves the time as it was: only what has rested is kept.
        guard Self.isSame(attributes, status), status.change_seconds < Int64(time(nil)) - 1 else {
            return
        }
        let now = ContinuousClock.now
        let grant = Grant(attributes: attributes, epoch: epoch, until: now + lifetime)
        grants.withLock { grants in
            if grants.count >= Self.limit {
                grants = grants.filter { $0.value.until > now && $0.value.epoch == epoch }
                if grants.count >= Self.limit { grants.removeAll() }
            }
            grants[question] = grant
        }
    }

    func forget(_ question: Question) { grants.withLock { $0[question] = nil } }

    /// Whether the inode of `status` is the one of `attributes`, and nobody has changed who may.
    static func isSame(_ attributes: FileAttributes, _ status: clinux_stat) -> Bool {
        attributes.fileID == status.inode
            && attributes.changeTime.isSame(status.change_seconds, status.change_nanoseconds)
            && attributes.uid == status.uid && attributes.gid == status.gid
            && attributes.mode == status.mode & 0o7777
    }
}

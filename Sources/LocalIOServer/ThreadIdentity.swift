// Whose rights a worker uses for files: the caller's where the server may, its own otherwise.
internal import CLinux
internal import CLocalIORPC
internal import Glibc
internal import NFSTypes

/// Who a call comes from: AUTH_SYS ids, or nobody for AUTH_NONE.
struct Caller {
    var uid: UInt32
    var gid: UInt32
    var groups: [UInt32]

    static let nobodyID: UInt32 = 65534
    static let nobody = Caller(uid: nobodyID, gid: nobodyID, groups: [])
    static let root = Caller(uid: 0, gid: 0, groups: [])
}

/// The file-system ids of one worker thread; used on that thread only.
///
/// The ids are changed when the next step needs others and not after each call: a client's calls
/// come in runs, and a change costs five system calls. Every step that needs the server's own
/// rights asks for them.
final class ThreadIdentity {
    /// False for an unprivileged server: everything is done as its own user.
    let honoursCredentials: Bool
    private var current = Caller.root

    init(honoursCredentials: Bool) { self.honoursCredentials = honoursCredentials }

    /// Takes the server's own ids.
    func becomeServer() throws(Refusal) { try become(.root) }

    /// Takes the caller's ids.
    func become(_ caller: borrowing Caller) throws(Refusal) {
        guard honoursCredentials else { return }
        if current.uid == caller.uid, current.gid == caller.gid, current.groups == caller.groups {
            return
        }
        let count = Int32(caller.groups.count)
        let answer = unsafe clinux_set_thread_filesystem_ids(
            caller.uid, caller.gid, caller.groups, count)
        if answer == 0 {
            current = copy caller
            return
        }
        // Half changed is worse than not: without its own ids back the worker refuses all.
        if clinux_set_thread_filesystem_ids(0, 0, nil, 0) == 0 { current = .root }
        throw Refusal(.accessDenied)
    }

    /// The uid that owns what the caller makes.
    func effectiveUser(_ caller: borrowing Caller) -> UInt32 {
        honoursCredentials ? caller.uid : geteuid()
    }
}

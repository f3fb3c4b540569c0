// Counts calls and bytes and says when a configured fault is due.
internal import CLinux
internal import Glibc
internal import NFSTypes
internal import Synchronization

/// The faults of one running server. Any thread.
final class FaultInjector: Sendable {
    let faults: ServerFaults
    private let calls = Atomic<Int>(0)
    private let fileCalls = Atomic<Int>(0)
    private let listings = Atomic<Int>(0)
    private let writtenBytes = Atomic<UInt64>(0)

    init(_ faults: ServerFaults) { self.faults = faults }

    /// Counts a call; true if its connection is to be dropped in place of the reply.
    func dropsConnection() -> Bool {
        guard faults.dropConnectionEvery > 0 else { return false }
        let count = calls.add(1, ordering: .relaxed).newValue
        return count % faults.dropConnectionEvery == 0
    }

    /// Counts an NFS call; true if it is to be answered "later".
    func answersJukebox() -> Bool {
        guard faults.jukeboxEvery > 0 else { return false }
        let count = fileCalls.add(1, ordering: .relaxed).newValue
        return count % faults.jukeboxEvery == 0
    }

    /// Counts a listing; true if a name is said to have gone during it.
    func losesName() -> Bool {
        guard faults.lostNameEvery > 0 else { return false }
        let count = listings.add(1, ordering: .relaxed).newValue
        return count % faults.lostNameEvery == 0
    }

    /// How much of a READ is answered.
    func readByteCount(_ asked: Int) -> Int {
        faults.readByteLimit > 0 ? min(asked, faults.readByteLimit) : asked
    }

    /// How much of a WRITE is taken; throws when the imagined disk is full.
    func writeByteCount(_ asked: Int) throws(Refusal) -> Int {
        var byteCount = faults.writeByteLimit > 0 ? min(asked, faults.writeByteLimit) : asked
        guard let room = faults.noSpaceAfterBytes, asked > 0 else { return byteCount }
        let before = writtenBytes.load(ordering: .relaxed)
        if before >= room { throw Refusal(.noSpace) }
        byteCount = min(byteCount, Int(clamping: room - before))
        writtenBytes.add(UInt64(byteCount), ordering: .relaxed)
        return byteCount
    }

    /// Sleeps for the configured delay of a reply.
    func delayReply() {
        let (seconds, attoseconds) = faults.replyDelay.components
        guard seconds > 0 || attoseconds > 0 else { return }
        var wanted = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
        var left = wanted
        while unsafe nanosleep(&wanted, &left) != 0, errno == EINTR { wanted = left }
    }
}

// The regular files that READ, WRITE and COMMIT keep open between calls, bounded.
internal import CLinux
internal import Glibc
internal import NFSTypes
internal import Threads

/// One open regular file; closed when the cache and the last call let go of it. Who uses the
/// number extends this object's lifetime over the use.
final class OpenFile: Sendable {
    let descriptor: Int32
    let canRead: Bool
    let canWrite: Bool
    /// Opened by the creating call with a mode under which its owner could not open it again.
    let isIrreplaceable: Bool

    init(
        _ descriptor: consuming Descriptor, canRead: Bool, canWrite: Bool,
        isIrreplaceable: Bool = false
    ) {
        self.descriptor = descriptor.take()
        self.canRead = canRead
        self.canWrite = canWrite
        self.isIrreplaceable = isIrreplaceable
    }

    deinit { close(descriptor) }
}

/// What a call does with an open file.
enum FileUse {
    case reading
    case writing
    /// fsync works on any descriptor.
    case committing
}

/// Open files by handle, the least recently used one closed first. Any thread.
final class OpenFiles: Sendable {
    private struct Entry {
        var file: OpenFile
        var lastUse: UInt64
        var lastUseNanoseconds: UInt64
    }

    private struct State {
        var entries: [FileHandle: Entry] = [:]
        var uses: UInt64 = 0
    }

    /// How long an unused file stays open: a file open for writing cannot be executed.
    private static let idleNanoseconds: UInt64 = 2_000_000_000

    private let limit: Int
    private let state = Lock(State())

    init(limit: Int) { self.limit = limit }

    func find(_ handle: FileHandle, for use: FileUse) -> OpenFile? {
        state.withLock { state in
            guard let index = state.entries.index(forKey: handle) else { return nil }
            let file = state.entries.values[index].file
            let suits =
                switch use {
                case .reading: file.canRead
                case .writing: file.canWrite
                case .committing: true
                }
            guard suits else { return nil }
            state.uses += 1
            state.entries.values[index].lastUse = state.uses
            state.entries.values[index].lastUseNanoseconds = clinux_monotonic_nanoseconds()
            return file
        }
    }

    func insert(_ file: OpenFile, for handle: FileHandle) {
        // Files let go of are closed after the lock is left.
        let replaced = state.withLock { state -> [OpenFile] in
            state.uses += 1
            var replaced: [OpenFile] = []
            let entry = Entry(
                file: file, lastUse: state.uses,
                lastUseNanoseconds: clinux_monotonic_nanoseconds())
            if let old = state.entries.updateValue(entry, forKey: handle) {
                replaced.append(old.file)
            }
            if state.entries.count > limit,
                let oldest = state.entries.min(by: { $0.value.lastUse < $1.value.lastUse })
            {
                state.entries[oldest.key] = nil
                replaced.append(oldest.value.file)
            }
            return replaced
        }
        _ = replaced
    }

    /// Lets go of a file that was removed or replaced, so that its space comes back.
    func close(_ handle: FileHandle) {
        let closed = state.withLock { $0.entries.removeValue(forKey: handle) }
        _ = closed
    }

    func closeAll() {
        let closed = state.withLock { state in
            defer { state.entries.removeAll() }
            return state.entries
        }
        _ = closed
    }

    /// Closes what nobody used for two seconds.
    func closeIdle() {
        let now = clinux_monotonic_nanoseconds()
        let closed = state.withLock { state -> [OpenFile] in
            let idle = state.entries.filter { _, entry in
                !entry.file.isIrreplaceable
                    && now &- entry.lastUseNanoseconds > Self.idleNanoseconds
            }
            for key in idle.keys { state.entries[key] = nil }
            return idle.values.map(\.file)
        }
        _ = closed
    }
}

// A client's page cache: made with the first buffered open, with its flusher, ended with the
// client.
internal import CLinux
internal import Glibc
internal import Logging
internal import NFSTypes
internal import PageCache
internal import Threads

/// The page cache of one client, the buffered files that use it, and the thread that writes back.
final class ClientCache: Sendable {
    let cache: PageCache<CacheBacking>
    let backing: CacheBacking
    private let flusher: OwnedThread
    private let buffered = Lock<[ObjectIdentifier: BufferedFile]>([:])
    /// The cache's names of files: handles are too long for its table.
    private let keys = Lock<[FileHandle: UInt64]>([:])
    private let nextKey = Lock<UInt64>(1)
    private let fileLimit: Int

    init(_ configuration: CacheConfiguration) throws(LocalIOError) {
        let settings = configuration.make()
        backing = CacheBacking(settings)
        do throws(CacheError) {
            cache = try PageCache(configuration: settings, world: backing)
        } catch {
            throw LocalIOError(
                .usage, errno: error.errno,
                "page cache of \(settings.byteCount) bytes: not enough memory; make it smaller")
        }
        fileLimit = settings.files
        backing.attach(cache)
        let cache = cache
        let started = OwnedThread(name: "localio-flush") {
            // The flusher stands between dirty memory and the file as the workers do.
            _ = clinux_set_io_flusher(true)
            cache.runFlusher()
        }
        guard let started else {
            throw LocalIOError(.usage, errno: EAGAIN, "no thread to be had for the page cache")
        }
        flusher = started
    }

    /// The cache's name of a file; the same until it is forgotten with its last page.
    func key(of handle: FileHandle) -> UInt64 {
        keys.withLock { keys in
            if let key = keys[handle] { return key }
            // A forgotten name only costs the pages kept of a closed file.
            if keys.count >= fileLimit * 4 {
                let open = buffered.withLock { Set($0.values.map(\.handle)) }
                keys = keys.filter { open.contains($0.key) }
            }
            let key = nextKey.withLock { next in
                defer { next += 1 }
                return next
            }
            keys[handle] = key
            return key
        }
    }

    /// A file is opened past the cache: what is kept of it may become wrong unnoticed.
    func forget(_ handle: FileHandle) { keys.withLock { $0[handle] = nil } }

    func opened(_ file: BufferedFile) {
        buffered.withLock { $0[ObjectIdentifier(file)] = file }
    }

    func closed(_ file: BufferedFile) {
        buffered.withLock { $0[ObjectIdentifier(file)] = nil }
    }

    /// Flushes and closes every buffered file, and ends the flusher.
    func close(logger: Logger) {
        for file in buffered.withLock({ Array($0.values) }) {
            do throws(LocalIOError) {
                try file.closeBlocking()
            } catch {
                logger.error("closing \(file.path): \(error)")
            }
        }
        cache.stop()
        flusher.join()
    }

    /// After the engine and the session have ended: nothing comes back any more.
    func detach() { backing.detach() }
}

/// The page cache of buffered files.
public struct CacheConfiguration: Sendable, Hashable {
    /// Locked memory for pages, in bytes.
    public var byteCount = 64 << 20
    /// Files that are open buffered, or of which pages are kept.
    public var files = 1024
    /// Dirty bytes from which writeback starts by itself; nil: a quarter of the memory.
    public var backgroundByteCount: Int?
    /// Dirty bytes at which writers stop; nil: six tenths of the memory.
    public var dirtyByteCount: Int?
    /// A page dirty for so long is written whatever the load.
    public var dirtyAge: Duration = .seconds(5)
    /// How long bytes that the file system refused (ENOSPC, EDQUOT) are kept and tried again.
    public var errorHold: Duration = .seconds(30)
    /// Bytes read ahead of a sequential reader at most.
    public var readAheadByteCount = 8 << 20

    public init() {}

    func make() -> PageCacheConfiguration {
        var settings = PageCacheConfiguration()
        settings.byteCount = byteCount
        settings.files = files
        settings.backgroundByteCount = backgroundByteCount
        settings.hardByteCount = dirtyByteCount
        settings.dirtyAge = dirtyAge.nanoseconds
        settings.errorHold = errorHold.nanoseconds
        settings.readAheadByteCount = readAheadByteCount
        return settings
    }
}

extension Duration {
    /// Whole nanoseconds, at least 0.
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(clamping: seconds) * 1_000_000_000
            + UInt64(clamping: attoseconds / 1_000_000_000)
    }
}

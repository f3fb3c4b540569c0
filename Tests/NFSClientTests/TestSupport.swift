// Memory with a known content, and answers gathered from many completions.
import Glibc
import NFSClient
import Testing
import Threads

/// The suites that need a real server, one after the other: two Ganeshas that start at the same
/// moment fight over the portmapper.
@Suite(
    .serialized, .enabled(if: PrivateGanesha.isAvailable, "needs root, Ganesha and rpcbind"))
enum AgainstGanesha {}

/// Bytes that follow from a seed.
final class Pattern: @unchecked Sendable {
    let buffer: UnsafeMutableRawBufferPointer

    /// The seed of this run: `LOCALIO_SEED`, or a new one.
    static var seedOfRun: UInt64 {
        getenv("LOCALIO_SEED").flatMap { UInt64(String(cString: $0)) }
            ?? UInt64.random(in: 1...UInt64.max)
    }

    init(byteCount: Int, seed: UInt64) {
        let whole = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(byteCount, 1), alignment: 4096)
        buffer = UnsafeMutableRawBufferPointer(rebasing: whole[0..<byteCount])
        var state = seed
        for index in 0..<byteCount {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            buffer[index] = seed == 0 ? 0 : UInt8(truncatingIfNeeded: state >> 56)
        }
    }

    deinit { buffer.deallocate() }

    func equals(_ other: Pattern, byteCount: Int) -> Bool {
        byteCount == 0 || memcmp(buffer.baseAddress!, other.buffer.baseAddress!, byteCount) == 0
    }
}

/// The answers of a known number of completions; more than that is an error that `wait` shows.
final class Gathering: Sendable {
    private let answers = Lock<[Result<Int, RPCError>]>([])
    private let arrived = Semaphore()
    private let count: Int

    init(count: Int) { self.count = count }

    func add(_ answer: Result<Int, RPCError>) {
        answers.withLock { $0.append(answer) }
        arrived.signal()
    }

    var soFar: Int { answers.withLock { $0.count } }

    /// Waits for all, at most half a minute.
    func wait() -> [Result<Int, RPCError>] {
        for _ in 0..<count {
            let isThere = arrived.wait(timeout: .seconds(30))
            if !isThere { break }
        }
        return answers.withLock { $0 }
    }
}

/// Events of a session, to be waited for.
final class EventLog: Sendable {
    private let events = Lock<[ConnectionEvent]>([])
    private let arrived = Semaphore()

    func add(_ event: ConnectionEvent) {
        events.withLock { $0.append(event) }
        arrived.signal()
    }

    var all: [ConnectionEvent] { events.withLock { $0 } }

    /// Waits, at most half a minute after the last event, until `isSo` holds after some event.
    func wait(until isSo: ([ConnectionEvent]) -> Bool) -> Bool {
        while !isSo(all) {
            let isThere = arrived.wait(timeout: .seconds(30))
            if !isThere { return isSo(all) }
        }
        return true
    }
}

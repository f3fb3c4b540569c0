// The pieces that need no server: joining parts, slots, the queue, error texts.
import Glibc
import NFSTypes
import Testing
import Threads

@testable import NFSClient

struct PieceTests {
    private func write(
        _ verifier: UInt64?, _ committed: StableHow
    ) -> Result<WriteReply, RPCError> {
        .success(
            WriteReply(
                byteCount: 10, committed: committed,
                verifier: verifier.map { WriteVerifier(rawValue: $0) }, attributes: nil))
    }

    @Test func partsOfAWrite() throws {
        let same = try joined(writes: [write(1, .fileSync), write(1, .dataSync)]).get()
        #expect(same.byteCount == 20)
        #expect(same.committed == .dataSync)
        #expect(same.verifier == WriteVerifier(rawValue: 1))
        let changed = try joined(writes: [write(1, .unstable), write(2, .fileSync)]).get()
        #expect(changed.verifier == nil)
        #expect(changed.committed == .unstable)
        let partly = try joined(writes: [write(1, .unstable), write(nil, .unstable)]).get()
        #expect(partly.verifier == nil)
        let error = RPCError(.timedOut, server: "h:1")
        #expect(joined(writes: [write(1, .unstable), .failure(error)]) == .failure(error))
    }

    @Test func partsOfARead() throws {
        func read(_ count: Int, _ isEnd: Bool) -> Result<ReadReply, RPCError> {
            .success(ReadReply(byteCount: count, isEndOfFile: isEnd, attributes: nil))
        }
        let whole = try joined(reads: [read(10, false), read(10, false)]).get()
        #expect(whole.byteCount == 20 && !whole.isEndOfFile)
        // The file grew between the parts: what lies behind the first end is not contiguous.
        let prefix = try joined(reads: [read(10, false), read(3, true), read(10, false)]).get()
        #expect(prefix.byteCount == 13 && prefix.isEndOfFile)
    }

    private func request(_ number: UInt64, sequence: UInt64 = 0) -> Request {
        let request = Request(
            number: number, procedure: "X", isIdempotent: true, credentials: nil)
        request.sequence = sequence
        return request
    }

    @Test func slotsTellLateRepliesApart() throws {
        var table = SlotTable(count: 2)
        func insert(_ number: UInt64, sequence: UInt64, deadline: UInt64) -> UInt? {
            table.insert(request(number, sequence: sequence), deadline: deadline)
        }
        let first = try #require(insert(1, sequence: 2, deadline: 10))
        let second = try #require(insert(2, sequence: 1, deadline: 20))
        #expect(table.isFull)
        #expect(insert(3, sequence: 0, deadline: 0) == nil)
        #expect(table.expired(9) == nil)
        #expect(table.expired(10) == "X")
        let orphans = table.orphan(number: 1)
        #expect(orphans.map(\.number) == [1])
        #expect(table.isFull)
        func isKnown(_ token: UInt) -> Bool { table.remove(token) != nil }
        let answeredLate = table.remove(first)
        if case .some(.none) = answeredLate {} else { Issue.record("not an orphan") }
        let isKnownAgain = isKnown(first)
        #expect(!isKnownAgain)
        let third = try #require(insert(3, sequence: 3, deadline: 30))
        #expect(third != first)
        let isKnownInNewLife = isKnown(first)
        #expect(!isKnownInNewLife)
        let rest = table.removeAll().map(\.number)
        #expect(rest == [2, 3])
        #expect(table.usedCount == 0)
        let isSecondKnown = isKnown(second)
        #expect(!isSecondKnown)
    }

    @Test func theQueueKeepsItsOrder() {
        var queue = RequestQueue()
        for number in 0..<3000 { queue.append(request(UInt64(number))) }
        func pop(_ count: Int) -> [UInt64] {
            (0..<count).compactMap { _ in queue.popFirst()?.number }
        }
        let begin = pop(2000)
        #expect(begin == Array(0..<2000))
        queue.prepend([request(7), request(8)])
        #expect(queue.first?.number == 7)
        let extracted = queue.extract { $0.number < 9 }.map(\.number)
        #expect(extracted == [7, 8])
        let end = pop(1001)
        #expect(end == Array(2000..<3000))
        #expect(queue.isEmpty)
    }

    @Test func theURLOverridesTheConfiguration() throws {
        let url = try NFSURL("nfs://h/e?uid=5&timeo=20&retrans=3")
        let configuration = SessionConfiguration(
            credentials: Credentials(uid: 1, gid: 2, groups: [3])
        ).overridden(by: url)
        #expect(configuration.credentials == Credentials(uid: 5, gid: 2))
        #expect(configuration.requestTimeout == .seconds(2))
        #expect(configuration.recovery == .soft(retries: 3))
    }

    @Test(arguments: [
        (RPCError.Cause.status(.noEntry), ENOENT), (.connectionLost(mayHaveExecuted: true), EIO),
        (.connectionLost(mayHaveExecuted: false), EIO), (.timedOut, ETIMEDOUT),
        (.cancelled, ECANCELED), (.closed, ENOTCONN), (.busy, EAGAIN),
        (.mountRefused(.accessDenied), EACCES), (.unreachable("no"), EHOSTUNREACH),
        (.protocolError("odd"), EIO),
    ])
    func everyCauseHasAnErrnoAndALine(cause: RPCError.Cause, number: Int32) {
        let error = RPCError(cause, server: "host:2049", procedure: "READ")
        #expect(error.errno == number)
        #expect(error.description.hasPrefix("READ at host:2049: "))
        #expect(!error.description.contains("\n"))
    }
}

/// Something else listens where the server should be.
struct StrangerTests {
    @Test func aSilentListenerTimesOut() throws {
        let stranger = try #require(Stranger(answer: nil))
        let url = try NFSURL("nfs://127.0.0.1:\(stranger.port)/export")
        let error = #expect(throws: RPCError.self) {
            try NFSSession.connectBlocking(
                to: url,
                configuration: SessionConfiguration(connectTimeout: .milliseconds(200)))
        }
        #expect(error?.cause == .timedOut)
        #expect(error?.procedure == "MNT")
    }

    @Test func garbageIsAnErrorNotAHang() throws {
        let stranger = try #require(Stranger(answer: Array("HTTP/1.1 400 Bad\r\n\r\n".utf8)))
        let url = try NFSURL("nfs://127.0.0.1:\(stranger.port)/export")
        let error = #expect(throws: RPCError.self) { try NFSSession.connectBlocking(to: url) }
        #expect(error?.description.contains("127.0.0.1:\(stranger.port)") == true)
    }
}

/// A listener that takes one connection, says its piece and keeps the connection open.
final class Stranger: Sendable {
    let port: UInt16
    private let listener: Int32
    private let thread: OwnedThread

    init?(answer: [UInt8]?) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard listener >= 0, listen(listener, 4) == 0 else { return nil }
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = getsockname(listener, $0, &length)
            }
        }
        let thread = OwnedThread(name: "stranger") {
            let accepted = accept(listener, nil, nil)
            guard accepted >= 0 else { return }
            var byte: UInt8 = 0
            if let answer, recv(accepted, &byte, 1, 0) > 0 {
                _ = send(accepted, answer, answer.count, Int32(MSG_NOSIGNAL))
            }
            while recv(accepted, &byte, 1, 0) > 0 {}
            close(accepted)
        }
        guard let thread else { return nil }
        self.listener = listener
        self.thread = thread
        port = UInt16(bigEndian: address.sin_port)
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        thread.join()
        close(listener)
    }
}

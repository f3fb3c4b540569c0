// RPC's own errors, replies out of order, and bytes that no client sends.
import Glibc
import NFSTypes
import Testing

@testable import LocalIOServer

@Suite struct ProtocolTests {
    let directory: TemporaryDirectory
    let served: Served

    init() throws {
        directory = try TemporaryDirectory()
        served = try Served(directory.path)
    }

    func verdict(_ client: RawClient, _ message: [UInt8]) -> RPCVerdict? {
        client.send(RawClient.record(message))
        do throws(RPCVerdict) {
            _ = try client.reply()
            return nil
        } catch {
            return error
        }
    }

    /// Another client gets answers.
    func serverLives() throws -> Bool {
        try RawClient(port: served.port).mount(directory.path).status == .ok
    }

    @Test func answersNullOfEveryProgram() throws {
        let client = try RawClient(port: served.port)
        for (program, version) in [(100003, 3), (100005, 3), (400122, 1)] as [(UInt32, UInt32)] {
            #expect(verdict(client, client.message(program, version, 0, [])) == nil)
        }
        let nonce = [UInt8](repeating: 7, count: 16)
        #expect(verdict(client, client.message(400122, 1, 1, nonce)) == nil)
        #expect(verdict(client, client.message(400122, 1, 1, [1, 2, 3, 4])) == .accepted(4))
    }

    @Test func namesWhatItDoesNotHave() throws {
        let client = try RawClient(port: served.port)
        #expect(verdict(client, client.message(100021, 4, 0, [])) == .accepted(1))
        #expect(verdict(client, client.message(100003, 4, 0, [])) == .accepted(2))
        #expect(verdict(client, client.message(100005, 1, 0, [])) == .accepted(2))
        #expect(verdict(client, client.message(400122, 2, 0, [])) == .accepted(2))
        #expect(verdict(client, client.message(100003, 3, 22, [])) == .accepted(3))
        #expect(verdict(client, client.message(100003, 3, 1, [])) == .accepted(4))
        #expect(verdict(client, client.message(100003, 3, 0, [], rpcVersion: 3)) == .denied(0))
        #expect(verdict(client, client.message(100003, 3, 0, [], flavor: 6)) == .denied(1))
        #expect(try client.mount(directory.path).status == .ok)
    }

    @Test func handlesOfOthersAreBadOrStale() throws {
        let client = try RawClient(port: served.port)
        #expect(try client.attributes([]).status == .badHandle)
        #expect(try client.attributes([UInt8](repeating: 0x43, count: 28)).status == .badHandle)
        var root = try client.mount(directory.path).handle
        root[5] ^= 1
        #expect(try client.attributes(root).status == .stale)
        root[5] ^= 1
        root[19] ^= 1
        #expect(try client.attributes(root).status == .stale)
        var long = Encoder()
        long.opaque([UInt8](repeating: 0x4c, count: 65))
        #expect(verdict(client, client.message(100003, 3, 1, long.bytes)) == .accepted(4))
    }

    @Test func takesACallInManyFragments() throws {
        let client = try RawClient(port: served.port)
        var path = Encoder()
        path.string(directory.path)
        let message = client.message(100005, 3, 1, path.bytes)
        for size in [1, 3, 4, 7, 64] {
            var start = 0
            while start < message.count {
                let end = min(start + size, message.count)
                let piece = Array(message[start..<end])
                client.send(RawClient.record(piece, isLast: end == message.count))
                start = end
            }
            var results = try client.reply().results
            #expect(results.status() == .ok)
        }
    }

    @Test func answersManyCallsInFlight() throws {
        let client = try RawClient(port: served.port)
        let root = try client.mount(directory.path).handle
        let file = try client.create(root, "file").handle
        _ = try client.write(file, at: 0, [UInt8](repeating: 9, count: 8192))
        var arguments = Encoder()
        arguments.opaque(file)
        arguments.u64(0)
        arguments.u32(8192)
        // More than may be in flight, and all sent before the first reply is read.
        let count = 500
        var calls: [UInt8] = []
        for _ in 0..<count {
            calls += RawClient.record(client.message(100003, 3, 6, arguments.bytes))
        }
        client.send(calls)
        var seen: Set<UInt32> = []
        for _ in 0..<count {
            var (xid, results) = try client.reply()
            seen.insert(xid)
            #expect(results.status() == .ok)
        }
        #expect(seen.count == count)
        // The sending side may end before the replies are read.
        client.send(RawClient.record(client.message(100003, 3, 6, arguments.bytes)))
        shutdown(client.socket, Int32(SHUT_WR))
        #expect(try client.reply().results.bytes.count > 8192)
        #expect(client.receive(1) == nil)
    }

    @Test func aClientThatReadsNothingStopsNobody() throws {
        let greedy = try RawClient(port: served.port)
        let root = try greedy.mount(directory.path).handle
        let file = try greedy.create(root, "file").handle
        _ = try greedy.write(file, at: 0, [UInt8](repeating: 9, count: 1 << 20))
        var arguments = Encoder()
        arguments.opaque(file)
        arguments.u64(0)
        arguments.u32(1 << 20)
        for _ in 0..<100 {
            greedy.send(RawClient.record(greedy.message(100003, 3, 6, arguments.bytes)))
        }
        #expect(try serverLives())
        for _ in 0..<100 {
            var results = try greedy.reply().results
            #expect(results.status() == .ok)
        }
    }

    @Test func hostileBytesEndOnlyTheirOwnConnection() throws {
        var random = Seeded("hostileBytesEndOnlyTheirOwnConnection")
        let marks: [[UInt8]] = [
            [0xff, 0xff, 0xff, 0xff], [0x7f, 0xff, 0xff, 0xff], [0x80, 0, 0, 0], [0, 0, 0, 0],
            [0x80, 0, 0, 4, 0, 0, 0, 1], [0x80, 0, 0, 3, 1, 2, 3],
            Array("GET / HTTP/1.1\r\n\r\n".utf8),
        ]
        for mark in marks {
            let client = try RawClient(port: served.port)
            client.send(mark + random.bytes(4096))
            shutdown(client.socket, Int32(SHUT_WR))
            while client.receive(1) != nil {}
        }
        let unlimited = try RawClient(port: served.port)
        unlimited.send([0xff, 0xff, 0xff, 0xff] + [UInt8](repeating: 0, count: 3 << 20))
        #expect(unlimited.receive(1) == nil)
        for _ in 0..<300 {
            let client = try RawClient(port: served.port)
            let root = try client.mount(directory.path).handle
            var arguments = Encoder()
            arguments.opaque(root)
            let procedure = UInt32.random(in: 0...22, using: &random)
            let tail = random.bytes(Int.random(in: 0...200, using: &random))
            var message = client.message(100003, 3, procedure, arguments.bytes + tail)
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let index = Int.random(in: 0..<message.count, using: &random)
                message[index] = UInt8.random(in: 0...255, using: &random)
            }
            client.send(RawClient.record(message))
            shutdown(client.socket, Int32(SHUT_WR))
            while client.receive(1) != nil {}
        }
        #expect(try serverLives())
    }

    @Test func refusesConnectionsPastTheLimit() throws {
        let place = try TemporaryDirectory()
        let served = try Served(place.path) { $0.limits.connections = 2 }
        let first = try RawClient(port: served.port)
        let second = try RawClient(port: served.port)
        #expect(try first.mount(place.path).status == .ok)
        #expect(try second.mount(place.path).status == .ok)
        let third = try RawClient(port: served.port)
        #expect(throws: (any Error).self) { try third.mount(place.path) }
        #expect(try first.mount(place.path).status == .ok)
    }
}

// The caller-owned queue: many in flight, every token once, no allocation on the local road.
import CAllocationCounter
import LocalIOBench
import LocalIOTesting
import Testing

@testable import LocalIO

@Suite(.serialized) struct ChannelTests {
    private static let block = 4096

    @Test(arguments: [LocalitySetting.automatic, .off])
    func everyTokenComesBackOnceWithItsBytes(locality: LocalitySetting) throws {
        let site = try Site(.embedded)
        let client = try site.connect(locality)
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        let depth = 16
        let count = 500
        let memory = TestMemory(depth * Self.block)
        var channel = try IOChannel(client: client, depth: depth)
        for isWrite in [true, false] {
            var free = Array(0..<depth)
            var seen = [Int](repeating: 0, count: count)
            var next = 0
            var done = 0
            while done < count {
                while next < count, let slot = free.popLast() {
                    let bytes = UnsafeMutableRawBufferPointer(
                        rebasing: memory.bytes[slot * Self.block..<(slot + 1) * Self.block])
                    let token = UInt64(next) << 8 | UInt64(slot)
                    let offset = UInt64(next * Self.block)
                    if isWrite {
                        bytes.initializeMemory(as: UInt32.self, repeating: UInt32(next))
                        let source = UnsafeRawBufferPointer(bytes)
                        #expect(
                            channel.submitWrite(file, from: source, at: offset, token: token)
                                == .queued)
                    } else {
                        #expect(
                            channel.submitRead(file, into: bytes, at: offset, token: token)
                                == .queued)
                    }
                    next += 1
                }
                if free.isEmpty && next < count {
                    let bytes = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<1])
                    #expect(channel.submitRead(file, into: bytes, at: 0, token: 0) == .busy)
                }
                channel.reap(minimum: 1) { token, result in
                    let index = Int(token >> 8)
                    let slot = Int(token & 0xff)
                    #expect(result == Int64(Self.block))
                    seen[index] += 1
                    free.append(slot)
                    done += 1
                    if !isWrite {
                        let word = memory.bytes.load(
                            fromByteOffset: slot * Self.block + 2048, as: UInt32.self)
                        #expect(word == UInt32(index))
                    }
                }
            }
            #expect(seen.allSatisfy { $0 == 1 })
            #expect(channel.inFlight == 0)
        }
        if locality == .automatic { #expect(client.statistics().fallbacks.isEmpty) }
    }

    @Test func alignedLocalIOAllocatesNothing() throws {
        guard callocationcounter_available() else {
            print("not counting: a sanitizer owns malloc")
            return
        }
        let site = try Site(.embedded)
        // The heartbeat's RPC allocates: it stays out of the way.
        let client = try site.connect(.automatic) { $0.heartbeatInterval = .seconds(3600) }
        let file = try client.openBlocking("file", .readWrite, options: [.create])
        let depth = 8
        let memory = TestMemory(depth * Self.block)
        for index in 0..<depth {
            _ = try file.writeBlocking(
                from: UnsafeRawBufferPointer(
                    rebasing: memory.bytes[index * Self.block..<(index + 1) * Self.block]),
                at: UInt64(index * Self.block))
        }
        var channel = try IOChannel(client: client, depth: depth)
        func round(_ channel: inout IOChannel) {
            for index in 0..<depth {
                let bytes = UnsafeMutableRawBufferPointer(
                    rebasing: memory.bytes[index * Self.block..<(index + 1) * Self.block])
                let offset = UInt64(index * Self.block)
                if index % 2 == 0 {
                    _ = channel.submitRead(file, into: bytes, at: offset, token: 0)
                } else {
                    let source = UnsafeRawBufferPointer(bytes)
                    _ = channel.submitWrite(file, from: source, at: offset, token: 0)
                }
            }
            while channel.inFlight > 0 { channel.reap(minimum: 1) { _, _ in } }
        }
        for _ in 0..<50 { round(&channel) }
        let before = callocationcounter_thread()
        for _ in 0..<200 { round(&channel) }
        let channelAllocations = callocationcounter_thread() - before
        #expect(channelAllocations == 0, "in 1,600 I/Os through a channel")

        let target = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<Self.block])
        for _ in 0..<20 { _ = try file.readBlocking(into: target, at: 0) }
        let beforeBlocking = callocationcounter_thread()
        for _ in 0..<500 { _ = try file.readBlocking(into: target, at: 0) }
        #expect(callocationcounter_thread() - beforeBlocking == 0, "in 500 blocking reads")
        #expect(client.statistics().fallbacks.isEmpty)
    }

    /// The channel holds a file once for many I/Os: it must let go with the last, use a new route
    /// at once, and tell files apart.
    @Test func aRevokedFileIsLetGoOfWithItsLastIO() throws {
        let site = try Site(.embedded)
        let client = try site.connect(.automatic) { $0.heartbeatInterval = .seconds(3600) }
        let files = try ["one", "two"].map { name in
            let file = try client.openBlocking(name, .readWrite, options: [.create])
            let bytes = [UInt8](repeating: name == "one" ? 1 : 2, count: 16 * Self.block)
            let memory = TestMemory(bytes.count)
            memory.bytes.copyBytes(from: bytes)
            _ = try file.writeBlocking(from: UnsafeRawBufferPointer(memory.bytes), at: 0)
            return file
        }
        let memory = TestMemory(16 * Self.block)
        var channel = try IOChannel(client: client, depth: 16)
        weak var local: LocalFile?
        if case .local(let route) = files[0].route() { local = route }
        try #require(local != nil)
        // Two files in turns, then the first alone, then by RPC.
        for index in 0..<16 {
            if index == 12 { files[0].setRoute(.remote(.leaseRevoked)) }
            let file = files[index < 8 ? index % 2 : 0]
            let target = UnsafeMutableRawBufferPointer(
                rebasing: memory.bytes[index * Self.block..<(index + 1) * Self.block])
            #expect(
                channel.submitRead(
                    file, into: target, at: UInt64(index * Self.block), token: UInt64(index))
                    == .queued)
        }
        #expect(local != nil)
        var seen = Set<UInt64>()
        while channel.inFlight > 0 {
            channel.reap(minimum: 1) { token, result in
                #expect(result == Int64(Self.block))
                seen.insert(token)
            }
        }
        #expect(seen.count == 16)
        #expect(local == nil, "a revoked file stays open")
        for index in 0..<16 {
            let expected: UInt8 = index < 8 && index % 2 == 1 ? 2 : 1
            #expect(memory.bytes[index * Self.block] == expected, "block \(index)")
        }
        let statistics = client.statistics()
        #expect(statistics.roads[.rpc]?.operations == 4)
        #expect(statistics.fallbacks == [.leaseRevoked: 4])
    }
}

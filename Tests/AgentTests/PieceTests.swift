// The agent's pieces by themselves: nonces and their time, handle layouts, the portmapper.
import AgentProtocol
import CLinux
import Foundation
import LocalIOBench
import LocalIOServer
import LocalIOTesting
import Logging
import NFSTypes
import Testing

@testable import LocalIOAgent

@Suite struct NonceTableTests {
    @Test func aNonceLivesForItsTime() {
        let now = Box(ContinuousClock.now)
        let table = NonceTable(now: { now.get() })
        let (early, late) = (Nonce.random(), Nonce.random())
        #expect(table.register(early, address: "10.0.0.1", owner: 1) == nil)
        #expect(table.claim(early, from: "10.0.0.1") == .claimed)
        #expect(table.register(late, address: "10.0.0.1", owner: 1) == nil)
        now.set(now.get() + .seconds(6))
        #expect(table.claim(late, from: "10.0.0.1") == .unknown)
        #expect(!table.confirm(early, owner: 1), "claimed in time, confirmed too late")
        // What has expired makes room.
        for _ in 0..<table.limits.countPerOwner {
            #expect(table.register(.random(), address: "::1", owner: 1) == nil)
        }
    }

    @Test func eachIsClaimedOnceAndHeldOnce() {
        let table = NonceTable()
        let nonce = Nonce.random()
        #expect(table.register(nonce, address: "10.0.0.1", owner: 1) == nil)
        #expect(table.register(nonce, address: "10.0.0.2", owner: 2) == .duplicateNonce)
        #expect(table.claim(nonce, from: "10.0.0.2") == .otherAddress)
        #expect(table.claim(nonce, from: "10.0.0.1") == .claimed)
        #expect(table.claim(nonce, from: "10.0.0.1") == .alreadyClaimed)
        #expect(!table.confirm(nonce, owner: 2))
        #expect(table.confirm(nonce, owner: 1))
        #expect(!table.confirm(nonce, owner: 1))
        #expect(table.count == 0)
    }

    @Test func theWholeTableIsBounded() {
        let table = NonceTable(limits: NonceTable.Limits(count: 10, countPerOwner: 4))
        let answers = (0..<30).map { number in
            table.register(.random(), address: "::1", owner: UInt64(number % 15))
        }
        #expect(answers.count { $0 == nil } == 10 && table.count == 10)
        for owner in 0..<15 { table.forget(owner: UInt64(owner)) }
        #expect(table.count == 0)
    }

    @Test func behindTranslationAnyAddressCounts() {
        let table = NonceTable(comparesAddresses: false)
        let nonce = Nonce.random()
        #expect(table.register(nonce, address: "10.0.0.1", owner: 1) == nil)
        #expect(table.claim(nonce, from: "192.168.7.7") == .claimed)
    }

    @Test(arguments: [
        ("127.0.0.1", "127.0.0.1"), ("::ffff:10.1.2.3", "10.1.2.3"), ("0:0:0:0:0:0:0:1", "::1"),
        ("fe80::1%eth0", "fe80::1"), ("localhost", nil), ("", nil), ("1.2.3", nil),
    ])
    func addressesHaveOneSpelling(_ text: String, _ expected: String?) {
        #expect(NumericAddress.normalized(text) == expected)
    }
}

@Suite struct HandleLayoutTests {
    static func handle(_ bytes: [UInt8]) -> FileHandle { FileHandle(bytes)! }

    @Test func knfsdWithAnIdentifier() throws {
        let uuid = [UInt8](1...16)
        let inner: [UInt8] = [9, 8, 7, 6, 5, 4, 3, 2]
        let file = DecodedHandle(Self.handle([1, 0, 6, 0x81] + uuid + inner))
        #expect(file?.server == .knfsd && file?.kernelType == 0x81 && file?.kernelBytes == inner)
        let root = DecodedHandle(Self.handle([1, 0, 6, 0] + uuid))
        #expect(root?.hasKernelHandle == false && root?.scope == file?.scope)
        let other = DecodedHandle(Self.handle([1, 0, 6, 0x81] + uuid.reversed() + inner))
        #expect(other?.scope != file?.scope)
    }

    @Test(arguments: [
        [1], [1, 0, 6], [1, 1, 6, 0x81], [1, 0, 8, 0x81], [1, 0, 6, 0x81, 1, 2],
        [1, 0, 1, 0, 1, 2, 3, 4, 5], [0x43], [0x43, 0, 0, 1, 200, 0x44], [0x43, 0, 0, 1, 0, 0],
        [0x43, 0, 0, 1, 1, 0x44], [0x43, 0, 0, 1, 1, 0x04, 1, 1], [0x4c, 1], [7, 7, 7, 7],
    ] as [[UInt8]])
    func malformedHandlesAreNone(_ bytes: [UInt8]) {
        #expect(DecodedHandle(Self.handle(bytes)) == nil)
    }

    @Test func randomBytesDoNoHarm() {
        let seed = testSeed()
        print("LOCALIO_SEED=\(seed)")
        var state = seed
        func next() -> UInt8 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 33)
        }
        var decoded = 0
        for _ in 0..<testOperations(50_000) {
            var bytes = (0..<Int(next() % 65)).map { _ in next() }
            if !bytes.isEmpty { bytes[0] = [1, 0x43, 0x4c, bytes[0]][Int(next() % 4)] }
            if bytes.count > 1, next() % 2 == 0 { bytes[1] = 0 }
            if let handle = DecodedHandle(Self.handle(bytes)) {
                decoded += 1
                #expect(handle.kernelBytes.count <= 64, "seed \(seed)")
            }
        }
        #expect(decoded > 0, "seed \(seed)")
    }

    /// The layout as the running server has it, against the kernel's own answer.
    @Test(.enabled(if: ganesha.isMet)) func ganeshasHandleIsTheKernels() throws {
        let fixture = try AgentFixture(
            .ganesha, fill: { try AgentFixture.write("x", to: $0 + "/file") })
        defer { fixture.stop() }
        let decoded = try #require(DecodedHandle(fixture.handle("file")))
        let descriptor = Foundation.open(fixture.directory + "/file", O_RDONLY)
        defer { close(descriptor) }
        let own = try #require(FileFinder.kernelHandle(descriptor))
        #expect(decoded.kernelType == own.type && decoded.kernelBytes == own.bytes)
    }
}

@Suite(.serialized, .enabled(if: ganesha.isMet)) struct PortMapperTests {
    @Test func theProgramIsRegisteredAndUnregistered() throws {
        let mapper = try PortMapper()
        defer { mapper.release() }
        guard let rpcinfo = ChildProcess.find("rpcinfo") else { return }
        let server = try LocalIOProgramServer(
            nonces: NonceTable(), address: "127.0.0.1", port: 0, logger: Logger(label: "test"))
        #expect(server.register())
        func isListed() throws -> Bool {
            try ChildProcess.mustRun(rpcinfo, ["-p", "127.0.0.1"]).split(separator: "\n")
                .contains { $0.contains("400122") && $0.contains("\(server.port)") }
        }
        #expect(try isListed())
        server.stop()
        #expect(try !isListed())
    }
}

// Every message survives the wire; hostile bytes are refused and nothing else happens.
import AgentProtocol
import CLinux
import Foundation
import NFSTypes
import Testing

@Suite struct RoundTripTests {
    @Test(arguments: Samples.messages) func everyMessageSurvives(_ message: AgentMessage) throws {
        let wire = message.encoded()
        #expect(try AgentMessage.decode(Array(wire.dropFirst(4))) == message)
    }

    @Test(arguments: Samples.messages) func noPrefixIsAMessage(_ message: AgentMessage) {
        let frame = Array(message.encoded().dropFirst(4))
        for length in 0..<frame.count {
            #expect(throws: AgentProtocolError.self) {
                try AgentMessage.decode(Array(frame.prefix(length)))
            }
        }
        #expect(throws: AgentProtocolError.trailingBytes(1)) {
            try AgentMessage.decode(frame + [0])
        }
    }

    @Test func limitsHold() throws {
        var request = Samples.request
        request.pathHint = String(repeating: "é", count: 4096)
        let frame = Array(AgentMessage.open(request).encoded().dropFirst(4))
        guard case .open(let cut) = try AgentMessage.decode(frame) else {
            Issue.record("no OPEN")
            return
        }
        #expect(cut.pathHint.utf8.count == 4096)
        #expect(throws: AgentProtocolError.tooLong(byteCount: 70000, limit: 65536)) {
            try AgentMessage.decode([UInt8](repeating: 0, count: 70000))
        }
        #expect(throws: AgentProtocolError.unknownType(700)) {
            try AgentMessage.decode([2, 188, 1, 2, 3])
        }
    }

    @Test func textMustBeText() {
        var frame = Array(
            AgentMessage.register(nonce: Samples.nonce, peerAddress: "ab").encoded().dropFirst(4))
        for bad: UInt8 in [0, 0xff, 0xc0] {
            frame[frame.count - 1] = bad
            #expect(throws: AgentProtocolError.badText) { try AgentMessage.decode(frame) }
        }
    }

    @Test func reasonsHaveStableNames() {
        #expect(Set(AgentRefusal.allCases.map(\.name)).count == AgentRefusal.allCases.count)
        #expect(AgentRefusal.serverDenied.rawValue == 1)
        #expect(AgentRefusal.serverDenied.name == "server-denied")
    }

    @Test func noncesKeepTheirBytes() {
        let nonce = Nonce.random()
        #expect(Nonce(nonce.bytes) == nonce && nonce.bytes.count == 16)
        #expect(Nonce([1, 2, 3]) == nil)
    }
}

@Suite struct MutationTests {
    /// Frames with bits flipped, bytes cut, doubled and put in: decoding answers or refuses, and
    /// what it answers survives another trip.
    @Test func mutatedFramesDoNoHarm() throws {
        var generator = SeededGenerator()
        let count = Int(ProcessInfo.processInfo.environment["LOCALIO_OPERATIONS"] ?? "") ?? 20_000
        var decoded = 0
        for _ in 0..<count {
            let sample = Samples.messages.randomElement(using: &generator) ?? .status
            var frame = Array(sample.encoded().dropFirst(4))
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                Self.mutate(&frame, &generator)
            }
            guard let message = try? AgentMessage.decode(frame) else { continue }
            decoded += 1
            let again = Array(message.encoded().dropFirst(4))
            #expect(try AgentMessage.decode(again) == message, "seed \(generator.seed)")
        }
        #expect(decoded > 0, "seed \(generator.seed)")
    }

    static func mutate(_ frame: inout [UInt8], _ generator: inout SeededGenerator) {
        guard !frame.isEmpty else { return frame.append(.random(in: 0...255, using: &generator)) }
        let index = Int.random(in: frame.indices, using: &generator)
        switch Int.random(in: 0..<5, using: &generator) {
        case 0: frame[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1: frame[index] = [0, 1, 127, 128, 255].randomElement(using: &generator) ?? 0
        case 2: frame.remove(at: index)
        case 3: frame.insert(.random(in: 0...255, using: &generator), at: index)
        default: frame.append(contentsOf: frame[index...].prefix(16))
        }
    }

    @Test func framesInAnyPieces() throws {
        var generator = SeededGenerator()
        let stream = Samples.messages.flatMap { $0.encoded() }
        for _ in 0..<200 {
            var assembler = FrameAssembler()
            var messages: [AgentMessage] = []
            var rest = stream[...]
            while !rest.isEmpty {
                let piece = rest.prefix(Int.random(in: 1...40, using: &generator))
                rest = rest.dropFirst(piece.count)
                assembler.append(piece)
                while let frame = try assembler.next() {
                    messages.append(try AgentMessage.decode(frame))
                }
            }
            #expect(messages == Samples.messages, "seed \(generator.seed)")
            #expect(assembler.byteCount == 0)
        }
    }

    @Test func lengthsThatNoFrameHas() {
        for length: [UInt8] in [[255, 255, 255, 255], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]] {
            var assembler = FrameAssembler()
            assembler.append(length)
            #expect(throws: AgentProtocolError.self) { try assembler.next() }
        }
    }
}

@Suite struct SocketTests {
    @Test func descriptorsTravelWithTheirMessage() throws {
        let (one, other) = try AgentSocket.pair()
        var pipes: [Int32] = [0, 0]
        #expect(pipe(&pipes) == 0)
        defer { for descriptor in pipes { close(descriptor) } }
        try one.send(.status)
        try one.send(.opened(Samples.reply), descriptors: pipes)
        try one.send(.revoke(.all))
        #expect(try other.receive(timeout: .seconds(5))?.message == .status)
        var delivery = try other.receive(timeout: .seconds(5))
        #expect(delivery?.message == .opened(Samples.reply))
        let input = delivery?.direct.take()?.take() ?? -1
        let output = delivery?.buffered.take()?.take() ?? -1
        defer {
            close(input)
            close(output)
        }
        #expect(write(output, "x", 1) == 1)
        var byte: UInt8 = 0
        #expect(read(input, &byte, 1) == 1)
        #expect(fcntl(input, F_GETFD) & FD_CLOEXEC != 0)
        #expect(try other.receive(timeout: .seconds(5))?.message == .revoke(.all))
    }

    @Test func openedWithoutDescriptorsIsNonsense() throws {
        let (one, other) = try AgentSocket.pair()
        try one.send(.opened(Samples.reply))
        #expect(throws: AgentSocketError.nonsense(.badValue(0))) {
            _ = try other.receive(timeout: .seconds(5))?.message
        }
    }

    @Test func timeOutsAndEnds() throws {
        let (one, other) = try AgentSocket.pair()
        #expect(try other.receive(timeout: .milliseconds(1))?.message == nil)
        one.shutdown()
        #expect(throws: AgentSocketError.closed) {
            _ = try other.receive(timeout: .seconds(5))?.message
        }
        #expect(throws: AgentSocketError.closed) { try one.send(.status) }
        #expect(throws: AgentSocketError.unreachable(path: "/nowhere", errno: ENOENT)) {
            try AgentSocket.connect(path: "/nowhere")
        }
    }

    @Test func thePeerIsWhoItIs() throws {
        let (one, _) = try AgentSocket.pair()
        let peer = try one.peer()
        #expect(peer.processIdentifier == getpid())
        #expect(peer.credentials.uid == geteuid() && peer.credentials.gid == getegid())
    }
}

// Feeds bytes to the LOCALIO program's decoders as a connection and a worker do; for the tests
// and, built by Tests/Fuzz/run.sh, for libFuzzer.
import AgentProtocol
import CLocalIORPC
import Glibc

@testable import LocalIOServer

/// Record marking, call header, arguments and reply of program 400122, without sockets.
final class CallFeed {
    /// What some bytes came to.
    struct Outcome: Equatable {
        var records = 0
        var replies = 0
        var claimed = 0
        /// A reply that no server may give.
        var complaint: String?
    }

    private final class Stream {
        var rest: ArraySlice<UInt8>
        let step: Int
        init(_ bytes: ArraySlice<UInt8>, step: Int) { (rest, self.step) = (bytes, step) }
    }

    static let peer = "127.0.0.1"
    /// The nonce that is registered before each feed.
    static let nonce = Nonce((0..<16).map { UInt8($0) })
    /// As the program's own server has it.
    static let byteCountLimit = 1024

    private let codec: CallCodec

    init?() {
        guard let codec = CallCodec() else { return nil }
        self.codec = codec
    }

    /// - Parameter input: the first byte says into which pieces the stream of the rest is cut,
    ///   or, if 0, that the rest is one record without its mark.
    func feed(_ input: [UInt8]) -> Outcome {
        var outcome = Outcome()
        guard let step = input.first, let nonce = Self.nonce else { return outcome }
        let nonces = NonceTable()
        _ = nonces.register(nonce, address: Self.peer, owner: 1)
        if step == 0 {
            let record = input.dropFirst().prefix(Self.byteCountLimit & ~3)
            _ = Array(record).withUnsafeBytes { serve($0, nonces, &outcome) }
        } else {
            feed(Stream(input.dropFirst(), step: Int(step)), nonces, &outcome)
        }
        outcome.claimed = Int(nonces.claims[.claimed] ?? 0)
        return outcome
    }

    private func feed(_ stream: Stream, _ nonces: NonceTable, _ outcome: inout Outcome) {
        let context = Unmanaged.passUnretained(stream).toOpaque()
        let records = clocaliorpc_records_create(context) { context, buffer, byteCount in
            guard let context, let buffer else { return -1 }
            let stream = Unmanaged<Stream>.fromOpaque(context).takeUnretainedValue()
            let piece = stream.rest.prefix(min(stream.step, Int(byteCount)))
            stream.rest = stream.rest.dropFirst(piece.count)
            UnsafeMutableRawBufferPointer(start: buffer, count: piece.count).copyBytes(from: piece)
            return Int32(piece.count)
        }
        guard let records else { return }
        defer { clocaliorpc_records_destroy(records) }
        var buffer: UnsafeMutablePointer<UInt8>?
        defer { free(buffer) }
        var capacity = 0
        while true {
            let answer = clocaliorpc_records_next(
                records, &buffer, &capacity, Self.byteCountLimit)
            if answer > Self.byteCountLimit { outcome.complaint = "a record of \(answer) bytes" }
            // Connection.next ends the connection at what is too short for a call.
            guard answer >= 24 else { return }
            let record = UnsafeRawBufferPointer(start: buffer, count: Int(answer))
            guard serve(record, nonces, &outcome) else { return }
        }
    }

    /// - Returns: false if the connection would end here.
    private func serve(
        _ record: UnsafeRawBufferPointer, _ nonces: NonceTable, _ outcome: inout Outcome
    ) -> Bool {
        outcome.records += 1
        switch codec.begin(record) {
        case .nonsense: return false
        case .denied: break
        case .call(let call) where call.program == AgentProtocol.program:
            _ = (codec.caller, codec.machineName)
            codec.answer(call, version: AgentProtocol.programVersion) {
                () throws(GarbageArguments) in
                try LocalIOProgram.serve(call.procedure, codec.input, Self.peer, nonces)
            }
        case .call(let call): codec.refuseProgram(call)
        }
        outcome.replies += 1
        let reply = codec.output.finish()
        let isWhole = reply.count >= 20 && reply.count <= 40 && reply.count % 4 == 0
        let repeatsNumber = isWhole && reply[4..<8].elementsEqual(record[..<4])
        let isReply = isWhole && reply[8..<12].elementsEqual([0, 0, 0, 1])
        let hasMark = isWhole && reply[..<4].elementsEqual([0x80, 0, 0, UInt8(reply.count - 4)])
        if !repeatsNumber || !isReply || !hasMark {
            outcome.complaint = "a reply of \(reply.count) bytes that is none: \(Array(reply))"
        }
        return true
    }
}

// The target of libFuzzer: the hand-off's decoder and assembler on any bytes. Built by run.sh.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMessages(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    let input = Array(UnsafeBufferPointer(start: bytes, count: count))
    if let message = try? AgentMessage.decode(input) {
        let again = try? AgentMessage.decode(Array(message.encoded().dropFirst(4)))
        precondition(again == message, "a message that does not survive the wire")
    }
    // The first byte says into which pieces the stream is cut.
    var assembler = FrameAssembler()
    var rest = input.dropFirst()
    let step = Int(input.first ?? 0) + 1
    while !rest.isEmpty {
        assembler.append(rest.prefix(step))
        rest = rest.dropFirst(step)
        do {
            while let frame = try assembler.next() { _ = try? AgentMessage.decode(frame) }
        } catch { break }
        precondition(assembler.byteCount < AgentProtocol.frameByteCountLimit + 4 + step)
    }
    return 0
}

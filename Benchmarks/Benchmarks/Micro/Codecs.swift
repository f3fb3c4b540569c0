// The hand-off protocol's messages to bytes and back, and the stream of a socket into frames.
import AgentProtocol
import Benchmark
import NFSTypes

private let handle = FileHandle((0..<28).map { UInt8($0) })

private let attributes = FileAttributes(
    type: .regular, mode: 0o640, linkCount: 1, uid: 1000, gid: 1001, size: 1 << 40,
    used: 4096, deviceMajor: 0, deviceMinor: 0, fileSystemID: 77, fileID: 1 << 50,
    accessTime: FileTime(seconds: 1, nanoseconds: 2),
    modifyTime: FileTime(seconds: 3, nanoseconds: 4),
    changeTime: FileTime(seconds: 5, nanoseconds: 999_999_999))

/// Encodes, decodes, and cuts out of a stream that holds the message again and again.
private func message(_ name: String, _ message: AgentMessage) {
    let bytes = message.encoded()
    Benchmark(plain("codec: encode \(name)")) { benchmark in
        for _ in benchmark.scaledIterations { blackHole(message.encoded()) }
    }
    Benchmark(plain("codec: frame and decode \(name)")) { benchmark in
        var assembler = FrameAssembler()
        for _ in benchmark.scaledIterations {
            assembler.append(bytes)
            guard let frame = try assembler.next() else { continue }
            blackHole(try AgentMessage.decode(frame))
        }
    }
}

func codecBenchmarks() {
    guard let handle else { return }
    message(
        "OPEN",
        .open(
            AgentOpenRequest(
                requestID: 9, handle: handle, access: .readWrite, exportPath: "/srv/data",
                pathHint: "projects/2026/measurements.dat")))
    message(
        "OPENED",
        .opened(
            AgentOpenReply(
                requestID: 9, openID: 5, exportID: 3, access: .readWrite, isDirect: true,
                hasBuffered: false, attributes: attributes)))
}

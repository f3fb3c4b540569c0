// One of each message, and random bytes with a seed.
import AgentProtocol
import Foundation
import NFSTypes

enum Samples {
    static let handle = FileHandle([1, 2, 3, 4, 250])!
    static let nonce = Nonce((0..<16).map { UInt8($0) })!
    static let attributes = FileAttributes(
        type: .regular, mode: 0o640, linkCount: 1, uid: 1000, gid: 1001, size: 1 << 40,
        used: 4096, deviceMajor: 0, deviceMinor: 0, fileSystemID: 77, fileID: 1 << 50,
        accessTime: FileTime(seconds: 1, nanoseconds: 2),
        modifyTime: FileTime(seconds: 3, nanoseconds: 4),
        changeTime: FileTime(seconds: 5, nanoseconds: 999_999_999))
    static let request = AgentOpenRequest(
        requestID: 9, handle: handle, access: .readWrite, exportPath: "/srv/größe",
        pathHint: "a/b c/\u{1F600}", wantsBuffered: true)
    static let reply = AgentOpenReply(
        requestID: 9, openID: .max, exportID: 3, access: .read, isDirect: true,
        hasBuffered: true, attributes: attributes)

    static let messages: [AgentMessage] = [
        .hello(lowest: 1, highest: 65535), .helloReply(version: 1),
        .register(nonce: nonce, peerAddress: "127.0.0.1"), .registered(nonce: nonce),
        .registerRefused(nonce: nonce, reason: .tooManyNonces), .confirm(nonce: nonce),
        .confirmed(nonce: nonce, isClaimed: true), .open(request), .opened(reply),
        .refused(requestID: 1, reason: .serverDenied, text: "no"), .release(openID: 5), .status,
        .statusReply(json: "{}"), .revoke(.all), .revoke(.export(7)), .revoke(.handle(handle)),
        .unknown(type: 999),
    ]
}

/// SplitMix64: the same numbers for the same seed everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    let seed: UInt64

    /// Takes the seed from `LOCALIO_SEED` if it is set.
    init() {
        let given = ProcessInfo.processInfo.environment["LOCALIO_SEED"].flatMap { UInt64($0) }
        seed = given ?? UInt64.random(in: 0...UInt64.max)
        state = seed
        print("LOCALIO_SEED=\(seed)")
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

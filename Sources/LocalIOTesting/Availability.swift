// Which tests can run here, and why others are skipped; in CI a skip is a failure.
internal import Glibc
internal import LocalIOBench

/// What a test needs of the machine.
package enum Requirement: Sendable {
    case root
    case ganesha
    case fuse
    case xfsOnZRAM
    case smallLoopDisk

    /// Why it is missing, or nil if it is there.
    package var missing: String? {
        switch self {
        case .root: geteuid() == 0 ? nil : "this needs root"
        case .ganesha: GaneshaServer.unavailableReason
        case .fuse:
            unsafe access("/dev/fuse", R_OK | W_OK) == 0 ? nil : "this needs /dev/fuse"
        case .xfsOnZRAM: BlockFixture.unavailableReason(.xfs, on: .zram)
        case .smallLoopDisk: BlockFixture.unavailableReason(.ext4, on: .loop)
        }
    }

    /// For `.enabled(if:)`: false skips the test with a line that says why. With LOCALIO_CI=1
    /// the test runs whatever is missing, and so fails.
    package var isMet: Bool {
        guard let reason = missing else { return true }
        let inCI = environment("LOCALIO_CI") == "1"
        let line = Array("\(inCI ? "missing" : "skipping"): \(reason)\n".utf8)
        _ = unsafe line.withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
        return inCI
    }
}

/// The seed of a random test: LOCALIO_SEED, or a new one. Print it with every failure.
package func testSeed() -> UInt64 {
    environment("LOCALIO_SEED").flatMap { UInt64($0) } ?? UInt64.random(in: 1...UInt64.max)
}

/// How many operations a random test makes: LOCALIO_OPERATIONS, or the default.
package func testOperations(_ usual: Int) -> Int {
    environment("LOCALIO_OPERATIONS").flatMap { Int($0) } ?? usual
}

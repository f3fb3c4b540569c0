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
    /// The loopback address ::1.
    case ipv6
    /// systemd-analyze and systemd-socket-activate; no running systemd.
    case systemdTools

    /// Why it is missing, or nil if it is there.
    package var missing: String? {
        switch self {
        case .root: geteuid() == 0 ? nil : "this needs root"
        case .ganesha: GaneshaServer.unavailableReason
        case .fuse:
            unsafe access("/dev/fuse", R_OK | W_OK) == 0 ? nil : "this needs /dev/fuse"
        case .xfsOnZRAM: BlockFixture.unavailableReason(.xfs, on: .zram)
        case .smallLoopDisk: BlockFixture.unavailableReason(.ext4, on: .loop)
        case .ipv6:
            Files.text(at: "/proc/net/if_inet6")?.contains("00000000000000000000000000000001 ")
                == true ? nil : "this needs the loopback address ::1"
        case .systemdTools:
            ChildProcess.find("systemd-analyze") != nil
                && ChildProcess.find("systemd-socket-activate") != nil
                ? nil : "this needs the package systemd; run Config/setup.sh"
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

/// Whether Thread or Address Sanitizer is linked in: everything is slower and larger then.
package var isSanitized: Bool {
    unsafe dlsym(nil, "__tsan_init") != nil || dlsym(nil, "__asan_init") != nil
}

/// How many operations a random test makes: LOCALIO_OPERATIONS, or the default.
package func testOperations(_ usual: Int) -> Int {
    environment("LOCALIO_OPERATIONS").flatMap { Int($0) } ?? usual
}

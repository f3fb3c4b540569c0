// Thousands of random calls by several users, the same on a mount and in a plain directory.
import Glibc
import LocalIOBench
import LocalIOTesting
import SystemPackage
import Testing

@Suite(.serialized, .enabled(if: canMount)) struct RandomCallTests {
    struct Place: CustomTestStringConvertible {
        let road: MountedRoad
        var options = ""

        var testDescription: String { "\(road.testDescription) \(options)" }

        static var all: [Place] {
            MountedServer.available.map { Place(road: MountedRoad(server: $0, isLocal: true)) }
                + [
                    Place(
                        road: MountedRoad(server: .embedded, isLocal: true),
                        options: ",direct_io"),
                    Place(
                        road: MountedRoad(server: .embedded, isLocal: true),
                        options: ",nowriteback_cache,noac"),
                    Place(
                        road: MountedRoad(server: .embedded, isLocal: true),
                        options: MountRoad.kernelPassesThrough
                            ? ",passthrough" : ",nowriteback_cache"),
                    Place(road: MountedRoad(server: .embedded, isLocal: false)),
                ]
        }
    }

    @Test(arguments: Place.all) func aMountAnswersAsAPlainDirectory(_ place: Place) throws {
        // The process's: every suite that needs one sets this.
        umask(0o022)
        let site = try MountSite(place.road.server)
        let mount = try site.mount(place.road.options + place.options)
        let plain = try TemporaryDirectory(mode: 0o777)
        let looksAtBits = place.road.server != .ganesha
        let expected = CallDirectory(
            plain.path.string + "/calls", looksAtDirectoryBits: looksAtBits)
        let seen = CallDirectory(mount.point + "/calls", looksAtDirectoryBits: looksAtBits)
        defer {
            expected.startAnew()
            seen.startAnew()
        }
        let seed = testSeed()
        var random = SeededGenerator(seed: seed)
        for step in 0..<testOperations(1500) {
            let call = RandomCall(using: &random)
            if !place.road.isLocal, needsLocalFile(call) { continue }
            let right = expected.perform(call)
            let answer = seen.perform(call)
            if right == answer { continue }
            let isGone = expected.holdsRemovedDirectory(call.slot)
            if !isKnown(call, right, answer, isGone: isGone) {
                Issue.record(
                    """
                    \(place.testDescription) step \(step), LOCALIO_SEED=\(seed): \
                    \(call.description)
                      plain \(right)
                      mount \(answer)
                    """)
                return
            }
            expected.startAnew()
            seen.startAnew()
        }
    }

    /// By RPC the server asks again at each write whether who opened the file may, and has no
    /// fallocate: there only root opens files to keep them.
    private func needsLocalFile(_ call: RandomCall) -> Bool {
        switch call.kind {
        case .allocate: true
        case .open, .write, .append, .resizeOpen: call.user.uid != 0
        default: false
        }
    }

    /// Differences that Mount.md lists.
    private func isKnown(
        _ call: RandomCall, _ right: [String], _ answer: [String], isGone: Bool
    ) -> Bool {
        // A directory that is open does not outlive its removal at an NFS server.
        if isGone, answer[0] == "errno \(ESTALE)" { return true }
        // A hidden file of someone who has it open is still in the directory.
        if call.kind == .rmdir || call.kind == .rename, right[0] == "0",
            answer[0] == "errno \(ENOTEMPTY)"
        {
            return true
        }
        return false
    }
}

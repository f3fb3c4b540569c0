// Runs the table on mounts and on a plain directory of the same file system.
import Glibc
import LocalIOBench
import SystemPackage
import Testing

@Suite(.serialized, .enabled(if: canMount)) struct SemanticsTests {
    /// What is different on a mount and why; the document Semantics.md lists the same.
    static let known: Set<String> = ["times of a file after same size"]

    /// What NFS-Ganesha 4.3 answers otherwise: it does not set the times of symbolic links, and by
    /// RPC asks what the file's mode says by then.
    static let knownOfGanesha: Set<String> = [
        "utimens of link", "utimens of dangling", "utimens of loop",
        "ftruncate asks the descriptor, not the file",
    ]

    @Test func theTableIsLongEnough() {
        #expect(SemanticsCases.all.count >= 200)
        #expect(Set(SemanticsCases.all.map(\.name)).count == SemanticsCases.all.count)
    }

    @Test(arguments: MountedRoad.two) func aMountIsAsAPlainDirectory(_ road: MountedRoad) throws {
        umask(0o022)
        let site = try MountSite(road.server)
        let mount = try site.mount(road.options)
        let plain = try TemporaryDirectory(mode: 0o777)
        chmod(plain.path.string, 0o777)
        var differences = 0
        for (index, example) in SemanticsCases.all.enumerated() {
            let expected = Self.run(example, in: plain.path.string + "/\(index)")
            let seen = Self.run(example, in: mount.point + "/\(index)")
            if expected == seen { continue }
            if Self.known.contains(example.name) { continue }
            if road.server == .ganesha, Self.knownOfGanesha.contains(example.name) { continue }
            differences += 1
            let lines = zip(expected, seen).filter { $0 != $1 }
                .map { "plain \($0)\n      mount \($1)" }.joined(separator: "\n      ")
            Issue.record("\(road.testDescription): \(example.name):\n      \(lines)")
        }
        #expect(differences == 0)
    }

    private static func run(_ example: SemanticsCase, in directory: String) -> [String] {
        mkdir(directory, 0o777)
        chmod(directory, 0o777)
        let probe = Probe(directory)
        example.body(probe)
        probe.end()
        return probe.lines
    }
}

// The arrows of the design: which room may see which.
import CFUSE
import Foundation
import Testing

@Suite struct LayeringTests {
    /// Our own modules that each of our modules may import. Arrows point downward only, and
    /// NFSClient and DirectIO never see each other.
    static let allowed: [String: Set<String>] = [
        "Threads": ["CLinux"],
        "NFSTypes": [],
        "AgentProtocol": ["NFSTypes", "Threads", "CLinux"],
        "NFSClient": ["NFSTypes", "Threads", "CNFS", "CLocalIORPC", "CLinux"],
        "DirectIO": ["NFSTypes", "Threads", "CUring", "CLinux"],
        "PageCache": ["NFSTypes", "Threads", "CLinux"],
        "LocalIO": [
            "NFSTypes", "NFSClient", "DirectIO", "PageCache", "AgentProtocol", "Threads", "CLinux",
        ],
        "LocalIOServer": ["AgentProtocol", "NFSTypes", "Threads", "CLocalIORPC", "CLinux"],
        "LocalIOAgent": [
            "LocalIOServer", "NFSClient", "AgentProtocol", "NFSTypes", "Threads", "CLinux",
        ],
        "LocalIOFUSE": [
            "LocalIO", "NFSClient", "DirectIO", "NFSTypes", "Threads", "CLocalIOFUSE", "CLinux",
        ],
        "LocalIOBench": [
            "LocalIO", "PageCache", "LocalIOServer", "NFSClient", "DirectIO", "NFSTypes", "Threads",
            "CLinux",
        ],
        "LocalIOSimulation": [
            "LocalIO", "PageCache", "LocalIOBench", "NFSClient", "DirectIO", "NFSTypes", "Threads",
            "CLinux",
        ],
        "LocalIOTesting": [
            "LocalIOBench", "LocalIO", "LocalIOServer", "NFSClient", "DirectIO", "NFSTypes",
            "Threads", "CLinux", "CAllocationCounter",
        ],
        "localio-bench": ["LocalIOBench"],
        "localiod": ["LocalIOServer", "LocalIOAgent", "AgentProtocol", "Threads"],
        "localio-mount": ["LocalIOFUSE"],
    ]

    /// The rooms behind each C fence: one, or a client's and a server's.
    static let fences: [String: Set<String>] = [
        "CUring": ["DirectIO"], "CNFS": ["NFSClient"],
        "CLocalIORPC": ["LocalIOServer", "NFSClient"], "CFUSE": [],
        "CLocalIOFUSE": ["LocalIOFUSE"],
    ]

    static let ours = Set(allowed.keys).union(fences.keys)
        .union(["CTIRPC", "CLinux", "CAllocationCounter"])

    static let swiftSources = SourceTree.files.filter { $0.isSource && $0.isSwift }

    @Test func everyRoomIsKnown() throws {
        let rooms = Set(Self.swiftSources.map(\.target))
        #expect(rooms.subtracting(Self.allowed.keys).isEmpty)
        #expect(rooms.isSuperset(of: ["NFSClient", "DirectIO", "LocalIO", "LocalIOServer"]))
    }

    @Test func importsPointDownward() {
        for file in Self.swiftSources {
            let allowed = Self.allowed[file.target] ?? []
            for (_, module, line) in file.imports where Self.ours.contains(module) {
                #expect(
                    allowed.contains(module),
                    "\(file.path):\(line): \(file.target) must not import \(module)")
            }
        }
    }

    @Test func cFencesAreImportedInternallyByTheirOwnRoom() {
        for file in Self.swiftSources {
            for (modifiers, module, line) in file.imports {
                let isC = Self.fences[module] != nil || module == "CLinux"
                guard isC else { continue }
                #expect(
                    modifiers.contains("internal"),
                    "\(file.path):\(line): write 'internal import \(module)'")
                if let rooms = Self.fences[module] {
                    #expect(
                        rooms.contains(file.target),
                        "\(file.path):\(line): only \(rooms.sorted()) see \(module)")
                }
            }
        }
    }

    @Test func libtirpcAndLibnfsNeverMeet() {
        for file in SourceTree.files where file.isSource {
            let imports = file.imports.map(\.module)
            #expect(!imports.contains("CTIRPC"), "\(file.path): no Swift file imports CTIRPC")
            if ["NFSClient", "CNFS"].contains(file.target) {
                let headers = file.lines.filter { $0.contains("#include") }
                #expect(!headers.contains { $0.contains("rpc/rpc.h") }, "\(file.path)")
            }
        }
    }

    @Test func testingHelpersAreLinkedByTestsOnly() {
        for file in SourceTree.files where file.isSource && file.target != "LocalIOTesting" {
            for (_, module, line) in file.imports {
                #expect(
                    module != "LocalIOTesting" && module != "Testing",
                    "\(file.path):\(line): \(module) belongs to tests")
            }
        }
    }

    @Test func theFencesExist() {
        for fence in Self.fences.keys {
            let path = SourceTree.root.appendingPathComponent("Sources/\(fence)").path
            #expect(FileManager.default.fileExists(atPath: path), "\(path) is missing")
        }
    }

    @Test func fuseIsNewEnough() { #expect(fuse_version() >= 314) }
}

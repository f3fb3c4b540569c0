// What one user may do with some files, on which road: a line per file and access, for tests
// that run it as another user or in another network namespace.
internal import DirectIO
internal import Glibc
internal import LocalIO
internal import SystemPackage

extension BenchCommand {
    /// Prints the locality, then for each file and each of read and write
    /// `NAME ACCESS local|REASON ok|ERROR`. Reading reads the first block; writing writes the
    /// same block back.
    package static func tryFiles(url: String, files: [String], agent: AgentChoice) -> Int32 {
        do throws(BenchError) {
            let client = try ClientSession.connect(url, locality: .agent, agent: agent)
            defer { client.closeBlocking() }
            print(ClientSession.text(client.locality))
            for name in files {
                for access in [AccessMode.readOnly, .readWrite] {
                    print("\(name) \(access.rawValue) \(tryFile(client, name, access))")
                }
            }
            return 0
        } catch {
            complain(error.message)
            return error.exitStatus
        }
    }

    private static func tryFile(
        _ client: LocalIOClient, _ name: String, _ access: AccessMode
    ) -> String {
        var road = "none"
        do throws(LocalIOError) {
            let file = try client.openBlocking(name, access)
            road = file.fallbackReason?.rawValue ?? "local"
            guard let buffer = AlignedBuffer(byteCount: 4096) else { return "\(road) no-memory" }
            let count = try unsafe file.readBlocking(
                into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: 4096), at: 0)
            if access.canWrite {
                _ = try unsafe file.writeBlocking(
                    from: UnsafeRawBufferPointer(start: buffer.baseAddress, count: count), at: 0)
            }
            try file.closeBlocking()
            return "\(road) ok"
        } catch {
            return "\(road) \(error.errno.rawValue)"
        }
    }
}

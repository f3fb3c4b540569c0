// One shape for every private server, so that tests and measurements are written once.
package import SystemPackage

/// A private NFS server on the loopback address that can be killed and started again.
///
/// Calls come from one thread at a time.
package protocol NFSServerFixture: AnyObject, Sendable {
    /// What to call it in reports: "embedded" or "ganesha".
    var name: String { get }
    /// The libnfs-style URL of the export, with its ports.
    var url: String { get }
    /// The exported local directory.
    var exportDirectory: FilePath { get }
    /// The server's process id; 0 while it is down.
    var processIdentifier: Int32 { get }
    /// CPU time of the server's process in nanoseconds; nil while it is down.
    var cpuNanoseconds: UInt64? { get }

    /// SIGKILL: nothing is flushed, nothing said goodbye.
    func kill9()
    /// Starts it again on the same ports with the same export, after `kill9` or in place of a
    /// running one, and waits until it answers.
    func restart() throws(BenchError)
    /// Ends it and removes its state, but not the exported directory. Later calls do nothing.
    func stop()
}

/// What an export allows.
package struct ExportOptions: Sendable {
    package enum Squash: String, Sendable {
        case none = "No_Root_Squash"
        case root = "Root_Squash"
        case all = "All_Squash"
    }

    package var readOnly: Bool
    package var squash: Squash
    /// For how long Ganesha believes cached attributes.
    package var attributeSeconds: Int

    package init(
        readOnly: Bool = false, squash: Squash = .none, attributeSeconds: Int = 60
    ) {
        self.readOnly = readOnly
        self.squash = squash
        self.attributeSeconds = attributeSeconds
    }
}

/// Servers of a run's own.
enum PrivateServer {
    static func start(
        _ choice: ServerChoice, exporting directory: FilePath
    ) throws(BenchError) -> any NFSServerFixture {
        switch choice {
        case .embedded: return try EmbeddedServerProcess(exporting: directory)
        case .ganesha:
            if let reason = GaneshaServer.unavailableReason {
                throw BenchError("--server ganesha: \(reason)")
            }
            return try GaneshaServer(exporting: directory)
        case .url(let url): throw BenchError("\(url): give embedded or ganesha", kind: .usage)
        }
    }
}

// Finds out whether the NFS server's export is a directory of this very host, step by step, and
// says how it knows.
internal import CLinux
internal import Glibc
internal import Logging
internal import NFSClient
internal import NFSTypes
public import SystemPackage

/// Whether file data can go the local road.
public enum Locality: Sendable, Hashable {
    case local(LocalityProof)
    case remote(FallbackReason)
}

/// How a local directory was proved to be the server's export.
public enum LocalityProof: String, Sendable, Hashable {
    /// A file with a random name, made through the server, appeared in the directory.
    case nonceFile = "nonce_file"
    /// The server is at an address of this host, and the root's inode and times, to the
    /// nanosecond, are the directory's.
    case rootAttributes = "root_attributes"
    /// A nonce, shown to the server's host by the LOCALIO program, reached the agent whose
    /// socket this process holds.
    case agent = "agent"
}

/// The probe's decision and the steps that led to it, in order.
public struct ProbeReport: Sendable {
    /// One thing that was tried.
    public struct Step: Sendable {
        public let name: String
        /// One line: what came of it.
        public let outcome: String
        public let duration: Duration
    }

    public internal(set) var steps: [Step] = []
    public internal(set) var locality: Locality = .remote(.noExportRoot)
    /// The export's directory on this host, if it was found.
    public internal(set) var exportRoot: FilePath?
}

/// Writes down the steps of a probe as they are made.
struct ProbeRecorder {
    var report = ProbeReport()
    private let clock = ContinuousClock()

    mutating func step<Value>(_ name: String, _ body: () -> (Value, String)) -> Value {
        let start = clock.now
        let (value, outcome) = body()
        report.steps.append(
            ProbeReport.Step(name: name, outcome: outcome, duration: clock.now - start))
        return value
    }

    mutating func note(_ name: String, _ outcome: String) {
        report.steps.append(ProbeReport.Step(name: name, outcome: outcome, duration: .zero))
    }

    mutating func decide(_ reason: FallbackReason) { report.locality = .remote(reason) }
}

/// One run of the probe; blocks on RPC, so it runs on a control thread.
///
/// Failing is not an error: the answer is `.remote` with a reason.
struct LocalityProbe {
    let session: NFSSession
    let configuration: ClientConfiguration
    let logger: Logger
    /// Runs work that may wait, on some other thread; false if it cannot.
    let later: @Sendable (@escaping @Sendable () -> Void) -> Bool

    /// First the agent. Without one, and if the configuration lets it, this process itself.
    func run() -> (report: ProbeReport, source: FileSource?) {
        var recorder = ProbeRecorder()
        if case .off = configuration.locality {
            recorder.decide(.localityOff)
            recorder.note("configuration", FallbackReason.localityOff.explanation)
            return (recorder.report, nil)
        }
        switch askAgent(&recorder) {
        case .proved(let connection):
            recorder.report.locality = .local(.agent)
            return (recorder.report, .agent(connection))
        case .refused(let reason):
            recorder.decide(reason)
            // A directory that was named is tried all the same: its own proof is as good.
            guard case .exportRoot = configuration.locality else { return (recorder.report, nil) }
        case .absent:
            recorder.decide(.noAgent)
            if case .agent = configuration.locality { return (recorder.report, nil) }
        }
        let root = findRoot(&recorder)
        return (recorder.report, root.map { .directory($0) })
    }

    /// The in-process resolver: a directory of this host that is proved to be the export.
    private func findRoot(_ recorder: inout ProbeRecorder) -> ExportRoot? {
        let candidates = recorder.step("export directory") { candidateDirectories() }
        if candidates.isEmpty { recorder.decide(.noExportRoot) }
        for path in candidates {
            let opened: ExportRoot? = recorder.step("open \(path)") {
                guard let root = ExportRoot(path: path) else {
                    return (nil, "cannot be opened: \(Errno(rawValue: errno))")
                }
                return (root, "inode \(root.inode)")
            }
            guard let root = opened else {
                recorder.decide(.exportRootUnreachable)
                continue
            }
            let attributes = recorder.step("root attributes") { compareRoot(root) }
            guard attributes != .differ else {
                recorder.decide(.exportRootDiffers)
                continue
            }
            var proof: LocalityProof?
            switch recorder.step("nonce file", { tryNonce(root) }) {
            case .seen: proof = .nonceFile
            case .notSeen: recorder.decide(.exportRootDiffers)
            case .notAllowed:
                let ours = recorder.step("server address") { addressIsOurs() }
                if ours && attributes == .equal { proof = .rootAttributes }
                recorder.decide(.notProved)
            }
            guard let proof else { continue }
            recorder.report.locality = .local(proof)
            recorder.report.exportRoot = root.path
            return root
        }
        return nil
    }

    /// The directory given, else those that the server's export list suggests.
    private func candidateDirectories() -> ([FilePath], String) {
        if case .exportRoot(let path) = configuration.locality { return ([path], "given: \(path)") }
        do throws(RPCError) {
            let exports = try NFSSession.exportsBlocking(of: session.url)
            let wanted = session.url.exportPath
            let found = exports.contains { entry in
                entry.directory == "/" || wanted == entry.directory
                    || wanted.hasPrefix(entry.directory + "/")
            }
            guard found else { return ([], "\(wanted) is not in the server's export list") }
            return ([FilePath(wanted)], "in the server's export list: \(wanted)")
        } catch {
            return ([], "the export list could not be read: \(error)")
        }
    }

    private enum RootComparison { case equal, sameInode, differ }

    private func compareRoot(_ root: ExportRoot) -> (RootComparison, String) {
        guard let local = root.status() else { return (.differ, "cannot be read locally") }
        do throws(RPCError) {
            let remote = try session.performBlocking(.getAttributes(session.root))
            guard remote.fileID == local.inode else {
                return (.differ, "inode \(remote.fileID) at the server, \(local.inode) here")
            }
            let equal =
                remote.modifyTime.isSame(local.modify_seconds, local.modify_nanoseconds)
                && remote.changeTime.isSame(local.change_seconds, local.change_nanoseconds)
            // Servers cache attributes, so other times alone prove nothing.
            return equal ? (.equal, "inode and times agree") : (.sameInode, "inode agrees")
        } catch {
            return (.differ, "\(error)")
        }
    }

    private enum NonceOutcome { case seen, notSeen, notAllowed }

    /// Makes a file through the server, looks for it here, removes it through the server.
    private func tryNonce(_ root: ExportRoot) -> (NonceOutcome, String) {
        var random = SystemRandomNumberGenerator()
        let digits = (0..<4).map { _ in String(random.next(), radix: 36) }.joined()
        let name = ".localio-probe-\(digits)"
        do throws(RPCError) {
            let made = try session.performBlocking(
                .create(session.root, NFSName(name), mode: .guarded(SetAttributes(mode: 0o600))))
            defer { removeNonce(name) }
            guard let local = root.status(name: name) else {
                return (.notSeen, "made at the server, not seen here")
            }
            if let attributes = made.attributes, attributes.fileID != local.inode {
                return (.notSeen, "another file here")
            }
            return (.seen, "made at the server, seen here")
        } catch {
            return (.notAllowed, "not possible: \(error)")
        }
    }

    private func removeNonce(_ name: String) {
        do throws(RPCError) {
            _ = try session.performBlocking(.remove(session.root, NFSName(name)))
        } catch {
            logger.warning("the probe's nonce file \(name) could not be removed: \(error)")
        }
    }

    /// Whether the server's address belongs to this network namespace: only then can a socket
    /// be bound to it.
    private func addressIsOurs() -> (Bool, String) {
        let address = session.serverAddress
        var hints = unsafe addrinfo()
        unsafe hints.ai_flags = AI_NUMERICHOST
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard unsafe getaddrinfo(address, "0", &hints, &list) == 0, let first = unsafe list
        else { return (false, "\(address) is no address") }
        defer { unsafe freeaddrinfo(list) }
        let descriptor = unsafe socket(first.pointee.ai_family, first.pointee.ai_socktype, 0)
        guard descriptor >= 0 else { return (false, "no socket to ask with") }
        defer { close(descriptor) }
        let bound = unsafe bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0
        return (bound, bound ? "\(address) is this host's" : "\(address) is not this host's")
    }
}

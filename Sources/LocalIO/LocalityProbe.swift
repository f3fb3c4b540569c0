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

/// One run of the probe; blocks on RPC, so it runs on a control thread.
///
/// Failing is not an error: the answer is `.remote` with a reason.
struct LocalityProbe {
    let session: NFSSession
    let setting: LocalitySetting
    let logger: Logger

    private struct Candidate {
        let root: ExportRoot
        let proof: LocalityProof
    }

    func run() -> (report: ProbeReport, root: ExportRoot?) {
        var report = ProbeReport()
        let clock = ContinuousClock()
        func step<Value>(_ name: String, _ body: () -> (Value, String)) -> Value {
            let start = clock.now
            let (value, outcome) = body()
            report.steps.append(
                ProbeReport.Step(name: name, outcome: outcome, duration: clock.now - start))
            return value
        }

        if case .off = setting {
            report.locality = .remote(.localityOff)
            step("configuration") { ((), FallbackReason.localityOff.explanation) }
            return (report, nil)
        }
        let candidates = step("export directory") { candidateDirectories() }
        for path in candidates {
            let root: ExportRoot? = step("open \(path)") {
                guard let root = ExportRoot(path: path) else {
                    return (nil, "cannot be opened: \(Errno(rawValue: errno))")
                }
                return (root, "inode \(root.inode)")
            }
            guard let root else {
                report.locality = .remote(.exportRootUnreachable)
                continue
            }
            let attributes = step("root attributes") { compareRoot(root) }
            guard attributes != .differ else {
                report.locality = .remote(.exportRootDiffers)
                continue
            }
            let nonce = step("nonce file") { tryNonce(root) }
            switch nonce {
            case .seen:
                return finish(&report, root, .nonceFile)
            case .notSeen:
                report.locality = .remote(.exportRootDiffers)
            case .notAllowed:
                let ours = step("server address") { addressIsOurs() }
                if ours && attributes == .equal { return finish(&report, root, .rootAttributes) }
                report.locality = .remote(.notProved)
            }
        }
        return (report, nil)
    }

    private func finish(
        _ report: inout ProbeReport, _ root: ExportRoot, _ proof: LocalityProof
    ) -> (ProbeReport, ExportRoot?) {
        report.locality = .local(proof)
        report.exportRoot = root.path
        return (report, root)
    }

    /// The directory given, else those that the server's export list suggests.
    private func candidateDirectories() -> ([FilePath], String) {
        if case .exportRoot(let path) = setting { return ([path], "given: \(path)") }
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
                .create(session.root, name, mode: .guarded(SetAttributes(mode: 0o600))))
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
            _ = try session.performBlocking(.remove(session.root, name))
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

extension FileTime {
    /// Whether a statx time is the same; NFSv3 carries the low 32 bits of the seconds.
    func isSame(_ localSeconds: Int64, _ localNanoseconds: UInt32) -> Bool {
        seconds == UInt32(truncatingIfNeeded: localSeconds) && nanoseconds == localNanoseconds
    }
}

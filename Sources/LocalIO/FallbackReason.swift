// Why an I/O does not go straight between the caller's memory and the local file: a value that
// the router returns and the statistics count, never an error.

/// Why something did not go direct. Every reason is counted; none is silent.
public enum FallbackReason: String, Sendable, Hashable, CaseIterable {
    /// Locality was switched off in the configuration.
    case localityOff = "locality_off"
    /// No local directory is known for the export (none given, none in the export list).
    case noExportRoot = "no_export_root"
    /// The export's local directory could not be opened by this process.
    case exportRootUnreachable = "export_root_unreachable"
    /// The local directory is not the one that the server exports.
    case exportRootDiffers = "export_root_differs"
    /// Neither a nonce file nor matching root attributes could prove that it is.
    case notProved = "not_proved"
    /// No agent listens at the configured socket, and nothing else may open local files.
    case noAgent = "no_agent"
    /// The agent refused this client or this file, or stopped answering.
    case agentRefused = "agent_refused"
    /// Nobody serves the LOCALIO program at the server's address.
    case programUnreachable = "program_unreachable"
    /// The nonce shown to the server's host did not reach the agent: another host, or a relay.
    case notClaimed = "not_claimed"
    /// The server's connection is down or its answer is still awaited; the lease is revoked.
    case leaseRevoked = "lease_revoked"
    /// The server does not grant this caller the access that a descriptor would give.
    case accessDenied = "access_denied"
    /// The file is not found under the export's local directory.
    case fileNotFound = "file_not_found"
    /// This process may not open the file, or the open failed.
    case localOpenFailed = "local_open_failed"
    /// The local file is another inode than the server's, or not a regular file.
    case fileDiffers = "file_differs"
    /// The file system reports no direct I/O geometry for the file (statx STATX_DIOALIGN).
    case noDirectIO = "no_direct_io"
    /// Offset or length is not a multiple of the file's direct I/O alignment; the policy says
    /// what became of the I/O. Counted once an I/O.
    case misaligned = "misaligned"
    /// The buffer's address is not aligned for direct I/O; otherwise as `misaligned`.
    case misalignedMemory = "misaligned_memory"
    /// The submission queue was full.
    case queueFull = "queue_full"
    /// No bounce buffer was free.
    case noBuffer = "no_buffer"
    /// The local I/O answered EINVAL, EAGAIN, EBADF or ESTALE and was driven again by RPC.
    case redriven = "redriven"
}

extension FallbackReason {
    /// One line for people.
    public var explanation: String {
        switch self {
        case .localityOff: "locality is switched off"
        case .noExportRoot: "no local directory is known for the export; give exportRoot"
        case .exportRootUnreachable: "the export's local directory cannot be opened here"
        case .exportRootDiffers: "the local directory is not the one the server exports"
        case .notProved: "nothing proved that the local directory is the server's"
        case .noAgent: "no agent listens at the socket; start localiod agent or mount its socket in"
        case .agentRefused: "the agent refused; localiod status says why"
        case .programUnreachable: "nobody serves LOCALIO at the server's address"
        case .notClaimed: "the agent did not see our nonce: the server is on another host"
        case .leaseRevoked: "the server is not answering; local I/O waits for it to come back"
        case .accessDenied: "the server does not grant the access a descriptor would give"
        case .fileNotFound: "the file is not under the export's local directory"
        case .localOpenFailed: "this process cannot open the local file"
        case .fileDiffers: "the local file is not the server's"
        case .noDirectIO: "the file system reports no direct I/O geometry"
        case .misaligned: "offset or length is not aligned for direct I/O"
        case .misalignedMemory: "the buffer's address is not aligned for direct I/O"
        case .queueFull: "the submission queue was full"
        case .noBuffer: "no bounce buffer was free"
        case .redriven: "the local I/O failed in a way that RPC may mend"
        }
    }

    /// Whether the same file may get a local road later without being opened anew.
    var mayPass: Bool { self == .leaseRevoked || self == .agentRefused }

    /// Position in `allCases`, for counters: cases without values are numbered in that order.
    var index: Int { Int(unsafe unsafeBitCast(self, to: UInt8.self)) }
}

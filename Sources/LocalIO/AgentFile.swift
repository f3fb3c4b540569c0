// Opens a file through the agent, and checks that what it handed out is what was asked for.
internal import AgentProtocol
internal import CLinux
internal import DirectIO
internal import Glibc
internal import NFSTypes

extension AgentConnection {
    /// Asks for a file that the server has just named, without waiting.
    ///
    /// - Parameters:
    ///   - exportPath: as mounted.
    ///   - path: below it, where an agent that cannot open by handle looks.
    ///   - buffered: also for buffered I/O, for the edges of policy `local`.
    func begin(
        exportPath: String, _ handle: FileHandle, path: NFSName, access: AccessMode,
        buffered: Bool
    ) -> AgentQuestion? {
        // The hint is text; an agent that opens by handle needs none.
        begin(
            AgentOpenRequest(
                requestID: 0, handle: handle, access: access.agentAccess,
                exportPath: exportPath, pathHint: path.text ?? "", wantsBuffered: buffered))
    }
}

extension AgentQuestion {
    /// The file that was asked for; waits for the agent's answer.
    ///
    /// - Parameter found: what the server said about the file; the descriptor must be that inode.
    func open(_ found: FoundFile, access: AccessMode) -> Result<LocalFile, FallbackError> {
        guard var delivery = answer() else { return .failure(.because(.agentRefused)) }
        switch delivery.message {
        case .refused(_, let reason, _):
            return .failure(.because(reason.fallbackReason))
        case .opened(let reply):
            // From here on the agent is told when the open is over, also if it is of no use.
            let ticket = AgentTicket(connection: connection, reply: reply)
            guard let direct = delivery.direct.take() else {
                return .failure(.because(.agentRefused))
            }
            let directFile = Descriptor(owning: direct.take())
            var bufferedFile: Descriptor? = nil
            if let second = delivery.buffered.take() {
                bufferedFile = Descriptor(owning: second.take())
            }
            return check(
                direct: directFile, buffered: bufferedFile, reply, ticket, found, access)
        default:
            return .failure(.because(.agentRefused))
        }
    }

    private func check(
        direct: consuming Descriptor, buffered: consuming Descriptor?, _ reply: AgentOpenReply,
        _ ticket: AgentTicket, _ found: FoundFile, _ access: AccessMode
    ) -> Result<LocalFile, FallbackError> {
        guard reply.attributes.fileID == found.attributes.fileID,
            let status = try? FileStatus.of(fd: direct.raw),
            status.isRegularFile, status.inode == found.attributes.fileID
        else { return .failure(.because(.fileDiffers)) }
        guard access.isMode(of: direct.raw) else { return .failure(.because(.localOpenFailed)) }
        if let file = buffered.borrowed, !isSame(file, status, access) {
            return .failure(.because(.fileDiffers))
        }
        guard reply.isDirect, fcntl(direct.raw, F_GETFL) & clinux_o_direct != 0,
            let geometry = status.geometry
        else { return .failure(.because(.noDirectIO)) }
        return .success(
            LocalFile(direct: direct, buffered: buffered, geometry: geometry, ticket: ticket))
    }

    private func isSame(_ raw: Int32, _ status: FileStatus, _ access: AccessMode) -> Bool {
        guard let other = try? FileStatus.of(fd: raw) else { return false }
        return other.inode == status.inode && other.device == status.device
            && access.isMode(of: raw)
    }
}

extension Optional where Wrapped == Descriptor {
    /// The number, still owned here.
    fileprivate var borrowed: Int32? {
        switch self {
        case .some(let file): file.raw
        case .none: nil
        }
    }
}

extension AccessMode {
    var agentAccess: AgentAccess {
        switch self {
        case .readOnly: .read
        case .writeOnly: .write
        case .readWrite: .readWrite
        }
    }

    /// Whether an open descriptor allows exactly this.
    func isMode(of descriptor: Int32) -> Bool {
        let flags = fcntl(descriptor, F_GETFL)
        return flags >= 0 && flags & O_ACCMODE == openFlags & O_ACCMODE
    }
}

extension AgentRefusal {
    /// Under which reason the file's I/O goes by RPC.
    var fallbackReason: FallbackReason {
        switch self {
        case .serverDenied, .readOnly: .accessDenied
        case .serverGone, .shuttingDown, .notConfirmed: .leaseRevoked
        case .cannotFind, .staleHandle: .fileNotFound
        case .differentFile, .notRegularFile: .fileDiffers
        case .openFailed: .localOpenFailed
        case .unspecified, .unknownExport, .foreignHandle, .badHandle, .badPathHint,
            .tooManyOpens, .tooManyInFlight, .tooManyNonces, .duplicateNonce, .badAddress,
            .noDescriptors:
            .agentRefused
        }
    }
}

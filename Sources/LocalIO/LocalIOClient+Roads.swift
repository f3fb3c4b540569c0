// Which road a file's I/O gets: asks the agent or opens in the export's directory, when the file
// has its first I/O or, if that is to be expected, while the server is still asked about the open.
internal import DirectIO
internal import Glibc
package import NFSTypes

extension LocalIOClient {
    /// Asks the agent for a file that is being opened, if the last opens were followed by I/O:
    /// the answer is on its way while the server is asked. For regular files, and to be handed
    /// to `open`. Does not wait.
    ///
    /// - Parameters:
    ///   - path: below the export, without symbolic links.
    ///   - isCertain: I/O follows in any case.
    package func askAhead(
        _ handle: FileHandle, path: @autoclosure () -> NFSName, _ access: AccessMode,
        isCertain: Bool = false
    ) -> OpenAhead? {
        guard isCertain || forecast.expectsIO else { return nil }
        let (source, revocations) = lease.source
        guard case .agent(let agent) = source, let place = forecast.takePlace() else { return nil }
        let question = agent.begin(
            exportPath: url.exportPath, handle, path: path(), access: access,
            buffered: isAlsoBuffered(access))
        return question.map {
            OpenAhead(question: $0, access: access, revocations: revocations, place: place)
        }
    }

    /// Gives a file the road that there is now; waits while the agent is asked.
    func openRoad(of file: LocalIOFile, found: FoundFile, ahead: OpenAhead? = nil) {
        let (route, revocations) = localRoute(of: found, access: file.access, ahead)
        file.setRoute(route)
        hold(file, revocations)
    }

    /// The road of a file that was found at the server, and the lease's count of revocations
    /// before it was opened.
    private func localRoute(
        of found: FoundFile, access: AccessMode, _ ahead: OpenAhead?
    ) -> (route: Route, revocations: UInt64) {
        let (source, revocations) = lease.source
        // The server is the judge: without its permission no descriptor is used.
        guard found.granted.isSuperset(of: access.rights) else {
            return (.remote(source == nil ? lease.reason : .accessDenied), revocations)
        }
        let outcome: Result<LocalFile, FallbackError>
        switch source {
        case nil: return (.remote(lease.reason), revocations)
        case .directory(let root):
            outcome = root.open(
                path: found.resolvedPath, access: access, attributes: found.attributes,
                buffered: isAlsoBuffered(access))
        case .agent(let agent):
            outcome = open(found, access, by: agent, ahead, revocations)
        }
        switch outcome {
        case .success(let local):
            if !configuration.readsPageCache { local.hint.turnOff() }
            return (.local(local), revocations)
        case .failure(let error): return (.remote(error.reason), revocations)
        }
    }

    private func open(
        _ found: FoundFile, _ access: AccessMode, by agent: AgentConnection,
        _ ahead: OpenAhead?, _ revocations: UInt64
    ) -> Result<LocalFile, FallbackError> {
        guard found.attributes.type == .regular else { return .failure(.because(.fileDiffers)) }
        // An answer from before a revocation is worth nothing.
        if let ahead, ahead.revocations == revocations, ahead.access == access,
            ahead.question.connection === agent
        {
            return ahead.question.open(found, access: access)
        }
        let question = agent.begin(
            exportPath: url.exportPath, found.handle, path: found.resolvedPath, access: access,
            buffered: isAlsoBuffered(access))
        return question?.open(found, access: access) ?? .failure(.because(.agentRefused))
    }

    /// Whether some I/O of such a file goes through this host's page cache: the edges of policy
    /// `local`, misaligned streams, and reads of what is there.
    private func isAlsoBuffered(_ access: AccessMode) -> Bool {
        configuration.misalignment == .local && (access.canWrite || configuration.readsAhead)
            || configuration.readsPageCache && access.canRead
    }

    /// After a file got its road: the lease may have gone meanwhile, or may give one later.
    private func hold(_ file: LocalIOFile, _ revocations: UInt64) {
        switch file.currentRoute {
        case nil: break
        case .local:
            if !lease.stillHolds(revocations) { file.setRoute(.remote(.leaseRevoked)) }
        case .remote(let reason):
            if reason.mayPass { lease.tryAgainLater() }
        }
    }
}

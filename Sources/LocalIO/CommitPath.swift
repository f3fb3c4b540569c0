// Makes written bytes durable on both roads and makes the server notice local writes: fsync and
// close end here.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import Logging
package import NFSClient
package import NFSTypes

extension LocalIOFile {
    /// Makes everything written so far durable, and lets other NFS clients see it.
    ///
    /// Local writes: fdatasync(2). UNSTABLE RPC writes: COMMIT; what was written under another
    /// verifier (the server restarted) is sent again, FILE_SYNC, from the bytes kept. After local
    /// writes the server is made to look at the file's attributes again.
    ///
    /// Concurrent commits of one file take turns: none returns before the bytes it answers for
    /// are durable. Blocks.
    ///
    /// On an error the duty remains and a later commit tries again; but as with fsync(2), the
    /// kernel reports a failed write-back of buffered bytes (edges of policy `local`) once: bytes
    /// written before a commit that threw are to be written again, not only committed again.
    public func commitBlocking() throws(LocalIOError) {
        try checkOpen()
        try flush()
    }

    /// `commitBlocking` for async callers.
    public func commit() async throws(LocalIOError) {
        try await client.commitLane.run { () throws(LocalIOError) in try self.commitBlocking() }
    }
}

extension TransferFile {
    /// The work of commit and close.
    package func flush() throws(LocalIOError) {
        try state.flushingAlone { () throws(LocalIOError) in
            // Once more for each restart of the server in the middle of it.
            while try !flushAlone() {}
            refreshServer()
        }
    }

    /// - Returns: false if it has to be done again.
    private func flushAlone() throws(LocalIOError) -> Bool {
        var isCovered = true
        var mustCommit = !state.uncommitted.isEmpty
        if state.takeLocalDirty() {
            switch route() {
            case .local(let local):
                let result = syncLocal(local)
                if result < 0 {
                    state.putBackLocalDirty()
                    throw .result(result, doing: "fdatasync of \(path)")
                }
            case .remote:
                // The lease went after local writes: the server's COMMIT is an fsync of the same
                // inode, which empties the same device's cache.
                mustCommit = true
            }
            if mustCommit, case .remote = route() {
                do throws(LocalIOError) {
                    isCovered = try commitByRPC()
                } catch {
                    state.putBackLocalDirty()
                    throw error
                }
                mustCommit = false
            }
        }
        if mustCommit { isCovered = try commitByRPC() }
        return isCovered
    }

    /// COMMIT of the whole file; re-sends what another incarnation of the server took.
    /// - Returns: false if a newer write may have replaced what the server has lost: then that
    ///   one is to be made durable.
    private func commitByRPC() throws(LocalIOError) -> Bool {
        let sequence = state.uncommitted.lastSequence
        let verifiers = state.uncommitted.verifiers
        do throws(RPCError) {
            // Before the call: of a local write that ends meanwhile it may know nothing.
            let wasBehind = state.refreshBegins()
            var hasFailed = true
            defer { state.refreshEnds(isBehind: wasBehind && hasFailed) }
            let reply = try commitRemote()
            hasFailed = false
            let again = state.uncommitted.committed(through: sequence, verifier: reply.verifier)
            for piece in again { try resend(piece) }
            return verifiers.subtracting([reply.verifier]).isEmpty
        } catch {
            throw LocalIOError(rpc: error, doing: "commit of \(path)")
        }
    }

    /// Sends a kept piece again, unless a newer write has replaced it meanwhile.
    private func resend(_ piece: UncommittedWrites.Piece) throws(RPCError) {
        let token = state.ranges.acquireBlocking(
            PageRange(offset: piece.offset, byteCount: piece.bytes.count), .exclusive)
        defer { state.ranges.release(token) }
        let current = state.uncommitted.remainder(
            offset: piece.offset, end: piece.end, through: piece.sequence)
        for part in current where part.sequence == piece.sequence {
            countResentWrite()
            try writeStable(part)
            state.uncommitted.settled(part)
        }
    }

    private func writeStable(_ piece: UncommittedWrites.Piece) throws(RPCError) {
        let waiter = BlockingResult<RPCError?>(nil)
        // The array outlives the call: `wait` returns only after the completion.
        unsafe piece.bytes.withUnsafeBytes { bytes in
            unsafe writeRemote(offset: piece.offset, from: bytes, stable: .fileSync) { result in
                switch result {
                case .success: waiter.finish(nil)
                case .failure(let error): waiter.finish(error)
                }
            }
            waiter.wait()
        }
        if let error = waiter.value { throw error }
    }

    /// Makes a server that caches attributes notice local writes (close-to-open consistency).
    ///
    /// GETATTR tells whether it has to: a server that never caches answers as statx does.
    /// SETATTR with mtime = SET_TO_SERVER_TIME makes NFS-Ganesha look again; GETATTR, ACCESS,
    /// LOOKUP and READ do not. A failure is no error of the commit: the bytes are durable, and
    /// a server that restarts has forgotten what it cached.
    /// - Returns: why the server may not have looked, if it may not.
    @discardableResult
    func refreshServer() -> RPCError? {
        guard access.canWrite, state.isServerBehind else { return nil }
        // Even if another caller has begun: its call may still be on the way.
        _ = state.refreshBegins()
        let error = makeServerLook()
        state.refreshEnds(isBehind: error != nil)
        return error
    }

    private func makeServerLook() -> RPCError? {
        do throws(RPCError) {
            if case .local(let local) = route(), let here = localAttributes(local) {
                let there = try remoteAttributes()
                let isSame =
                    there.size == here.size && there.modifyTime == here.modifyTime
                    && there.changeTime == here.changeTime
                if isSame { return nil }
            }
            try touchServer()
            return nil
        } catch {
            logger.debug("the server could not be made to look at \(path): \(error)")
            return error
        }
    }

    /// The file may have been given to others since it was opened, or closed to its opener: then
    /// SETATTR is refused. COMMIT, which NFS-Ganesha heeds as well, changes nothing and is not.
    private func touchServer() throws(RPCError) {
        do throws(RPCError) {
            try setRemoteAttributes(SetAttributes(modifyTime: .serverTime))
        } catch {
            guard error.isRefusal else { throw error }
            _ = try commitRemote()
        }
    }

    /// Sets the size in bytes at the server, with the whole file's range held; waits.
    package func setSize(to size: UInt64) throws(LocalIOError) {
        let token = state.ranges.acquireBlocking(.wholeFile, .exclusive)
        defer { state.ranges.release(token) }
        do throws(RPCError) {
            try setRemoteAttributes(SetAttributes(size: size))
            state.uncommitted.truncate(to: size)
        } catch {
            throw LocalIOError(rpc: error, doing: "truncate of \(path) to \(size) bytes")
        }
    }

    /// The attributes as they are: by statx(2) while the local road is open, else by GETATTR;
    /// waits.
    ///
    /// The size covers what is kept until it is committed: a server that restarted may not have
    /// it, and an append there would overwrite it.
    package func currentAttributes() throws(RPCError) -> FileAttributes {
        // Before asking: what is committed meanwhile is kept no longer.
        let keptEnd = state.uncommitted.isEmpty ? 0 : state.uncommitted.end
        var attributes = try answeredAttributes()
        attributes.size = max(attributes.size, keptEnd)
        return attributes
    }

    private func answeredAttributes() throws(RPCError) -> FileAttributes {
        // Without a road nothing was written through this open: only what others wrote locally
        // makes the local file worth opening.
        if hasRoute || state.isServerBehind, case .local(let local) = route(),
            let here = localAttributes(local)
        {
            return here
        }
        // A size from before local writes would cut off what they wrote.
        if let error = refreshServer(), !error.isRefusal { throw error }
        return try remoteAttributes()
    }

    /// Starts a commit in the background when the client keeps too many uncommitted bytes.
    func commitInBackgroundIfDue() {
        guard budget.usedBytes > budget.commitThreshold, state.takeCommitTurn()
        else { return }
        let accepted = runCommitWork {
            do throws(LocalIOError) {
                _ = try self.commitByRPC()
            } catch {
                // Nothing is forgotten: the bytes stay kept, and the caller's own commit
                // meets the same error.
                self.logger.debug("background commit of \(self.path): \(error)")
            }
            self.state.endCommitTurn()
        }
        if !accepted { state.endCommitTurn() }
    }
}

extension RPCError {
    /// The server has answered that this caller may not make it look: it never will.
    var isRefusal: Bool {
        status == .notOwner || status == .accessDenied || status == .readOnlyFileSystem
    }
}

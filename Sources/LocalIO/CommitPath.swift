// Makes written bytes durable on both roads and makes the server notice local writes: fsync and
// close end here.
internal import CLinux
internal import DirectIO
internal import Glibc
internal import Logging
internal import NFSClient
internal import NFSTypes

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

    /// The work of commit and close.
    func flush() throws(LocalIOError) {
        try state.flushingAlone { () throws(LocalIOError) in try flushAlone() }
    }

    private func flushAlone() throws(LocalIOError) {
        var mustCommit = !state.uncommitted.isEmpty
        if state.takeLocalDirty() {
            switch route() {
            case .local(let local):
                let result = client.engine.syncBlocking(fd: local.direct.raw, dataOnly: true)
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
                    try commitByRPC()
                } catch {
                    state.putBackLocalDirty()
                    throw error
                }
                mustCommit = false
            }
        }
        if mustCommit { try commitByRPC() }
        refreshServer()
    }

    /// COMMIT of the whole file; re-sends what another incarnation of the server took.
    private func commitByRPC() throws(LocalIOError) {
        let sequence = state.uncommitted.lastSequence
        do throws(RPCError) {
            let reply = try client.session.performBlocking(
                .commit(state.handle, offset: 0, byteCount: 0), credentials: credentials)
            _ = state.takeServerBehind()
            let again = state.uncommitted.committed(through: sequence, verifier: reply.verifier)
            for piece in again { try resend(piece) }
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
            client.counters.resentWrite()
            try writeStable(part)
            state.uncommitted.settled(part)
        }
    }

    private func writeStable(_ piece: UncommittedWrites.Piece) throws(RPCError) {
        let waiter = BlockingResult<RPCError?>(nil)
        // The array outlives the call: `wait` returns only after the completion.
        unsafe piece.bytes.withUnsafeBytes { bytes in
            _ = unsafe client.session.write(
                state.handle, offset: piece.offset, from: bytes, stable: .fileSync,
                credentials: credentials
            ) { result in
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
    func refreshServer() {
        guard access.canWrite, state.takeServerBehind() else { return }
        do throws(RPCError) {
            if case .local(let local) = route(), let here = local.status() {
                let there = try client.session.performBlocking(
                    .getAttributes(state.handle), credentials: credentials)
                let isSame =
                    there.size == here.size
                    && there.modifyTime.isSame(here.modify_seconds, here.modify_nanoseconds)
                    && there.changeTime.isSame(here.change_seconds, here.change_nanoseconds)
                if isSame { return }
            }
            _ = try client.session.performBlocking(
                .setAttributes(
                    state.handle, SetAttributes(modifyTime: .serverTime), guardChangeTime: nil),
                credentials: credentials)
        } catch {
            state.putBackServerBehind()
            client.logger.debug("the server could not be made to look at \(path): \(error)")
        }
    }

    /// Starts a commit in the background when the client keeps too many uncommitted bytes.
    func commitInBackgroundIfDue() {
        guard client.budget.usedBytes > client.budget.commitThreshold, state.takeCommitTurn()
        else { return }
        let accepted = client.commitLane.submit {
            do throws(LocalIOError) {
                try self.commitByRPC()
            } catch {
                // Nothing is forgotten: the bytes stay kept, and the caller's own commit
                // meets the same error.
                self.client.logger.debug("background commit of \(self.path): \(error)")
            }
            self.state.endCommitTurn()
        }
        if !accepted { state.endCommitTurn() }
    }
}

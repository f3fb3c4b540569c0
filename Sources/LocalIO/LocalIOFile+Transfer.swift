// An open file of a client as transfers and commits see it: the client's engine is its local
// road, the client's session its RPC road.
internal import CLinux
package import DirectIO
package import Logging
package import NFSClient
package import NFSTypes

extension LocalIOFile: TransferFile {
    package var hasRoute: Bool { currentRoute != nil }
    package var misalignment: MisalignmentPolicy { client.configuration.misalignment }
    package var readsAhead: Bool { client.configuration.readsAhead }
    package var budget: UncommittedBudget { client.budget }
    package var logger: Logger { client.logger }

    package func enqueue(_ operation: IOOperation, _ completion: IOCompletion) -> Bool {
        client.engine.enqueue(operation, completion)
    }
    package var bouncePool: BufferPool? { client.engine.pool }
    package var usesDontCache: Bool { client.usesDontCache }
    package func dontCacheIsRefused() { client.dontCacheIsRefused() }
    package func syncLocal(_ local: LocalFile) -> Int64 {
        client.engine.syncBlocking(fd: local.direct.raw, dataOnly: true)
    }
    package func localAttributes(_ local: LocalFile) -> FileAttributes? {
        local.status().map { FileAttributes($0) }
    }

    package func readRemote(
        offset: UInt64, into target: UnsafeMutableRawBufferPointer,
        completion: @escaping @Sendable (Result<ReadReply, RPCError>) -> Void
    ) {
        _ = unsafe client.session.read(
            state.handle, offset: offset, into: target, credentials: credentials,
            completion: completion)
    }
    package func writeRemote(
        offset: UInt64, from source: UnsafeRawBufferPointer, stable: StableHow,
        completion: @escaping @Sendable (Result<WriteReply, RPCError>) -> Void
    ) {
        _ = unsafe client.session.write(
            state.handle, offset: offset, from: source, stable: stable,
            credentials: credentials, completion: completion)
    }
    package func touchRemote(completion: @escaping @Sendable (Result<Void, RPCError>) -> Void) {
        let call = NFSCall.setAttributes(
            state.handle, SetAttributes(modifyTime: .serverTime), guardChangeTime: nil)
        _ = client.session.start(call, credentials: credentials) { [self] result in
            // COMMIT has a server look, too, and asks for no right to change the file.
            guard case .failure(let error) = result, error.isRefusal else {
                return completion(result.map { _ in })
            }
            let commit = NFSCall.commit(state.handle, offset: 0, byteCount: 0)
            _ = client.session.start(commit, credentials: credentials) { result in
                completion(result.map { _ in })
            }
        }
    }
    package func commitRemote() throws(RPCError) -> CommitReply {
        try client.session.performBlocking(
            .commit(state.handle, offset: 0, byteCount: 0), credentials: credentials)
    }
    package func remoteAttributes() throws(RPCError) -> FileAttributes {
        try client.session.performBlocking(
            .getAttributes(state.handle), credentials: credentials)
    }
    package func setRemoteAttributes(_ attributes: SetAttributes) throws(RPCError) {
        _ = try client.session.performBlocking(
            .setAttributes(state.handle, attributes, guardChangeTime: nil),
            credentials: credentials)
    }

    package func fallBack(_ reason: FallbackReason) { client.counters.fallBack(reason) }
    package func record(_ road: Statistics.Road, byteCount: Int, started: UInt64) {
        client.counters.record(
            road, byteCount: byteCount, nanoseconds: clinux_monotonic_nanoseconds() - started)
    }
    package func countResentWrite() { client.counters.resentWrite() }
    package func countCachedRead() { client.counters.cachedRead() }
    package func runControlWork(_ work: @escaping @Sendable () -> Void) -> Bool {
        client.lane.submit(work)
    }
    package func runCommitWork(_ work: @escaping @Sendable () -> Void) -> Bool {
        client.commitLane.submit(work)
    }
}

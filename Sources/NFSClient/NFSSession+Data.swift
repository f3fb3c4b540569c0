// Reading and writing file data of any length: split to what the server takes, short answers
// continued, one completion.
public import NFSTypes
internal import Threads

extension NFSSession {
    /// Reads into `target` from `offset`.
    ///
    /// The memory belongs to the request until the completion has been called, exactly once, on
    /// a connection's thread (it must not block); after that the session never touches it.
    /// A server with stale attributes (Ganesha caches them) may say end of file too early; the
    /// reply is what the server said.
    /// - Returns: a name to cancel it by.
    @discardableResult
    public func read(
        _ handle: FileHandle, offset: UInt64, into target: UnsafeMutableRawBufferPointer,
        credentials: Credentials? = nil,
        completion: @escaping @Sendable (Result<ReadReply, RPCError>) -> Void
    ) -> RequestID {
        let id = makeID(connection: leastLoaded())
        let limit = readByteCountLimit
        if let cause = refusal(offset: offset, byteCount: target.count) {
            completion(.failure(RPCError(cause, server: server, procedure: "READ")))
            return id
        }
        if target.count <= limit {
            let request = unsafe ReadRequest(
                number: id.number, handle: handle, offset: offset, target: target,
                credentials: credentials, completion: completion)
            submit([request], id)
            return id
        }
        let count = (target.count + limit - 1) / limit
        let collector = PartCollector<ReadReply>(count: count) { completion(joined(reads: $0)) }
        var parts: [Request] = []
        for index in 0..<count {
            let start = index * limit
            let slice = unsafe UnsafeMutableRawBufferPointer(
                rebasing: target[start..<min(start + limit, target.count)])
            parts.append(
                unsafe ReadRequest(
                    number: id.number, handle: handle, offset: offset + UInt64(start),
                    target: slice, credentials: credentials
                ) { collector.finish(part: index, $0) })
        }
        submit(parts, id)
        return id
    }

    /// Writes `source` at `offset`, all of it or an error.
    ///
    /// The memory belongs to the request until the completion has been called, exactly once, on
    /// a connection's thread. Two writes that overlap are ordered only by waiting for the first.
    /// - Parameter stable: how durable the data must be when the server answers.
    /// - Returns: a name to cancel it by.
    @discardableResult
    public func write(
        _ handle: FileHandle, offset: UInt64, from source: UnsafeRawBufferPointer,
        stable: StableHow, credentials: Credentials? = nil,
        completion: @escaping @Sendable (Result<WriteReply, RPCError>) -> Void
    ) -> RequestID {
        let id = makeID(connection: leastLoaded())
        let limit = writeByteCountLimit
        if let cause = refusal(offset: offset, byteCount: source.count) {
            completion(.failure(RPCError(cause, server: server, procedure: "WRITE")))
            return id
        }
        if source.count <= limit {
            let request = unsafe WriteRequest(
                number: id.number, handle: handle, offset: offset, source: source,
                stable: stable, credentials: credentials, completion: completion)
            submit([request], id)
            return id
        }
        let count = (source.count + limit - 1) / limit
        let collector = PartCollector<WriteReply>(count: count) {
            completion(joined(writes: $0))
        }
        var parts: [Request] = []
        for index in 0..<count {
            let start = index * limit
            let slice = unsafe UnsafeRawBufferPointer(
                rebasing: source[start..<min(start + limit, source.count)])
            parts.append(
                unsafe WriteRequest(
                    number: id.number, handle: handle, offset: offset + UInt64(start),
                    source: slice, stable: stable, credentials: credentials
                ) { collector.finish(part: index, $0) })
        }
        submit(parts, id)
        return id
    }

    /// Reads and blocks the calling thread until answered. Never from a completion.
    public func readBlocking(
        _ handle: FileHandle, offset: UInt64, into target: UnsafeMutableRawBufferPointer,
        credentials: Credentials? = nil
    ) throws(RPCError) -> ReadReply {
        let answer = Answer<ReadReply, RPCError>()
        unsafe read(handle, offset: offset, into: target, credentials: credentials) {
            answer.set($0)
        }
        return try answer.wait()
    }

    /// Writes and blocks the calling thread until answered. Never from a completion.
    public func writeBlocking(
        _ handle: FileHandle, offset: UInt64, from source: UnsafeRawBufferPointer,
        stable: StableHow, credentials: Credentials? = nil
    ) throws(RPCError) -> WriteReply {
        let answer = Answer<WriteReply, RPCError>()
        unsafe write(
            handle, offset: offset, from: source, stable: stable, credentials: credentials
        ) { answer.set($0) }
        return try answer.wait()
    }

    /// Nothing may end past the last byte a 64-bit offset can name.
    private func refusal(offset: UInt64, byteCount: Int) -> RPCError.Cause? {
        offset.addingReportingOverflow(UInt64(byteCount)).overflow ? .status(.invalid) : nil
    }

    private func submit(_ parts: [Request], _ id: RequestID) {
        guard let cause = connections[id.connectionIndex].submit(parts: parts) else { return }
        for part in parts {
            part.fail(RPCError(cause, server: server, procedure: part.procedure))
        }
    }
}

// How requests go out and replies come in, on the connection's thread.
internal import CLinux
internal import CNFS
internal import Glibc
internal import NFSTypes

extension Connection {
    /// Hands as many waiting requests to libnfs as may be on the wire.
    func submitWaiting(_ now: UInt64) {
        guard case .up = phase, let context = unsafe context else { return }
        if !putOff.isEmpty { releasePutOff(now) }
        let deadline = now + target.configuration.requestTimeout.nanoseconds
        while !slots.isFull, let request = waiting.popFirst() {
            if slots.usedCount == 0 { nextTimeoutScan = now + scanInterval }
            unsafe apply(request.credentials ?? target.configuration.credentials, to: context)
            guard let token = slots.insert(request, deadline: deadline) else { return }
            statistics.sent(again: request.transmissions > 0, isNull: request.isNull)
            request.attempts += 1
            request.transmissions += 1
            let status = unsafe request.send(context, UnsafeMutableRawPointer(bitPattern: token))
            if status != 0 {
                _ = slots.remove(token)
                let cause = unsafe "libnfs cannot encode: \(errorText(context))"
                unencodable.append((request, .protocolError(cause)))
            }
        }
    }

    /// Apart from the above, since a sender calls no completion.
    func failUnencodable() {
        guard !unencodable.isEmpty else { return }
        let failing = unencodable
        unencodable.removeAll()
        for (request, cause) in failing { fail(request, cause) }
    }

    /// Writes what libnfs has queued, without waiting for poll to say that it can.
    func flush() {
        guard case .up = phase, let context = unsafe context else { return }
        if unsafe rpc_which_events(context) & Int32(POLLOUT) != 0 { service(Int32(POLLOUT)) }
    }

    /// Lets libnfs read and write; a failure is the end of the incarnation.
    func service(_ events: Int32) {
        guard let context = unsafe context else { return }
        let status = unsafe rpc_service(context, eventsForService(events))
        if status != 0 {
            unsafe lose(reason: errorText(context))
            return
        }
        if case .connecting = phase { connectionMayBeUp() }
        guard !refused.isEmpty else { return }
        // The server refused these calls while the connection stands: program unavailable,
        // authentication error, garbage arguments.
        let calls = refused
        refused.removeAll(keepingCapacity: true)
        for call in calls {
            if case .some(.some(let request)) = slots.remove(call.token) {
                fail(request, .protocolError("the server refused the call (\(call.text))"))
            }
        }
    }

    /// The reply callback's body.
    func replyArrived(
        token: UInt, status: Int32, result: UnsafeMutableRawPointer?
    ) {
        if isTearingDown { return }
        guard status == RPC_STATUS_SUCCESS else {
            // Whether the call or the connection failed shows when rpc_service returns.
            let reason = unsafe text(result?.assumingMemoryBound(to: CChar.self))
            refused.append((token, status == RPC_STATUS_ERROR ? reason : "status \(status)"))
            return
        }
        guard case .some(.some(let request)) = slots.remove(token) else { return }
        let outcome = unsafe request.receive(result, server: target.server)
        statistics.moved(read: request.bytesRead, written: request.bytesWritten)
        switch outcome {
        case .finished:
            statistics.finished()
            request.complete()
        case .again:
            waiting.prepend([request])
        case .later:
            putOff(request)
        }
    }

    private func putOff(_ request: Request) {
        if case .soft(let retries) = target.configuration.recovery, request.attempts > retries {
            fail(request, .status(.jukebox))
            return
        }
        request.sendTime =
            clinux_monotonic_nanoseconds() + target.configuration.jukeboxDelay.nanoseconds
        putOff.append(request)
    }

    private func releasePutOff(_ now: UInt64) {
        let due = putOff.filter { $0.sendTime <= now }
        guard !due.isEmpty else { return }
        putOff.removeAll { $0.sendTime <= now }
        waiting.prepend(due)
    }

    /// Ends a request with an error; it must be in no list any more.
    func fail(_ request: Request, _ cause: RPCError.Cause) {
        statistics.finished()
        request.fail(RPCError(cause, server: target.server, procedure: request.procedure))
    }

    func cancelOnThread(number: UInt64) {
        var cancelled = slots.orphan(number: number)
        cancelled += waiting.extract { $0.number == number }
        cancelled += putOff.filter { $0.number == number }
        putOff.removeAll { $0.number == number }
        for request in cancelled { fail(request, .cancelled) }
    }

    func closeOnThread() {
        destroyContext()
        isClosed = true
        let pending = slots.removeAll() + waiting.extract { _ in true } + putOff
        putOff.removeAll()
        for request in pending { fail(request, .closed) }
    }

    /// AUTH_SYS credentials are part of the context; they change only where calls differ.
    private func apply(_ credentials: Credentials, to context: OpaquePointer) {
        guard appliedCredentials != credentials else { return }
        var groups = Array(credentials.groups.prefix(Credentials.groupLimit))
        let count = UInt32(groups.count)
        unsafe HostName.value.withCString { name in
            unsafe groups.withUnsafeMutableBufferPointer { groups in
                let form = unsafe libnfs_authunix_create(
                    name, credentials.uid, credentials.gid, count, groups.baseAddress)
                if let form = unsafe form { unsafe rpc_set_auth(context, form) }
            }
        }
        appliedCredentials = credentials
    }

    func errorText(_ context: OpaquePointer) -> String {
        let text = unsafe NFSClient.text(rpc_get_error(context))
        return text.isEmpty ? "the server closed the connection" : text
    }
}

/// libnfs says "POLLHUP" where it is told of that and an error both; the error says more.
func eventsForService(_ events: Int32) -> Int32 {
    events & Int32(POLLERR) != 0 ? Int32(POLLERR) : events
}

/// This host's name, as AUTH_SYS carries it.
enum HostName {
    static let value: String = {
        var bytes = [UInt8](repeating: 0, count: 256)
        let status = unsafe bytes.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return Int32(-1) }
            return unsafe gethostname(
                start.assumingMemoryBound(to: CChar.self), bytes.count - 1)
        }
        guard status == 0 else { return "localhost" }
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }()
}

/// The connection that owns the calling thread: libnfs's callbacks carry a token, not a pointer,
/// so that a late reply can never reach freed memory.
enum ConnectionOfThread {
    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        let status = unsafe pthread_key_create(&key, nil)
        precondition(status == 0, "pthread_key_create failed with errno \(status)")
        return key
    }()

    static func set(_ connection: Connection?) {
        let raw = unsafe connection.map { unsafe Unmanaged.passUnretained($0).toOpaque() }
        unsafe pthread_setspecific(key, raw)
    }

    static var isConnection: Bool { current != nil }

    static var current: Connection? {
        guard let raw = unsafe pthread_getspecific(key) else { return nil }
        return unsafe Unmanaged<Connection>.fromOpaque(raw).takeUnretainedValue()
    }

    @inline(__always)
    static func with(_ body: (Connection) -> Void) {
        guard let raw = unsafe pthread_getspecific(key) else { return }
        body(unsafe Unmanaged<Connection>.fromOpaque(raw).takeUnretainedValue())
    }
}

/// libnfs calls this for every reply, on the connection's thread, inside rpc_service.
func replyArrived(
    _ context: OpaquePointer?, _ status: Int32, _ result: UnsafeMutableRawPointer?,
    _ token: UnsafeMutableRawPointer?
) {
    let token = UInt(bitPattern: token)
    ConnectionOfThread.with { connection in
        unsafe connection.replyArrived(token: token, status: status, result: result)
    }
}

// How a connection comes up, breaks, waits and comes back, on its thread. libnfs's own
// reconnection stays off: it would send calls again that must not be sent twice.
internal import CLinux
internal import CNFS
internal import Glibc
internal import Logging
internal import NFSTypes
internal import Threads

extension Connection {
    /// How often calls on the wire are looked at for their deadline.
    var scanInterval: UInt64 {
        max(10_000_000, min(1_000_000_000, target.configuration.requestTimeout.nanoseconds / 4))
    }

    /// Does what time asks for: connect, give up connecting, give up waiting for a reply.
    func advance(_ now: UInt64) {
        switch phase {
        case .down(let retryTime):
            if retryTime <= now { beginConnecting(now) }
        case .connecting(let deadline):
            if deadline <= now { failToConnect("no answer to the connection request in time") }
        case .up:
            guard slots.usedCount > 0, nextTimeoutScan <= now else { return }
            nextTimeoutScan = now + scanInterval
            if let procedure = slots.expired(now) {
                lose(
                    reason: "no reply to \(procedure) within "
                        + "\(target.configuration.requestTimeout)", isTimeout: true)
            }
        }
    }

    private func beginConnecting(_ now: UInt64) {
        guard let context = unsafe rpc_init_context() else {
            failToConnect("no memory for a connection")
            return
        }
        unsafe self.context = unsafe context
        appliedCredentials = nil
        let status = ConnectLock.shared.withLock {
            unsafe rpc_connect_async(
                context, target.address, Int32(target.port), connectionAnswered, nil)
        }
        socketDescriptor = unsafe rpc_get_fd(context)
        if status != 0 {
            unsafe failToConnect(errorText(context))
            return
        }
        phase = .connecting(deadline: now + target.configuration.connectTimeout.nanoseconds)
    }

    /// libnfs served the connecting socket without an error: it is connected.
    func connectionMayBeUp() {
        guard let context = unsafe context,
            unsafe rpc_which_events(context) & Int32(POLLIN) != 0
        else { return }
        prepareSocket()
        phase = .up
        incarnation += 1
        reconnectDelay = target.configuration.reconnectDelay
        statistics.up(again: incarnation > 1)
        if incarnation > 1 {
            logger.info("connection \(index) to \(target.server) restored")
            observer.notify(.restored(connection: index, incarnation: incarnation))
        }
    }

    /// No delay for small calls; probes, so that a host that vanished is noticed while idle.
    private func prepareSocket() {
        func set(_ level: Int32, _ option: Int32, _ value: Int32) {
            var value = value
            unsafe setsockopt(
                socketDescriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
        }
        set(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        set(SOL_SOCKET, SO_KEEPALIVE, 1)
        set(Int32(IPPROTO_TCP), TCP_KEEPIDLE, 30)
        set(Int32(IPPROTO_TCP), TCP_KEEPINTVL, 10)
        set(Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
        _ = fcntl(socketDescriptor, F_SETFD, FD_CLOEXEC)
    }

    /// Ends the incarnation: what may be sent again is, the rest fails.
    func lose(reason: String, isTimeout: Bool = false) {
        if case .connecting = phase {
            failToConnect(reason)
            return
        }
        destroyContext()
        statistics.down()
        refused.removeAll(keepingCapacity: true)
        var again: [Request] = []
        let soft = softRetries
        var failed: [(Request, RPCError.Cause)] = []
        for request in slots.removeAll() {
            if !request.isIdempotent {
                failed.append((request, .connectionLost(mayHaveExecuted: true)))
            } else if let soft, request.attempts > soft {
                failed.append(
                    (request, isTimeout ? .timedOut : .connectionLost(mayHaveExecuted: true)))
            } else {
                again.append(request)
            }
        }
        waiting.prepend(again)
        phase = .down(retryTime: clinux_monotonic_nanoseconds())
        logger.warning("connection \(index) to \(target.server) lost: \(reason)")
        observer.notify(.lost(connection: index, incarnation: incarnation, reason: reason))
        for (request, cause) in failed { fail(request, cause) }
    }

    private var softRetries: Int? {
        if case .soft(let retries) = target.configuration.recovery { return retries }
        return nil
    }

    private func failToConnect(_ reason: String) {
        destroyContext()
        logger.debug("connection \(index): cannot connect to \(target.server): \(reason)")
        phase = .down(
            retryTime: clinux_monotonic_nanoseconds() + reconnectDelay.nanoseconds)
        reconnectDelay = min(reconnectDelay * 2, target.configuration.reconnectDelayLimit)
        guard let soft = softRetries else { return }
        let ended = (waiting.extract { request in
            request.attempts += 1
            return request.attempts > soft
        })
        for request in ended {
            // Sent before, it may have been carried out although nobody said so.
            let cause: RPCError.Cause =
                request.transmissions > 0
                ? .connectionLost(mayHaveExecuted: true)
                : .unreachable("cannot connect (\(reason))")
            fail(request, cause)
        }
    }

    /// Ends libnfs's part of the incarnation and closes the socket.
    func destroyContext() {
        guard let context = unsafe context else { return }
        // A failing rpc_service forgets its descriptor without closing it, the other paths keep
        // it: taking it away and closing it here is right for both.
        unsafe rpc_set_fd(context, -1)
        isTearingDown = true
        unsafe rpc_destroy_context(context)
        isTearingDown = false
        unsafe self.context = nil
        if socketDescriptor >= 0 { Glibc.close(socketDescriptor) }
        socketDescriptor = -1
    }
}

/// libnfs looks for a privileged source port with static variables and getservbyport, which
/// no two threads may do at once.
final class ConnectLock: Sendable {
    static let shared = ConnectLock()
    private let lock = Lock(())

    func withLock<Result>(_ body: () -> Result) -> Result { lock.withLock { _ in body() } }
}

/// libnfs wants one; the connection looks at the socket's state instead.
private func connectionAnswered(
    _ context: OpaquePointer?, _ status: Int32, _ data: UnsafeMutableRawPointer?,
    _ token: UnsafeMutableRawPointer?
) {}

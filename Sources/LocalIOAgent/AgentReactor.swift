// The thread that accepts clients, reads what they send and answers all but OPEN.
internal import AgentProtocol
internal import CLinux
internal import Glibc
internal import LocalIOServer
internal import Logging
internal import NFSTypes
internal import Threads

/// Reads all clients from one thread; none of them can hold it up.
final class AgentReactor: Sendable {
    private struct State {
        var clients: [UInt64: AgentClient] = [:]
        var next: UInt64 = 1
        var isStopping = false
        /// Without descriptors, connections stay pending until then.
        var acceptsAgain = ContinuousClock.now
    }

    private let core: AgentCore
    private let socket: AgentSocketFile
    private let doorbell: Doorbell
    private let state = Lock(State())

    init?(core: AgentCore, socket: consuming AgentSocketFile) {
        guard let doorbell = Doorbell() else { return nil }
        self.doorbell = doorbell
        self.core = core
        self.socket = socket
    }

    /// Who is connected, for STATUS.
    var clientSummaries: [(peer: AgentPeer, opens: Int, inFlight: Int, hasProved: Bool)] {
        state.withLock { Array($0.clients.values) }.map {
            ($0.peer, core.opens.count(of: $0), $0.inFlight, $0.hasProved)
        }
    }

    func stop() {
        state.withLock { $0.isStopping = true }
        doorbell.ring()
    }

    func run() {
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 << 10, alignment: 8)
        defer { unsafe room.deallocate() }
        while !state.withLock({ $0.isStopping }) {
            let clients = state.withLock { Array($0.clients.values) }
            let ready = wait(clients)
            if ready.accepts { accept() }
            for client in ready.readable { unsafe read(client, room) }
            for client in ready.writable { client.flush() }
            dropLate(clients)
        }
        finish()
    }

    private func wait(_ clients: [AgentClient])
        -> (accepts: Bool, readable: [AgentClient], writable: [AgentClient])
    {
        let accepts = state.withLock { $0.acceptsAgain <= ContinuousClock.now }
        var polled = [
            pollfd(fd: doorbell.descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: accepts ? socket.descriptor : -1, events: Int16(POLLIN), revents: 0),
        ]
        for client in clients {
            let events = Int16(POLLIN) | (client.hasUnsent ? Int16(POLLOUT) : 0)
            polled.append(pollfd(fd: client.socket, events: events, revents: 0))
        }
        // The time-out finds late greetings, and output that workers could not send at once.
        let count = unsafe poll(&polled, nfds_t(polled.count), 100)
        guard count > 0 else { return (false, [], []) }
        if polled[0].revents != 0 { doorbell.drain() }
        var (readable, writable): ([AgentClient], [AgentClient]) = ([], [])
        for (index, client) in clients.enumerated() {
            let events = polled[index + 2].revents
            if events & Int16(POLLOUT) != 0 { writable.append(client) }
            if events & ~Int16(POLLOUT) != 0 { readable.append(client) }
        }
        return (polled[1].revents != 0, readable, writable)
    }

    private func accept() {
        for _ in 0..<64 {
            let descriptor = clinux_unix_accept(socket.descriptor)
            if descriptor == -EMFILE || descriptor == -ENFILE {
                core.counters.refused(.noDescriptors)
                let again = ContinuousClock.now + .milliseconds(100)
                return state.withLock { $0.acceptsAgain = again }
            }
            guard descriptor >= 0 else { return }
            add(descriptor)
        }
    }

    private func add(_ descriptor: Int32) {
        guard let peer = try? AgentPeer(socket: descriptor) else {
            close(descriptor)
            return
        }
        let limits = core.configuration.limits
        let client: AgentClient? = state.withLock { state in
            let uid = peer.credentials.uid
            let own = state.clients.values.count { $0.peer.credentials.uid == uid }
            guard state.clients.count < limits.clients, own < limits.clientsPerUser
            else { return nil }
            let client = AgentClient(
                id: state.next, socket: descriptor, peer: peer,
                unreadLimit: limits.unreadPerClient)
            state.next += 1
            state.clients[client.id] = client
            return client
        }
        guard let client else {
            core.counters.count(\.connectionsRefused)
            close(descriptor)
            return
        }
        core.counters.count(\.connections)
        core.opens.add(client)
    }

    private func drop(_ client: AgentClient) {
        state.withLock { $0.clients[client.id] = nil }
        core.opens.remove(client)
        core.nonces.forget(owner: client.id)
        client.close()
    }

    private func dropLate(_ clients: [AgentClient]) {
        let latest = ContinuousClock.now - core.configuration.intervals.greeting
        for client in clients {
            let isLate = !client.hasGreeted && client.arrived < latest
            let isKnown = state.withLock { $0.clients[client.id] != nil }
            guard isKnown, isLate || client.isDead else { continue }
            core.counters.count(\.droppedClients)
            drop(client)
        }
    }

    /// Says goodbye to all: what they have not read by now they learn from the end of file.
    private func finish() {
        let clients = state.withLock { Array($0.clients.values) }
        for client in clients {
            client.flush()
            drop(client)
        }
    }

    // MARK: - Messages

    private func read(_ client: AgentClient, _ room: UnsafeMutableRawBufferPointer) {
        switch unsafe client.read(into: room) {
        case .ended: drop(client)
        case .nonsense(let error): disown(client, error)
        case .frames(let frames):
            for frame in frames {
                do throws(AgentProtocolError) {
                    guard serve(try AgentMessage.decode(frame), client) else {
                        return drop(client)
                    }
                } catch .unknownType(let type) {
                    core.counters.count(\.unknownMessages)
                    client.send(.unknown(type: type))
                } catch {
                    return disown(client, error)
                }
            }
        }
    }

    private func disown(_ client: AgentClient, _ error: AgentProtocolError) {
        core.counters.count(\.badMessages)
        core.logger.notice(
            "dropped a client",
            metadata: ["reason": "\(error)", "pid": "\(client.peer.processIdentifier)"]
        )
        drop(client)
    }

    /// - Returns: false to drop the client.
    private func serve(_ message: AgentMessage, _ client: AgentClient) -> Bool {
        if case .hello(let lowest, let highest) = message {
            return greet(client, lowest, highest)
        }
        guard client.hasGreeted else {
            core.counters.count(\.badMessages)
            return false
        }
        switch message {
        case .register(let nonce, let address): register(nonce, address, client)
        case .confirm(let nonce): confirm(nonce, client)
        case .open(let request): core.take(request, from: client)
        case .release(let openID):
            core.counters.count(\.released)
            core.opens.release(openID, by: client)
        case .status:
            client.send(.statusReply(json: AgentStatus.json(core, clients: clientSummaries)))
        case .unknown: break
        default:
            // An answer, from one who should ask.
            core.counters.count(\.unknownMessages)
            client.send(.unknown(type: message.type))
        }
        return true
    }

    private func greet(_ client: AgentClient, _ lowest: UInt16, _ highest: UInt16) -> Bool {
        let ours = AgentProtocol.versions
        let version = min(highest, ours.upperBound)
        guard version >= max(lowest, ours.lowerBound) else {
            client.send(.helloReply(version: 0))
            return false
        }
        client.greet()
        return client.send(.helloReply(version: version))
    }

    private func register(_ nonce: Nonce, _ address: String, _ client: AgentClient) {
        if let reason = core.nonces.register(nonce, address: address, owner: client.id) {
            core.counters.refused(reason)
            client.send(.registerRefused(nonce: nonce, reason: reason))
        } else {
            core.counters.count(\.registered)
            client.send(.registered(nonce: nonce))
        }
    }

    private func confirm(_ nonce: Nonce, _ client: AgentClient) {
        let isClaimed = core.nonces.confirm(nonce, owner: client.id)
        if isClaimed { client.prove() }
        core.counters.count(isClaimed ? \.confirmed : \.unconfirmed)
        client.send(.confirmed(nonce: nonce, isClaimed: isClaimed))
    }
}

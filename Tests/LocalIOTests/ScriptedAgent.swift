// An agent whose answers a test writes: for what a real one never does, such as handing out the
// wrong file, and for revocations at a chosen moment. The sockets and descriptors are real.
import AgentProtocol
import CLinux
import Glibc
import LocalIOBench
import LocalIOTesting
import NFSTypes
import SystemPackage
import Threads

@testable import LocalIO

/// Listens on a Unix socket and hands out files of a directory by their path hints.
final class ScriptedAgent: Sendable {
    /// What is done otherwise than an honest agent would do it.
    struct Script: Sendable {
        var claims = true
        var answers = true
        /// How long a file is looked for.
        var delay: UInt32 = 0
        var refusal: AgentRefusal?
        /// The file handed out instead of the one asked for.
        var substitute: String?
        var flags: Int32?
        var exportID: UInt32 = 7
    }

    private struct State {
        var script = Script()
        var clients: [AgentSocket] = []
        var opens: [UInt64] = []
        var released: [UInt64] = []
        var openCount: UInt64 = 0
        var confirmations = 0
        var isStopped = false
    }

    let socketPath: String
    let root: String
    private let listener: Int32
    private let state = Lock(State())
    private let threads = Lock<[OwnedThread]>([])

    init(root: FilePath, socket: FilePath) throws {
        self.root = root.string
        socketPath = socket.string
        unlink(socketPath)
        listener = clinux_unix_listen(socketPath, 0o666, 16)
        guard listener >= 0 else { throw BenchError("no listener: \(listener)") }
        start("agent-accept") { $0.accept() }
    }

    func change(_ body: @Sendable (inout Script) -> Void) { state.withLock { body(&$0.script) } }
    var opens: Int { state.withLock { $0.opens.count } }
    var released: Int { state.withLock { $0.released.count } }
    var confirmations: Int { state.withLock { $0.confirmations } }
    var clientCount: Int { state.withLock { $0.clients.count } }

    func revoke(_ revocation: AgentRevocation) {
        for client in state.withLock({ $0.clients }) { try? client.send(.revoke(revocation)) }
    }

    /// Ends like a killed process: connections closed, the socket file left behind.
    func die() {
        let clients = state.withLock { state in
            state.isStopped = true
            defer { state.clients = [] }
            return state.clients
        }
        shutdown(listener, Int32(SHUT_RDWR))
        for client in clients { client.shutdown() }
        let threads = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        if !threads.isEmpty {
            for thread in threads { thread.join() }
            close(listener)
        }
    }

    private func start(_ name: String, _ body: @escaping @Sendable (ScriptedAgent) -> Void) {
        guard let thread = OwnedThread(name: name, body: { body(self) }) else { return }
        threads.withLock { $0.append(thread) }
    }

    private func accept() {
        while !state.withLock({ $0.isStopped }) {
            var entry = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
            poll(&entry, 1, 100)
            let descriptor = clinux_unix_accept(listener)
            guard descriptor >= 0 else { continue }
            let client = AgentSocket(adopting: descriptor)
            state.withLock { $0.clients.append(client) }
            start("agent-client") { $0.serve(client) }
        }
    }

    private func serve(_ client: AgentSocket) {
        do {
            while !state.withLock({ $0.isStopped }) {
                guard let delivery = try client.receive(timeout: .seconds(1)) else { continue }
                try answer(delivery.message, client)
            }
        } catch {
            state.withLock { $0.clients.removeAll { $0 === client } }
        }
    }

    private func answer(_ message: AgentMessage, _ client: AgentSocket) throws {
        let script = state.withLock { $0.script }
        switch message {
        case .hello: try client.send(.helloReply(version: 1))
        case .register(let nonce, _): try client.send(.registered(nonce: nonce))
        case .confirm(let nonce):
            state.withLock { $0.confirmations += 1 }
            try client.send(.confirmed(nonce: nonce, isClaimed: script.claims))
        case .open(let request):
            guard script.answers else { return }
            if script.delay > 0 { usleep(script.delay) }
            if let reason = script.refusal {
                try client.send(
                    .refused(requestID: request.requestID, reason: reason, text: "as told"))
            } else {
                try open(request, script, client)
            }
        case .release(let openID):
            state.withLock { $0.released.append(openID) }
        default: break
        }
    }

    private func open(
        _ request: AgentOpenRequest, _ script: Script, _ client: AgentSocket
    ) throws {
        let path = script.substitute ?? "\(root)/\(request.pathHint)"
        let mode: Int32 =
            switch request.access {
            case .read: O_RDONLY
            case .write: O_WRONLY
            case .readWrite: O_RDWR
            }
        let descriptor = Glibc.open(path, (script.flags ?? mode) | clinux_o_direct)
        guard descriptor >= 0 else {
            return try client.send(
                .refused(requestID: request.requestID, reason: .openFailed, text: path))
        }
        defer { close(descriptor) }
        let plain = request.wantsBuffered ? Glibc.open(path, script.flags ?? mode) : -1
        defer { if plain >= 0 { close(plain) } }
        var status = clinux_stat()
        clinux_statx(descriptor, nil, true, &status)
        let number = state.withLock { state in
            state.openCount += 1
            state.opens.append(state.openCount)
            return state.openCount
        }
        let reply = AgentOpenReply(
            requestID: request.requestID, openID: number, exportID: script.exportID,
            access: request.access, isDirect: true, hasBuffered: plain >= 0,
            attributes: FileAttributes(status))
        try client.send(
            .opened(reply), descriptors: plain >= 0 ? [descriptor, plain] : [descriptor])
    }
}

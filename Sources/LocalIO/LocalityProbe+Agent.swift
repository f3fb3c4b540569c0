// The probe's way with an agent: a nonce that the agent gets over two roads, its socket and the
// LOCALIO program at the very address that NFS is reached at.
internal import AgentProtocol
internal import Glibc
internal import NFSClient
internal import SystemPackage

/// What came of asking the agent.
enum AgentAnswer {
    case proved(AgentConnection)
    /// No agent is there, or none is to be asked.
    case absent
    case refused(FallbackReason)
}

extension LocalityProbe {
    func askAgent(_ recorder: inout ProbeRecorder) -> AgentAnswer {
        guard let path = configuration.agentSocket else {
            recorder.note("agent socket", "none configured")
            return .absent
        }
        let (connection, isThere) = recorder.step("agent socket") { connect(path) }
        guard let connection else { return isThere ? .refused(.agentRefused) : .absent }
        var reason = FallbackReason.programUnreachable
        for port in programPorts(&recorder) {
            switch prove(connection, port, &recorder) {
            case .claimed: return .proved(connection)
            case .notClaimed: reason = .notClaimed
            case .unreachable: continue
            case .refused:
                connection.close()
                return .refused(.agentRefused)
            }
        }
        connection.close()
        return .refused(reason)
    }

    private func connect(_ path: FilePath) -> ((AgentConnection?, isThere: Bool), String) {
        do throws(AgentSocketError) {
            let connection = try AgentConnection(
                path: path.string, timeout: configuration.agentTimeout, later: later)
            return ((connection, true), "\(path): connected")
        } catch {
            // A socket that nobody listens on was left behind by an agent that was killed.
            if case .unreachable = error { return ((nil, false), error.explanation) }
            return ((nil, true), "\(path): \(error.explanation)")
        }
    }

    /// Where LOCALIO may be served, most likely first.
    private func programPorts(_ recorder: inout ProbeRecorder) -> [UInt16] {
        let address = session.serverAddress
        return recorder.step("LOCALIO port") {
            if let port = configuration.programPort { return ([port], "\(port), given") }
            let others = [AgentProtocol.defaultPort, session.nfsPort]
            let standard = "\(others[0]) by default, or with NFS at \(others[1])"
            do throws(RPCError) {
                let found = try LocalIOProgram.registeredPortBlocking(
                    address: address, timeout: configuration.agentTimeout)
                guard let port = found else {
                    return (others, "rpcbind knows none: \(standard)")
                }
                return ([port] + others.filter { $0 != port }, "\(port), says rpcbind")
            } catch {
                return (others, "no rpcbind: \(standard)")
            }
        }
    }

    private enum Proof { case claimed, notClaimed, unreachable, refused }

    private func prove(
        _ connection: AgentConnection, _ port: UInt16, _ recorder: inout ProbeRecorder
    ) -> Proof {
        let program: LocalIOProgram? = recorder.step("LOCALIO connection") {
            do throws(RPCError) {
                let program = try LocalIOProgram.connectBlocking(
                    address: session.serverAddress, port: port,
                    timeout: configuration.agentTimeout)
                return (program, "to \(program.server) from \(program.sourceAddress)")
            } catch {
                return (nil, "\(error)")
            }
        }
        guard let program else { return .unreachable }
        let nonce = Nonce.random()
        let isRegistered = recorder.step("register nonce") {
            do throws(AgentSocketError) {
                let refusal = try connection.register(nonce, from: program.sourceAddress)
                return (refusal == nil, refusal.map { "refused: \($0.name)" } ?? "kept")
            } catch {
                return (false, error.explanation)
            }
        }
        guard isRegistered else { return .refused }
        let isShown = recorder.step("UUID_IS_LOCAL") {
            do throws(RPCError) {
                try program.uuidIsLocal(nonce.bytes)
                return (true, "answered")
            } catch {
                return (false, "\(error)")
            }
        }
        guard isShown else { return .unreachable }
        return recorder.step("confirm nonce") {
            do throws(AgentSocketError) {
                return try connection.confirm(nonce)
                    ? (.claimed, "the agent has it: the server is on the agent's host")
                    : (.notClaimed, "the agent does not have it: the server is elsewhere")
            } catch {
                return (.refused, error.explanation)
            }
        }
    }
}

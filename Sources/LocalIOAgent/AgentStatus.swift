// The JSON that STATUS answers.
internal import AgentProtocol
internal import LocalIOServer
internal import NFSTypes

enum AgentStatus {
    /// Clients listed at most: the answer must fit a frame.
    private static let clientLimit = 200
    private static let exportLimit = 50

    static func json(
        _ core: AgentCore,
        clients: [(peer: AgentPeer, opens: Int, inFlight: Int, hasProved: Bool)]
    ) -> String {
        let exports = core.exports.prefix(exportLimit).map { export in
            let condition =
                switch export.condition {
                case .up: "up"
                case .down: "down"
                case .removed: "removed"
                }
            return "{\"id\":\(export.id),\"path\":\(quoted(export.mapping.path)),"
                + "\"directory\":\(quoted(export.mapping.directory)),"
                + "\"condition\":\"\(condition)\"}"
        }
        let listed = clients.prefix(clientLimit).map { client in
            "{\"pid\":\(client.peer.processIdentifier),\"uid\":\(client.peer.credentials.uid),"
                + "\"gid\":\(client.peer.credentials.gid),\"opens\":\(client.opens),"
                + "\"in_flight\":\(client.inFlight),\"proved\":\(client.hasProved)}"
        }
        let counters = core.counters.all
        let named = counters.named.map { "\"\($0.name)\":\($0.value)" }
        let refusals = counters.refusals.sorted { $0.key.rawValue < $1.key.rawValue }
            .map { "\"\($0.key.name)\":\($0.value)" }
        let claims = core.nonces.claims.sorted { $0.key.rawValue < $1.key.rawValue }
            .map { "\"\($0.key.rawValue)\":\($0.value)" }
        return "{\"version\":1,\"client_count\":\(clients.count),"
            + "\"open_count\":\(core.opens.count),\"nonce_count\":\(core.nonces.count),"
            + "\"exports\":[\(exports.joined(separator: ","))],"
            + "\"clients\":[\(listed.joined(separator: ","))],"
            + "\"counters\":{\(named.joined(separator: ","))},"
            + "\"refusals\":{\(refusals.joined(separator: ","))},"
            + "\"claims\":{\(claims.joined(separator: ","))}}"
    }

    static func quoted(_ text: String) -> String {
        var result = "\""
        // Paths may be long; so that the answer fits, a path shows its first 200 characters.
        for scalar in text.unicodeScalars.prefix(200) {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

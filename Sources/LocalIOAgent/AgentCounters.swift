// What an agent counts: for `localiod status` and for swift-metrics.
internal import AgentProtocol
internal import Metrics
internal import Threads

/// Counters of one agent. Any thread.
final class AgentCounters: Sendable {
    struct Values: Sendable {
        var connections: UInt64 = 0
        var connectionsRefused: UInt64 = 0
        var badMessages: UInt64 = 0
        var unknownMessages: UInt64 = 0
        var droppedClients: UInt64 = 0
        var registered: UInt64 = 0
        var confirmed: UInt64 = 0
        var unconfirmed: UInt64 = 0
        var opened: UInt64 = 0
        /// Of these, by what the server had granted the same user a moment before.
        var openedUnasked: UInt64 = 0
        var released: UInt64 = 0
        var revocations: UInt64 = 0
        var revokedOpens: UInt64 = 0
        var serverLosses: UInt64 = 0
        var refusals: [AgentRefusal: UInt64] = [:]

        /// Name and value of each but the refusals.
        var named: [(name: String, value: UInt64)] {
            [
                ("connections", connections), ("connections_refused", connectionsRefused),
                ("bad_messages", badMessages), ("unknown_messages", unknownMessages),
                ("dropped_clients", droppedClients), ("nonces_registered", registered),
                ("nonces_confirmed", confirmed), ("nonces_unconfirmed", unconfirmed),
                ("opened", opened), ("opened_unasked", openedUnasked), ("released", released),
                ("revocations", revocations),
                ("revoked_opens", revokedOpens), ("server_losses", serverLosses),
            ]
        }
    }

    private let values = Lock(Values())
    private let opens = Counter(label: "localio_agent_opens")
    private let revocations = Counter(label: "localio_agent_revocations")
    private let refusals: [AgentRefusal: Counter] = Dictionary(
        uniqueKeysWithValues: AgentRefusal.allCases.map {
            ($0, Counter(label: "localio_agent_refusals", dimensions: [("reason", $0.name)]))
        })

    var all: Values { values.withLock { $0 } }

    func count(_ field: WritableKeyPath<Values, UInt64>, _ amount: Int = 1) {
        values.withLock { $0[keyPath: field] += UInt64(amount) }
    }

    func opened(isUnasked: Bool) {
        values.withLock { values in
            values.opened += 1
            if isUnasked { values.openedUnasked += 1 }
        }
        opens.increment()
    }

    func refused(_ reason: AgentRefusal) {
        values.withLock { $0.refusals[reason, default: 0] += 1 }
        refusals[reason]?.increment()
    }

    func revoked(opens count: Int) {
        values.withLock { values in
            values.revocations += 1
            values.revokedOpens += UInt64(count)
        }
        revocations.increment()
    }
}

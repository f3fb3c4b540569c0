// The nonces that clients registered with an agent and that the LOCALIO program claims.
package import AgentProtocol
internal import CLocalIORPC
internal import Glibc
internal import Threads

/// Nonces on their way over the second road. Bounded; each is claimed and confirmed once, and
/// forgotten after a few seconds. Any thread.
package final class NonceTable: Sendable {
    /// What a table bears.
    package struct Limits: Hashable, Sendable {
        /// Nonces at once.
        package var count: Int
        /// Nonces of one connection at once.
        package var countPerOwner: Int
        /// How long a nonce counts.
        package var lifetime: Duration

        package init(
            count: Int = 1024, countPerOwner: Int = 8, lifetime: Duration = .seconds(5)
        ) {
            self.count = count
            self.countPerOwner = countPerOwner
            self.lifetime = lifetime
        }
    }

    /// What became of a claim, for counting.
    package enum Claim: String, Sendable, Hashable, CaseIterable {
        case claimed
        /// Never registered, expired, or forgotten.
        case unknown
        case alreadyClaimed = "already-claimed"
        /// The call came from elsewhere than the client said: relayed.
        case otherAddress = "other-address"
    }

    private struct Entry {
        let owner: UInt64
        let address: String
        let deadline: ContinuousClock.Instant
        var isClaimed = false
    }

    private struct State {
        var entries: [Nonce: Entry] = [:]
        var claims: [Claim: UInt64] = [:]
    }

    package let limits: Limits
    /// False behind address translation: any peer may claim.
    private let comparesAddresses: Bool
    private let now: @Sendable () -> ContinuousClock.Instant
    private let state = Lock(State())

    package init(
        limits: Limits = Limits(), comparesAddresses: Bool = true,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
    ) {
        self.limits = limits
        self.comparesAddresses = comparesAddresses
        self.now = now
    }

    /// Notes a nonce of `owner`, who is going to call from `address`.
    /// - Returns: why not, or nil.
    package func register(
        _ nonce: Nonce, address: String, owner: UInt64
    ) -> AgentRefusal? {
        guard let address = NumericAddress.normalized(address) else { return .badAddress }
        let now = now()
        return state.withLock { state in
            state.entries = state.entries.filter { $0.value.deadline > now }
            if state.entries[nonce] != nil { return .duplicateNonce }
            let own = state.entries.values.count { $0.owner == owner }
            guard state.entries.count < limits.count, own < limits.countPerOwner
            else { return .tooManyNonces }
            state.entries[nonce] = Entry(
                owner: owner, address: address, deadline: now + limits.lifetime)
            return nil
        }
    }

    /// UUID_IS_LOCAL arrived from `peer`.
    @discardableResult
    package func claim(_ nonce: Nonce, from peer: String) -> Claim {
        let peer = NumericAddress.normalized(peer)
        let now = now()
        return state.withLock { state in
            let claim: Claim
            if let entry = state.entries[nonce], entry.deadline > now {
                if entry.isClaimed {
                    claim = .alreadyClaimed
                } else if comparesAddresses && entry.address != peer {
                    claim = .otherAddress
                } else {
                    claim = .claimed
                    state.entries[nonce]?.isClaimed = true
                }
            } else {
                claim = .unknown
            }
            state.claims[claim, default: 0] += 1
            return claim
        }
    }

    /// Whether `owner`'s nonce was claimed; asked once, it is forgotten.
    package func confirm(_ nonce: Nonce, owner: UInt64) -> Bool {
        let now = now()
        return state.withLock { state in
            guard let entry = state.entries[nonce], entry.owner == owner else { return false }
            state.entries[nonce] = nil
            return entry.isClaimed && entry.deadline > now
        }
    }

    /// The owner's connection has gone.
    package func forget(owner: UInt64) {
        state.withLock { state in
            state.entries = state.entries.filter { $0.value.owner != owner }
        }
    }

    package var count: Int { state.withLock { $0.entries.count } }
    /// How many claims came to what.
    package var claims: [Claim: UInt64] { state.withLock { $0.claims } }
}

/// Addresses in numbers, in one spelling.
package enum NumericAddress {
    /// `text` as inet_ntop(3) writes it, an IPv4 address in IPv6 as IPv4, without a zone; nil
    /// for what is no address.
    package static func normalized(_ text: String) -> String? {
        let bare = String(text.prefix { $0 != "%" })
        var four = in_addr()
        if unsafe inet_pton(AF_INET, bare, &four) == 1 {
            return unsafe spelled(AF_INET, &four)
        }
        var six = in6_addr()
        guard unsafe inet_pton(AF_INET6, bare, &six) == 1 else { return nil }
        let bytes = unsafe withUnsafeBytes(of: six) { unsafe Array($0) }
        let isMapped = bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 255 && bytes[11] == 255
        if isMapped { return bytes[12...].map(String.init).joined(separator: ".") }
        return unsafe spelled(AF_INET6, &six)
    }

    private static func spelled(_ family: Int32, _ address: UnsafeRawPointer) -> String? {
        var room = [CChar](repeating: 0, count: 64)
        guard unsafe inet_ntop(family, address, &room, socklen_t(room.count)) != nil
        else { return nil }
        return String(
            decoding: room.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

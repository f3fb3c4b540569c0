// The requests of one connection that wait to be sent, in order.

/// A first-in-first-out queue whose memory is reused; for one thread at a time.
struct RequestQueue {
    private var requests: [Request?] = []
    private var head = 0

    var isEmpty: Bool { head == requests.count }
    var first: Request? { isEmpty ? nil : requests[head] }

    mutating func append(_ request: Request) { requests.append(request) }

    mutating func popFirst() -> Request? {
        guard !isEmpty else { return nil }
        let request = requests[head]
        requests[head] = nil
        head += 1
        if head == requests.count || head >= 1024 {
            requests.removeFirst(head)
            head = 0
        }
        return request
    }

    /// Puts requests that were sent before all that wait here back to the front.
    mutating func prepend(_ earlier: [Request]) {
        requests.replaceSubrange(0..<head, with: earlier)
        head = 0
    }

    /// Removes and returns those for which `isWanted` holds, in order.
    mutating func extract(where isWanted: (Request) -> Bool) -> [Request] {
        var extracted: [Request] = []
        var kept: [Request?] = []
        for case let request? in requests[head...] {
            if isWanted(request) { extracted.append(request) } else { kept.append(request) }
        }
        requests = kept
        head = 0
        return extracted
    }
}

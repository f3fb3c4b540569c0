// One request of the kernel as an object that is answered exactly once.
internal import CLocalIOFUSE
internal import NFSTypes
internal import Synchronization

/// The fence's request.
@safe
struct RawRequest: @unchecked Sendable {
    let pointer: OpaquePointer
}

/// A request in the hands of an operation. Any thread; only the first answer counts.
final class Request: Sendable {
    private let raw: RawRequest
    private let answered = Atomic<Bool>(false)
    let number: UInt64
    let credentials: Credentials
    private let onAnswer: @Sendable (UInt64) -> Void

    /// - Parameter onAnswer: told the number when the request has been answered.
    init(
        _ raw: RawRequest, number: UInt64, credentials: Credentials,
        onAnswer: @escaping @Sendable (UInt64) -> Void
    ) {
        self.raw = raw
        self.number = number
        self.credentials = credentials
        self.onAnswer = onAnswer
    }

    /// Runs `reply` if nobody has answered yet.
    /// - Returns: false if somebody has, or if the kernel did not take the answer.
    @discardableResult
    private func answer(_ reply: (RawRequest) -> Int32) -> Bool {
        guard !answered.exchange(true, ordering: .acquiringAndReleasing) else { return false }
        let result = reply(raw)
        onAnswer(number)
        return result == 0
    }

    @discardableResult
    func fail(_ errno: Int32) -> Bool { answer { unsafe clfuse_reply_error($0.pointer, errno) } }

    func succeed() { answer { unsafe clfuse_reply_error($0.pointer, 0) } }

    /// - Returns: false if the kernel did not take it, and counts no lookup.
    func entry(_ entry: EntryReply) -> Bool {
        var attributes = entry.attributes
        return answer {
            unsafe clfuse_reply_entry(
                $0.pointer, entry.node, &attributes, entry.entrySeconds, entry.attributeSeconds)
        }
    }

    func created(_ entry: EntryReply, file: UInt64, open: clfuse_open) -> Bool {
        var attributes = entry.attributes
        return answer {
            unsafe clfuse_reply_create(
                $0.pointer, entry.node, &attributes, entry.entrySeconds,
                entry.attributeSeconds, file, open)
        }
    }

    func opened(file: UInt64, open: clfuse_open = clfuse_open()) -> Bool {
        answer { unsafe clfuse_reply_open($0.pointer, file, open) }
    }

    func attributes(_ attributes: clfuse_attributes, seconds: Double) {
        var attributes = attributes
        answer { unsafe clfuse_reply_attributes($0.pointer, &attributes, seconds) }
    }

    func link(_ target: NFSName) {
        answer { raw in unsafe target.withCString { unsafe clfuse_reply_link(raw.pointer, $0) } }
    }

    func written(_ byteCount: Int) { answer { unsafe clfuse_reply_written($0.pointer, byteCount) } }

    @discardableResult
    func data(_ bytes: UnsafeRawBufferPointer) -> Bool {
        answer { unsafe clfuse_reply_data($0.pointer, bytes.baseAddress, bytes.count) }
    }

    func offset(_ offset: Int64) { answer { unsafe clfuse_reply_offset($0.pointer, offset) } }

    func statistics(_ statistics: clfuse_statistics) {
        var statistics = statistics
        answer { unsafe clfuse_reply_statistics($0.pointer, &statistics) }
    }

    /// Runs `body` with the raw request, for building directory answers.
    func withRaw<Result>(_ body: (RawRequest) -> Result) -> Result { body(raw) }
}

/// What LOOKUP and the creating operations answer.
struct EntryReply {
    var node: UInt64
    var attributes: clfuse_attributes
    var entrySeconds: Double
    var attributeSeconds: Double
}

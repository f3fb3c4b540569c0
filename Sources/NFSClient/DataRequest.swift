// READ and WRITE on their way, short answers continued (RFC 1813, sections 3.3.6 and 3.3.7).
internal import CNFS
internal import Glibc
internal import NFSTypes

/// A READ of at most what one call may carry, into the caller's memory.
@safe
final class ReadRequest: Request, @unchecked Sendable {
    private let handle: FileHandle
    private let offset: UInt64
    private let target: UnsafeMutableRawBufferPointer
    private let completion: @Sendable (Result<ReadReply, RPCError>) -> Void
    private var answer: Result<ReadReply, RPCError>?
    private var byteCount = 0
    private var lastByteCount = 0
    /// Answers without bytes and without an end, one after the other: what a server says that
    /// looks at the size after it has read, while another call makes the file longer.
    private var emptyAnswers = 0
    private static let emptyAnswerLimit = 8

    init(
        number: UInt64, handle: FileHandle, offset: UInt64,
        target: UnsafeMutableRawBufferPointer, credentials: Credentials?,
        completion: @escaping @Sendable (Result<ReadReply, RPCError>) -> Void
    ) {
        self.handle = handle
        self.offset = offset
        unsafe self.target = unsafe target
        self.completion = completion
        super.init(
            number: number, procedure: "READ", isIdempotent: true, credentials: credentials)
    }

    override func send(_ context: OpaquePointer, _ token: UnsafeMutableRawPointer?) -> Int32 {
        unsafe withHandle(handle) { form in
            var arguments = unsafe READ3args(
                file: form, offset: offset + UInt64(byteCount),
                count: UInt32(target.count - byteCount))
            return unsafe rpc_nfs3_read_async(context, replyArrived, &arguments, token)
        }
    }

    override func receive(_ result: UnsafeMutableRawPointer?, server: String) -> Outcome {
        lastByteCount = 0
        guard let raw = unsafe result else {
            return refuse("READ was answered without a result", server)
        }
        let form = unsafe raw.assumingMemoryBound(to: READ3res.self)
        guard unsafe form.pointee.status == NFS3_OK else {
            let status = unsafe NFSStatus(form.pointee.status)
            if status == .jukebox { return .later }
            answer = .failure(
                RPCError(.status(status), server: server, procedure: procedure))
            return .finished
        }
        let count = unsafe Int(form.pointee.READ3res_u.resok.count)
        let dataCount = unsafe Int(form.pointee.READ3res_u.resok.data.data_len)
        guard unsafe count <= target.count - byteCount, count == dataCount else {
            return refuse("READ was answered with \(dataCount) bytes, counted as \(count)", server)
        }
        if count > 0, let base = unsafe target.baseAddress,
            let source = unsafe form.pointee.READ3res_u.resok.data.data_val
        {
            unsafe memcpy(base + byteCount, source, count)
        }
        byteCount += count
        lastByteCount = count
        let isEnd = unsafe form.pointee.READ3res_u.resok.eof != 0
        let isShort = unsafe byteCount < target.count
        if !isEnd && isShort {
            if count > 0 { emptyAnswers = 0 } else { emptyAnswers += 1 }
            return emptyAnswers <= Self.emptyAnswerLimit
                ? .again : refuse("READ was answered with nothing, yet no end", server)
        }
        let attributes = unsafe FileAttributes(form.pointee.READ3res_u.resok.file_attributes)
        answer = .success(
            ReadReply(byteCount: byteCount, isEndOfFile: isEnd, attributes: attributes))
        return .finished
    }

    private func refuse(_ text: String, _ server: String) -> Outcome {
        answer = .failure(
            RPCError(.protocolError(text), server: server, procedure: procedure))
        return .finished
    }

    override func complete() { if let answer { completion(answer) } }
    override func fail(_ error: RPCError) { completion(.failure(error)) }
    override var bytesRead: Int { lastByteCount }
}

/// A WRITE of at most what one call may carry, out of the caller's memory.
@safe
final class WriteRequest: Request, @unchecked Sendable {
    private let handle: FileHandle
    private let offset: UInt64
    private let source: UnsafeRawBufferPointer
    private let stable: StableHow
    private let completion: @Sendable (Result<WriteReply, RPCError>) -> Void
    private var answer: Result<WriteReply, RPCError>?
    private var byteCount = 0
    private var lastByteCount = 0
    private var committed = StableHow.fileSync
    private var verifier: WriteVerifier?
    private var verifierChanged = false

    init(
        number: UInt64, handle: FileHandle, offset: UInt64, source: UnsafeRawBufferPointer,
        stable: StableHow, credentials: Credentials?,
        completion: @escaping @Sendable (Result<WriteReply, RPCError>) -> Void
    ) {
        self.handle = handle
        self.offset = offset
        unsafe self.source = unsafe source
        self.stable = stable
        self.completion = completion
        super.init(
            number: number, procedure: "WRITE", isIdempotent: true, credentials: credentials)
    }

    override func send(_ context: OpaquePointer, _ token: UnsafeMutableRawPointer?) -> Int32 {
        unsafe withHandle(handle) { form in
            let rest = unsafe source.count - byteCount
            var arguments = unsafe WRITE3args()
            unsafe arguments.file = unsafe form
            unsafe arguments.offset = offset + UInt64(byteCount)
            unsafe arguments.count = UInt32(rest)
            unsafe arguments.stable = stable_how(rawValue: stable.rawValue)
            unsafe arguments.data.data_len = UInt32(rest)
            if let base = unsafe source.baseAddress {
                unsafe arguments.data.data_val = UnsafeMutableRawPointer(
                    mutating: base + byteCount
                ).assumingMemoryBound(to: CChar.self)
            }
            return unsafe rpc_nfs3_write_async(context, replyArrived, &arguments, token)
        }
    }

    override func receive(_ result: UnsafeMutableRawPointer?, server: String) -> Outcome {
        lastByteCount = 0
        guard let form = unsafe NFSClient.result(result, WRITE3res.self) else {
            return refuse("WRITE was answered without a result", server)
        }
        guard form.status == NFS3_OK else {
            let status = NFSStatus(form.status)
            if status == .jukebox { return .later }
            answer = .failure(
                RPCError(.status(status), server: server, procedure: procedure))
            return .finished
        }
        let reply = unsafe form.WRITE3res_u.resok
        let count = Int(reply.count)
        guard unsafe count <= source.count - byteCount,
            let level = StableHow(rawValue: UInt32(reply.committed.rawValue))
        else {
            return refuse("WRITE was answered with \(count) bytes, more than were sent", server)
        }
        byteCount += count
        lastByteCount = count
        committed = min(committed, level)
        note(WriteVerifier(rawValue: NFSClient.number(reply.verf)))
        if unsafe byteCount < source.count {
            return count > 0 ? .again : refuse("WRITE was answered with nothing written", server)
        }
        answer = .success(
            WriteReply(
                byteCount: byteCount, committed: committed,
                verifier: verifierChanged ? nil : verifier,
                attributes: FileAttributes(reply.file_wcc.after)))
        return .finished
    }

    private func note(_ answered: WriteVerifier) {
        if let verifier, verifier != answered { verifierChanged = true }
        verifier = answered
    }

    private func refuse(_ text: String, _ server: String) -> Outcome {
        answer = .failure(
            RPCError(.protocolError(text), server: server, procedure: procedure))
        return .finished
    }

    override func complete() { if let answer { completion(answer) } }
    override func fail(_ error: RPCError) { completion(.failure(error)) }
    override var bytesWritten: Int { lastByteCount }
}

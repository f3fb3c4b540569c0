// Messages to frames and back, as pure functions on bytes.
internal import NFSTypes

extension AgentMessage {
    /// The message as it goes over the socket: its length, then the frame.
    package func encoded() -> [UInt8] {
        var body = ByteWriter()
        body.put(type)
        putFields(&body)
        var whole = ByteWriter()
        whole.put(UInt32(body.bytes.count))
        return whole.bytes + body.bytes
    }

    private static var jsonLimit: Int { AgentProtocol.frameByteCountLimit - 6 }

    private func putFields(_ body: inout ByteWriter) {
        switch self {
        case .hello(let lowest, let highest):
            body.put(lowest)
            body.put(highest)
        case .helloReply(let version):
            body.put(version)
        case .register(let nonce, let peerAddress):
            body.put(nonce)
            body.put(peerAddress, limit: AgentProtocol.addressByteCountLimit)
        case .registered(let nonce), .confirm(let nonce):
            body.put(nonce)
        case .registerRefused(let nonce, let reason):
            body.put(nonce)
            body.put(reason.rawValue)
        case .confirmed(let nonce, let isClaimed):
            body.put(nonce)
            body.put(isClaimed)
        case .open(let request):
            request.put(&body)
        case .opened(let reply):
            reply.put(&body)
        case .refused(let requestID, let reason, let text):
            body.put(requestID)
            body.put(reason.rawValue)
            body.put(text, limit: AgentProtocol.textByteCountLimit)
        case .release(let openID):
            body.put(openID)
        case .status:
            break
        case .statusReply(let json):
            body.putLong(json, limit: Self.jsonLimit)
        case .revoke(let revocation):
            revocation.put(&body)
        case .unknown(let type):
            body.put(type)
        }
    }

    /// The message in a frame (without its length).
    package static func decode(_ frame: ArraySlice<UInt8>) throws(AgentProtocolError)
        -> AgentMessage
    {
        guard frame.count <= AgentProtocol.frameByteCountLimit else {
            throw .tooLong(byteCount: frame.count, limit: AgentProtocol.frameByteCountLimit)
        }
        var reader = ByteReader(frame)
        let type = try reader.u16()
        let message = try fields(type, &reader)
        guard reader.remaining == 0 else { throw .trailingBytes(reader.remaining) }
        return message
    }

    package static func decode(_ frame: [UInt8]) throws(AgentProtocolError) -> AgentMessage {
        try decode(frame[...])
    }

    private static func fields(
        _ type: UInt16, _ reader: inout ByteReader
    ) throws(AgentProtocolError) -> AgentMessage {
        switch type {
        case 1: try .hello(lowest: reader.u16(), highest: reader.u16())
        case 2: try .helloReply(version: reader.u16())
        case 3:
            try .register(
                nonce: reader.nonce(),
                peerAddress: reader.text(limit: AgentProtocol.addressByteCountLimit))
        case 4: try .registered(nonce: reader.nonce())
        case 5: try .registerRefused(nonce: reader.nonce(), reason: .init(wire: reader.u16()))
        case 6: try .confirm(nonce: reader.nonce())
        case 7: try .confirmed(nonce: reader.nonce(), isClaimed: reader.bool())
        case 8: try .open(AgentOpenRequest(&reader))
        case 9: try .opened(AgentOpenReply(&reader))
        case 10:
            try .refused(
                requestID: reader.u64(), reason: .init(wire: reader.u16()),
                text: reader.text(limit: AgentProtocol.textByteCountLimit))
        case 11: try .release(openID: reader.u64())
        case 12: .status
        case 13: try .statusReply(json: reader.longText(limit: jsonLimit))
        case 14: try .revoke(AgentRevocation(&reader))
        case 15: try .unknown(type: reader.u16())
        default: throw .unknownType(type)
        }
    }
}

extension AgentRefusal {
    /// A later version may have more reasons than this one.
    init(wire: UInt16) { self = AgentRefusal(rawValue: wire) ?? .unspecified }
}

extension AgentAccess {
    init(_ reader: inout ByteReader) throws(AgentProtocolError) {
        let value = try reader.u8()
        guard let access = AgentAccess(rawValue: value) else { throw .badValue(UInt64(value)) }
        self = access
    }
}

extension AgentOpenRequest {
    func put(_ body: inout ByteWriter) {
        body.put(requestID)
        body.put(access.rawValue)
        body.put(wantsBuffered)
        body.put(handle)
        body.put(exportPath, limit: AgentProtocol.pathByteCountLimit)
        body.put(pathHint, limit: AgentProtocol.pathByteCountLimit)
    }

    init(_ reader: inout ByteReader) throws(AgentProtocolError) {
        requestID = try reader.u64()
        access = try AgentAccess(&reader)
        wantsBuffered = try reader.bool()
        handle = try reader.handle()
        exportPath = try reader.text(limit: AgentProtocol.pathByteCountLimit)
        pathHint = try reader.text(limit: AgentProtocol.pathByteCountLimit)
    }
}

extension AgentOpenReply {
    func put(_ body: inout ByteWriter) {
        body.put(requestID)
        body.put(openID)
        body.put(exportID)
        body.put(access.rawValue)
        body.put(isDirect)
        body.put(hasBuffered)
        body.put(attributes)
    }

    init(_ reader: inout ByteReader) throws(AgentProtocolError) {
        requestID = try reader.u64()
        openID = try reader.u64()
        exportID = try reader.u32()
        access = try AgentAccess(&reader)
        isDirect = try reader.bool()
        hasBuffered = try reader.bool()
        attributes = try reader.attributes()
    }
}

extension AgentRevocation {
    func put(_ body: inout ByteWriter) {
        switch self {
        case .all:
            body.put(UInt8(0))
        case .export(let exportID):
            body.put(UInt8(1))
            body.put(exportID)
        case .handle(let handle):
            body.put(UInt8(2))
            body.put(handle)
        }
    }

    init(_ reader: inout ByteReader) throws(AgentProtocolError) {
        switch try reader.u8() {
        case 0: self = .all
        case 1: self = try .export(reader.u32())
        case 2: self = try .handle(reader.handle())
        case let value: throw .badValue(UInt64(value))
        }
    }
}

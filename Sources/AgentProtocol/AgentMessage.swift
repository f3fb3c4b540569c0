// The messages of the hand-off protocol as values.
package import NFSTypes

/// One message between a client and the agent.
package enum AgentMessage: Hashable, Sendable {
    /// Client, first of all: the versions it speaks.
    case hello(lowest: UInt16, highest: UInt16)
    /// Agent: the highest version both speak, or 0 for none; after 0 it closes the connection.
    case helloReply(version: UInt16)

    /// Client: the nonce it is going to send by UUID_IS_LOCAL, and the numeric address from
    /// which that call will come.
    case register(nonce: Nonce, peerAddress: String)
    case registered(nonce: Nonce)
    case registerRefused(nonce: Nonce, reason: AgentRefusal)

    /// Client: was the nonce claimed? A claimed nonce is used up by the answer.
    case confirm(nonce: Nonce)
    case confirmed(nonce: Nonce, isClaimed: Bool)

    /// Client: may I have this file?
    case open(AgentOpenRequest)
    /// Agent: yes; one or two descriptors travel with it.
    case opened(AgentOpenReply)
    /// Agent: no, and why.
    case refused(requestID: UInt64, reason: AgentRefusal, text: String)

    /// Client: it closed what it got under this number. Not answered.
    case release(openID: UInt64)

    /// Client: how are you?
    case status
    /// Agent: a JSON object.
    case statusReply(json: String)

    /// Agent, at any time: stop new local I/O on these, drain, close, release.
    case revoke(AgentRevocation)

    /// Either: a frame of this type means nothing to me; I went on.
    case unknown(type: UInt16)

    /// The number that stands for the message on the wire.
    package var type: UInt16 {
        switch self {
        case .hello: 1
        case .helloReply: 2
        case .register: 3
        case .registered: 4
        case .registerRefused: 5
        case .confirm: 6
        case .confirmed: 7
        case .open: 8
        case .opened: 9
        case .refused: 10
        case .release: 11
        case .status: 12
        case .statusReply: 13
        case .revoke: 14
        case .unknown: 15
        }
    }
}

/// What a client wants to do with a file.
package enum AgentAccess: UInt8, Sendable, Hashable, CaseIterable {
    case read = 1
    case write = 2
    case readWrite = 3

    package var reads: Bool { self != .write }
    package var writes: Bool { self != .read }
}

/// The arguments of `open`.
package struct AgentOpenRequest: Hashable, Sendable {
    /// Chosen by the client; the answer carries it.
    package var requestID: UInt64
    package var handle: FileHandle
    package var access: AgentAccess
    /// The export's path as mounted, such as `/srv/data`.
    package var exportPath: String
    /// The file's path below the export, without a leading slash; empty for "unknown".
    package var pathHint: String
    /// A second descriptor for buffered I/O is wanted.
    package var wantsBuffered: Bool

    package init(
        requestID: UInt64, handle: FileHandle, access: AgentAccess, exportPath: String,
        pathHint: String = "", wantsBuffered: Bool = false
    ) {
        self.requestID = requestID
        self.handle = handle
        self.access = access
        self.exportPath = exportPath
        self.pathHint = pathHint
        self.wantsBuffered = wantsBuffered
    }
}

/// The results of `open`.
package struct AgentOpenReply: Hashable, Sendable {
    package var requestID: UInt64
    /// Names this open in `release`; unique while the agent runs.
    package var openID: UInt64
    /// Names the export in `revoke(.export)`.
    package var exportID: UInt32
    /// What the agent granted: what was asked for, never more.
    package var access: AgentAccess
    /// The first descriptor was opened with O_DIRECT.
    package var isDirect: Bool
    /// A second descriptor, without O_DIRECT, came along.
    package var hasBuffered: Bool
    /// What the server said about the file to the caller.
    package var attributes: FileAttributes

    package init(
        requestID: UInt64, openID: UInt64, exportID: UInt32, access: AgentAccess,
        isDirect: Bool, hasBuffered: Bool, attributes: FileAttributes
    ) {
        self.requestID = requestID
        self.openID = openID
        self.exportID = exportID
        self.access = access
        self.isDirect = isDirect
        self.hasBuffered = hasBuffered
        self.attributes = attributes
    }

    /// Descriptors that travel with the message.
    package var descriptorCount: Int { hasBuffered ? 2 : 1 }
}

/// What a client must let go of.
package enum AgentRevocation: Hashable, Sendable {
    /// Everything: the server is gone, or the agent ends.
    case all
    /// Every open that carries this export's number.
    case export(UInt32)
    /// Every open of this file.
    case handle(FileHandle)
}

/// Why the agent refused; the names are stable, they count refusals and show in statistics.
package enum AgentRefusal: UInt16, Sendable, Hashable, CaseIterable {
    /// A reason that this version of the code does not know.
    case unspecified = 0
    case serverDenied = 1
    case serverGone = 2
    case unknownExport = 3
    case foreignHandle = 4
    case badHandle = 5
    case staleHandle = 6
    case notRegularFile = 7
    case badPathHint = 8
    case cannotFind = 9
    case differentFile = 10
    case readOnly = 11
    case tooManyOpens = 12
    case tooManyInFlight = 13
    case tooManyNonces = 14
    case duplicateNonce = 15
    case badAddress = 16
    case noDescriptors = 17
    case notConfirmed = 18
    case openFailed = 19
    case shuttingDown = 20

    package var name: String {
        switch self {
        case .unspecified: "unspecified"
        case .serverDenied: "server-denied"
        case .serverGone: "server-gone"
        case .unknownExport: "unknown-export"
        case .foreignHandle: "foreign-handle"
        case .badHandle: "bad-handle"
        case .staleHandle: "stale-handle"
        case .notRegularFile: "not-regular-file"
        case .badPathHint: "bad-path-hint"
        case .cannotFind: "cannot-find"
        case .differentFile: "different-file"
        case .readOnly: "read-only"
        case .tooManyOpens: "too-many-opens"
        case .tooManyInFlight: "too-many-in-flight"
        case .tooManyNonces: "too-many-nonces"
        case .duplicateNonce: "duplicate-nonce"
        case .badAddress: "bad-address"
        case .noDescriptors: "no-descriptors"
        case .notConfirmed: "not-confirmed"
        case .openFailed: "open-failed"
        case .shuttingDown: "shutting-down"
        }
    }
}

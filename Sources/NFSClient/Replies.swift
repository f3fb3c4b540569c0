// What the procedures of NFSv3 answer, as values (RFC 1813, section 3.3).
public import NFSTypes

/// What LOOKUP answers.
public struct LookupReply: Hashable, Sendable {
    public var handle: FileHandle
    public var attributes: FileAttributes?
    public var directoryAttributes: FileAttributes?
}

/// What ACCESS answers.
public struct AccessReply: Hashable, Sendable {
    /// The rights granted, out of those asked about.
    public var granted: AccessRights
    public var attributes: FileAttributes?
}

/// What READLINK answers.
public struct ReadLinkReply: Hashable, Sendable {
    public var target: NFSName
    public var attributes: FileAttributes?
}

/// What CREATE, MKDIR, SYMLINK and MKNOD answer.
public struct CreateReply: Hashable, Sendable {
    /// The new file; a server may leave it out, and the caller then asks with LOOKUP.
    public var handle: FileHandle?
    public var attributes: FileAttributes?
    public var directoryAttributes: FileAttributes?
}

/// What RENAME answers.
public struct RenameReply: Hashable, Sendable {
    public var sourceDirectoryAttributes: FileAttributes?
    public var targetDirectoryAttributes: FileAttributes?
}

/// What LINK answers.
public struct LinkReply: Hashable, Sendable {
    public var attributes: FileAttributes?
    public var directoryAttributes: FileAttributes?
}

/// One part of a directory, as READDIRPLUS answers it.
public struct DirectoryListing: Hashable, Sendable {
    public var entries: [DirectoryEntry]
    /// To be given back with the last entry's cookie when the listing goes on.
    public var cookieVerifier: UInt64
    /// Nothing follows.
    public var isComplete: Bool
    public var directoryAttributes: FileAttributes?
}

/// What COMMIT answers.
public struct CommitReply: Hashable, Sendable {
    public var verifier: WriteVerifier
    public var attributes: FileAttributes?

    package init(verifier: WriteVerifier, attributes: FileAttributes?) {
        self.verifier = verifier
        self.attributes = attributes
    }
}

/// What a read of any length answers.
public struct ReadReply: Hashable, Sendable {
    /// Bytes that were put into the buffer, from its start.
    public var byteCount: Int
    /// The server said that the file ends there.
    public var isEndOfFile: Bool
    public var attributes: FileAttributes?

    package init(byteCount: Int, isEndOfFile: Bool, attributes: FileAttributes?) {
        self.byteCount = byteCount
        self.isEndOfFile = isEndOfFile
        self.attributes = attributes
    }
}

/// What a write of any length answers.
public struct WriteReply: Hashable, Sendable {
    /// Bytes written: all of the buffer.
    public var byteCount: Int
    /// How durable the weakest part is.
    public var committed: StableHow
    /// The server's boot verifier; nil if the parts of a split write answered different ones,
    /// which the caller must treat as a server that restarted.
    public var verifier: WriteVerifier?
    public var attributes: FileAttributes?

    package init(
        byteCount: Int, committed: StableHow, verifier: WriteVerifier?,
        attributes: FileAttributes?
    ) {
        self.byteCount = byteCount
        self.committed = committed
        self.verifier = verifier
        self.attributes = attributes
    }
}

/// How CREATE deals with a file that exists (RFC 1813, section 3.3.8).
public enum CreateMode: Hashable, Sendable {
    case unchecked(SetAttributes)
    case guarded(SetAttributes)
    /// Fails if the file exists, unless this very verifier created it; safe to send again.
    case exclusive(verifier: UInt64)
}

/// What MKNOD makes (RFC 1813, section 3.3.11).
public enum SpecialFile: Hashable, Sendable {
    case characterDevice(major: UInt32, minor: UInt32)
    case blockDevice(major: UInt32, minor: UInt32)
    case socket
    case fifo
}

/// One directory that a server exports, and to whom (RFC 1813, section 5.2.5, EXPORT).
public struct ExportEntry: Hashable, Sendable {
    public var directory: String
    /// Hosts, networks and groups that may mount it; empty for everyone.
    public var groups: [String]
}

/// Names a request of one session, for `NFSSession.cancel`.
public struct RequestID: Hashable, Sendable {
    let number: UInt64
    let connectionIndex: Int
}

/// A change of the connection to the server.
public enum ConnectionEvent: Hashable, Sendable {
    /// A connection broke; its number counts from 0, its incarnations from 1.
    case lost(connection: Int, incarnation: UInt64, reason: String)
    /// A connection stands again.
    case restored(connection: Int, incarnation: UInt64)
}

/// What a session did so far; counts since it was connected.
public struct SessionStatistics: Hashable, Sendable {
    /// RPC calls sent, retransmissions included.
    public var calls: UInt64 = 0
    /// Those of them that only asked whether the server is there (NULL), such as heartbeats.
    public var nullCalls: UInt64 = 0
    /// Those that their callers sent themselves, since nothing else was under way and the
    /// connection's thread slept; the others waited for that thread to wake.
    public var callsSentByCaller: UInt64 = 0
    public var retransmissions: UInt64 = 0
    public var reconnects: UInt64 = 0
    public var bytesRead: UInt64 = 0
    public var bytesWritten: UInt64 = 0
    /// Requests that are neither answered nor failed now, waiting ones included.
    public var inFlight: Int = 0
}

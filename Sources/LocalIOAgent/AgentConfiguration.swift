// What an agent is told: where to listen, which server to ask, what to bear.
package import LocalIOServer
package import Logging

/// One export of the server and the directory it is on this host.
package struct ExportMapping: Hashable, Sendable {
    /// As clients mount it.
    package var path: String
    package var directory: String

    package init(path: String, directory: String) {
        self.path = path
        self.directory = directory
    }
}

/// The settings of an `Agent`.
package struct AgentConfiguration: Hashable, Sendable {
    /// How files are found.
    package enum Finding: String, Sendable, Hashable, CaseIterable {
        /// By the handle where its layout is known and the rights are there, else by the path.
        case auto
        case handle
        case path
    }

    package var socketPath: String
    /// Permission bits of the socket's file.
    package var socketMode: UInt32
    /// The group that owns the socket's file; nil leaves the process's own.
    package var socketGroup: String?
    /// The NFS server's address as this host reaches it.
    package var serverAddress: String
    /// Nil asks the portmapper.
    package var nfsPort: UInt16?
    package var mountPort: UInt16?
    /// Empty: every export that the server lists and that is the directory of that name here.
    package var exports: [ExportMapping]
    package var finding: Finding
    /// Where the LOCALIO program listens; `::` is every address, of IPv4 too.
    package var programAddress: String
    package var programPort: Int
    /// The LOCALIO program is told to the portmapper.
    package var registersProgram: Bool
    /// A nonce counts only from the address that its client registered; false behind address
    /// translation.
    package var comparesAddresses: Bool
    package var limits: AgentLimits
    package var intervals: AgentIntervals
    /// Threads that ask the server and open files.
    package var workers: Int
    package var logLevel: Logger.Level

    package init() {
        socketPath = "/run/localio/agent.sock"
        socketMode = 0o666
        serverAddress = "127.0.0.1"
        exports = []
        finding = .auto
        programAddress = "::"
        programPort = 20122
        registersProgram = true
        comparesAddresses = true
        limits = AgentLimits()
        intervals = AgentIntervals()
        workers = 4
        logLevel = .info
    }
}

/// What clients can make an agent hold.
package struct AgentLimits: Hashable, Sendable {
    package var clients = 1024
    package var clientsPerUser = 256
    package var nonces = NonceTable.Limits()
    /// Opens that are granted and not released.
    package var opens = 65536
    package var opensPerClient = 16384
    /// OPENs that are not answered yet.
    package var inFlight = 256
    package var inFlightPerClient = 32
    /// Answers that a client has not read yet.
    package var unreadPerClient = 128

    package init() {}
}

/// How often an agent looks, and how long it waits.
package struct AgentIntervals: Hashable, Sendable {
    /// Between two NULL calls to the server.
    package var heartbeat = Duration.seconds(1)
    /// Between two judgements of the files that are open.
    package var rejudge = Duration.seconds(5)
    /// Between two readings of the server's export list.
    package var exportList = Duration.seconds(30)
    /// How long the server may take for one call.
    package var serverTimeout = Duration.seconds(2)
    /// How long a new client may take to say hello.
    package var greeting = Duration.seconds(5)

    package init() {}
}

/// Why an agent cannot start, in one line.
package struct AgentError: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

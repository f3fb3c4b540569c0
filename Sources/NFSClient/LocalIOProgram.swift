// Calls the LOCALIO program, by which a server's host shows that it is the caller's own
// (Linux: include/linux/nfslocalio.h, fs/nfs/localio.c).
internal import Glibc
internal import Threads

/// A TCP connection to the LOCALIO program, 400122 version 1, of one address.
///
/// Blocks, for bounded times; used by one thread at a time. Program, procedures and the
/// argument on the wire (16 fixed opaque bytes, void result) are the kernel's.
package final class LocalIOProgram: Sendable {
    package static let number: UInt32 = 400_122
    package static let version: UInt32 = 1
    /// Where the program is served if neither the configuration nor rpcbind says otherwise.
    package static let defaultPort: UInt16 = 20_122
    /// Bytes of a nonce.
    package static let nonceByteCount = 16

    private static let nullProcedure: UInt32 = 0
    private static let uuidIsLocalProcedure: UInt32 = 1

    /// The numeric address from which the server sees these calls come.
    package let sourceAddress: String
    /// `address:port`, for people.
    package let server: String
    private let client: ProgramClient
    private let timeout: Duration

    /// Connects to a numeric address.
    /// - Parameter timeout: for connecting, and for each call's answer.
    /// - Throws: `.unreachable` with the reason.
    package static func connectBlocking(
        address: String, port: UInt16, timeout: Duration
    ) throws(RPCError) -> LocalIOProgram {
        let server = address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
        return try ControlThread.runBlocking(server: server) { () throws(RPCError) in
            do throws(SocketFailure) {
                let socket = try ProgramSocket.connect(address, port, timeout)
                let source = try ProgramSocket.sourceAddress(of: socket)
                let client = try ProgramClient(socket: socket, number, version)
                return LocalIOProgram(
                    client: client, source: source, server: server, timeout: timeout)
            } catch {
                throw RPCError(.unreachable(error.text), server: server)
            }
        }
    }

    /// The port that the host's rpcbind has for the program; nil if there is none.
    package static func registeredPortBlocking(
        address: String, timeout: Duration
    ) throws(RPCError) -> UInt16? {
        try ControlThread.runBlocking(server: address) { () throws(RPCError) in
            let url = NFSURL(host: address, exportPath: "/")
            return try Setup(url: url, timeout: timeout).portmap(
                address, Int32(number), version: Int32(version))
        }
    }

    private init(client: ProgramClient, source: String, server: String, timeout: Duration) {
        self.client = client
        sourceAddress = source
        self.server = server
        self.timeout = timeout
    }

    /// NULL: whether the program is served there at all.
    package func null() throws(RPCError) {
        try call(Self.nullProcedure, "NULL", [])
    }

    /// UUID_IS_LOCAL: shows the nonce to whoever serves the program there. The answer is void:
    /// whether it was claimed, the agent tells.
    ///
    /// - Parameter nonce: 16 bytes.
    package func uuidIsLocal(_ nonce: [UInt8]) throws(RPCError) {
        precondition(nonce.count == Self.nonceByteCount, "a nonce has 16 bytes")
        try call(Self.uuidIsLocalProcedure, "UUID_IS_LOCAL", nonce)
    }

    private func call(
        _ procedure: UInt32, _ name: String, _ bytes: [UInt8]
    ) throws(RPCError) {
        try ControlThread.runBlocking(server: server) { [self] () throws(RPCError) in
            guard let cause = client.call(procedure, bytes, timeout) else { return }
            throw RPCError(cause, server: server, procedure: name)
        }
    }
}

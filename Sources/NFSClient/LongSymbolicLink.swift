// SYMLINK with a target that libnfs cannot send: it encodes a call's arguments into 4 KiB, and a
// target may have 4,095 bytes.
internal import Glibc
public import NFSTypes

extension NFSSession {
    /// Bytes of a target up to which `NFSCall.symbolicLink` can be used, whatever the name and
    /// the credentials.
    public static let shortTargetByteCount = 3000

    private static let nfsProgram: UInt32 = 100_003
    private static let nfsVersion: UInt32 = 3
    private static let symbolicLinkProcedure: UInt32 = 10

    /// Makes a symbolic link of any length, over a connection of its own (RFC 1813, section
    /// 3.3.10). What was made, a LOOKUP tells.
    ///
    /// - Throws: what a call throws; `.connectionLost` and `.timedOut` if the server may have done
    ///   it.
    public func makeLongSymbolicLink(
        _ directory: FileHandle, _ name: NFSName, target: NFSName,
        _ attributes: SetAttributes = SetAttributes(), credentials: Credentials? = nil
    ) async throws(RPCError) {
        let procedure = "SYMLINK"
        if let status = refusal(name: name, target: target) {
            throw RPCError(.status(status), server: server, procedure: procedure)
        }
        var arguments = EncodedArguments()
        arguments.add(opaque: directory.bytes)
        arguments.add(opaque: name.bytes)
        arguments.add(attributes)
        arguments.add(opaque: target.bytes)
        let (bytes, caller) = (arguments.bytes, credentials ?? configuration.credentials)
        let timeout = configuration.requestTimeout
        let (address, port, server) = (serverAddress, nfsPort, server)
        try await ControlThread.run(server: server) { () throws(RPCError) in
            let client: ProgramClient
            do throws(SocketFailure) {
                let socket = try ProgramSocket.connect(
                    address, port, timeout, isPrivileged: geteuid() == 0)
                client = try ProgramClient(socket: socket, Self.nfsProgram, Self.nfsVersion)
            } catch {
                // Nothing was sent; as the session's own connections, to be tried again.
                throw RPCError(
                    .connectionLost(mayHaveExecuted: false), server: server,
                    procedure: procedure)
            }
            let (cause, word) = client.call(
                Self.symbolicLinkProcedure, bytes, as: caller, timeout)
            if let cause { throw RPCError(cause, server: server, procedure: procedure) }
            guard word != 0 else { return }
            throw RPCError(
                .status(NFSStatus(rawValue: word)), server: server, procedure: procedure)
        }
    }
}

/// Arguments in XDR (RFC 4506).
private struct EncodedArguments {
    private(set) var bytes: [UInt8] = []

    mutating func add(_ word: UInt32) {
        for shift in [24, 16, 8, 0] as [UInt32] {
            bytes.append(UInt8(truncatingIfNeeded: word >> shift))
        }
    }

    mutating func add(opaque: [UInt8]) {
        add(UInt32(opaque.count))
        bytes.append(contentsOf: opaque)
        while !bytes.count.isMultiple(of: 4) { bytes.append(0) }
    }

    /// sattr3 (RFC 1813, section 2.5) of mode and owners; a link's size and times are not set.
    mutating func add(_ attributes: SetAttributes) {
        for value in [attributes.mode, attributes.uid, attributes.gid] {
            add(value == nil ? 0 : 1)
            if let value { add(value) }
        }
        // Size, access time, modify time.
        for _ in 0..<3 { add(0 as UInt32) }
    }
}

// The LOCALIO program (Documentation/filesystems/nfs/localio.rst): what its procedures do.
internal import AgentProtocol

/// RPC program 400122, version 1: NULL and UUID_IS_LOCAL.
enum LocalIOProgram {
    /// Serves one procedure. UUID_IS_LOCAL answers void whether the nonce is known or not, as
    /// the kernel does: the answer shows at the agent's socket.
    /// - Returns: false for a procedure that is not there.
    static func serve(
        _ procedure: UInt32, _ input: XDRReader, _ peer: String, _ nonces: NonceTable?
    ) throws(GarbageArguments) -> Bool {
        switch procedure {
        case 0: return true
        case 1:
            let bytes = unsafe Array(try input.fixed(Nonce.byteCount))
            if let nonces, let nonce = Nonce(bytes) { nonces.claim(nonce, from: peer) }
            return true
        default: return false
        }
    }
}

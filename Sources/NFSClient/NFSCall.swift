// One NFSv3 procedure call as a value: what is sent, how the answer reads, and whether sending
// it twice is harmless. The procedures themselves are in the NFSCall+… files.
internal import CNFS
internal import Glibc
internal import NFSTypes

/// A call of one NFSv3 procedure (RFC 1813, section 3.3), to be run by a session.
@safe
public struct NFSCall<Reply: Sendable>: Sendable {
    /// The procedure's name in the RFC.
    public let procedure: String
    /// Sending it again after the connection broke answers the same.
    public let isIdempotent: Bool
    /// Arguments that no server would take: answered so without a round trip.
    let refusal: NFSStatus?
    let send: @Sendable (_ context: OpaquePointer, _ token: UnsafeMutableRawPointer?) -> Int32
    let decode: @Sendable (_ result: UnsafeMutableRawPointer?) -> Decoded<Reply>

    init(
        _ procedure: String, isIdempotent: Bool, refusal: NFSStatus? = nil,
        send: @escaping @Sendable (OpaquePointer, UnsafeMutableRawPointer?) -> Int32,
        decode: @escaping @Sendable (UnsafeMutableRawPointer?) -> Decoded<Reply>
    ) {
        self.procedure = procedure
        self.isIdempotent = isIdempotent
        self.refusal = refusal
        unsafe self.send = send
        unsafe self.decode = decode
    }
}

/// What a reply's bytes turned out to be.
enum Decoded<Reply> {
    case reply(Reply)
    case status(NFSStatus)
    case malformed(String)
}

/// Names longer than this are refused here, as every server's file system does.
private let nameByteCountLimit = 255

/// The status a server answers for a name that cannot be one; nil for a possible name.
func refusal(name: NFSName) -> NFSStatus? {
    if name.hasZero { return .invalid }
    if name.byteCount > nameByteCountLimit { return .nameTooLong }
    return nil
}

/// The same for a symbolic link's name and target.
func refusal(name: NFSName, target: NFSName) -> NFSStatus? {
    refusal(name: name) ?? (target.hasZero ? .invalid : nil)
}

/// Runs `body` with libnfs's form of a handle, valid within.
func withHandle<Result>(_ handle: FileHandle, _ body: (nfs_fh3) -> Result) -> Result {
    unsafe withUnsafeTemporaryAllocation(
        byteCount: FileHandle.byteCountLimit, alignment: 8
    ) { bytes in
        unsafe handle.copyBytes(to: bytes)
        var form = unsafe nfs_fh3()
        unsafe form.data.data_len = UInt32(handle.byteCount)
        unsafe form.data.data_val = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        return unsafe body(form)
    }
}

/// Runs `body` with libnfs's form of a name in a directory, valid within.
func withName<Result>(
    _ directory: FileHandle, _ name: NFSName, _ body: (diropargs3) -> Result
) -> Result {
    unsafe withHandle(directory) { handle in
        unsafe name.withCString { text in
            unsafe body(diropargs3(dir: handle, name: UnsafeMutablePointer(mutating: text)))
        }
    }
}

/// The result at `raw` read as `type`; nil for a reply without one.
@inline(__always)
func result<Form>(_ raw: UnsafeMutableRawPointer?, _ type: Form.Type) -> Form? {
    guard let raw = unsafe raw else { return nil }
    return unsafe raw.assumingMemoryBound(to: type).pointee
}

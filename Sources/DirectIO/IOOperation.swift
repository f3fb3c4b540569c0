// One file operation and the way its result is told, as trivial values: nothing to retain.

/// What a request asks of the file.
package enum IOKind: UInt8, Sendable {
    case read, write, dataSync, sync
}

/// A file operation. The memory and the descriptor must stay valid until it has completed.
@safe
package struct IOOperation: @unchecked Sendable {
    package var kind: IOKind
    package var fd: Int32
    /// Bytes from the start of the file; `.max` for a stream, which has no offsets.
    package var offset: UInt64
    package var address: UnsafeMutableRawPointer?
    package var byteCount: Int
    /// The registered buffer that holds the memory, or -1.
    package var bufferIndex: Int32
    /// `RWF_` flags for this operation; RWF_DONTCACHE is dropped where the kernel has it not.
    package var flags: Int32

    package init(
        kind: IOKind, fd: Int32, offset: UInt64, address: UnsafeMutableRawPointer?,
        byteCount: Int, bufferIndex: Int32 = -1, flags: Int32 = 0
    ) {
        self.kind = kind
        self.fd = fd
        self.offset = offset
        unsafe self.address = unsafe address
        self.byteCount = byteCount
        self.bufferIndex = bufferIndex
        self.flags = flags
    }

    /// Reads into `buffer`.
    package static func read(
        fd: Int32, offset: UInt64, into buffer: UnsafeMutableRawBufferPointer,
        bufferIndex: Int32 = -1, flags: Int32 = 0
    ) -> IOOperation {
        unsafe IOOperation(
            kind: .read, fd: fd, offset: offset, address: buffer.baseAddress,
            byteCount: buffer.count, bufferIndex: bufferIndex, flags: flags)
    }

    /// Writes all of `buffer`.
    package static func write(
        fd: Int32, offset: UInt64, from buffer: UnsafeRawBufferPointer,
        bufferIndex: Int32 = -1, flags: Int32 = 0
    ) -> IOOperation {
        unsafe IOOperation(
            kind: .write, fd: fd, offset: offset,
            address: UnsafeMutableRawPointer(mutating: buffer.baseAddress),
            byteCount: buffer.count, bufferIndex: bufferIndex, flags: flags)
    }

    /// fsync(2), or fdatasync(2) if `dataOnly`.
    package static func sync(fd: Int32, dataOnly: Bool) -> IOOperation {
        unsafe IOOperation(
            kind: dataOnly ? .dataSync : .sync, fd: fd, offset: 0, address: nil, byteCount: 0)
    }
}

/// Who is told the result of an operation: a function, its context and a token.
///
/// The result is bytes or a negative errno. Fewer bytes than asked: the end of the file for a
/// read; for a write, the next byte met an error that another write there will name.
@safe
package struct IOCompletion: @unchecked Sendable {
    package typealias Function =
        @Sendable @convention(c) (UnsafeMutableRawPointer?, UInt64, Int64) -> Void

    package var function: Function
    package var context: UnsafeMutableRawPointer?
    package var token: UInt64

    enum MailboxKind: UInt8 { case none, message, slot }
    /// Set if `function` posts to a mailbox.
    var mailboxKind = MailboxKind.none

    /// - Parameter function: called on a worker's thread; it must not wait.
    package init(
        function: @escaping Function, context: UnsafeMutableRawPointer?, token: UInt64
    ) {
        unsafe self.function = unsafe function
        unsafe self.context = unsafe context
        self.token = token
    }

    /// Tells the result.
    package func callAsFunction(_ result: Int64) { unsafe function(context, token, result) }
}

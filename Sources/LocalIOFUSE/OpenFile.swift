// What the kernel's file handles stand for: open files and open directories.
internal import LocalIO
internal import NFSClient
internal import NFSTypes
internal import Threads

/// What the kernel holds a retained pointer to, as its file handle.
enum KernelReference {
    /// The number the kernel is given; holds a reference until `take`.
    static func retain(_ object: some AnyObject) -> UInt64 {
        unsafe UInt64(UInt(bitPattern: Unmanaged.passRetained(object).toOpaque()))
    }

    /// The object behind a number that the kernel was given and has not released.
    static func borrow<Object: AnyObject>(_ number: UInt64, _ type: Object.Type) -> Object? {
        guard let address = unsafe UnsafeRawPointer(bitPattern: UInt(number)) else { return nil }
        return unsafe Unmanaged<Object>.fromOpaque(address).takeUnretainedValue()
    }

    /// The same when the kernel releases it, once.
    static func take<Object: AnyObject>(_ number: UInt64, _ type: Object.Type) -> Object? {
        guard let address = unsafe UnsafeRawPointer(bitPattern: UInt(number)) else { return nil }
        return unsafe Unmanaged<Object>.fromOpaque(address).takeRetainedValue()
    }
}

/// An open file.
final class OpenFile: Sendable {
    let node: Node
    let file: LocalIOFile
    /// How the kernel treats it; set before the kernel is answered.
    let treatment = Lock(Sharing.Treatment.direct)

    init(node: Node, file: LocalIOFile) {
        self.node = node
        self.file = file
    }
}

/// An open directory: the part of the listing that the kernel has not fetched yet.
final class OpenDirectory: Sendable {
    struct Listing {
        /// The cookie that comes before `entries[next]`.
        var position: UInt64 = 0
        var entries: [DirectoryEntry] = []
        var next = 0
        var verifier: UInt64 = 0
        var isComplete = false
    }

    let node: Node
    let credentials: Credentials
    let listing = Lock(Listing())

    init(node: Node, credentials: Credentials) {
        self.node = node
        self.credentials = credentials
    }
}

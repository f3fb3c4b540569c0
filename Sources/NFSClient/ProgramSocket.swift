// A TCP socket that connects, sends and receives in bounded time, for libtirpc to take over.
internal import CLocalIORPC
internal import CNFS
internal import Glibc

/// Connected sockets of libtirpc's clients.
enum ProgramSocket {
    /// A blocking, connected socket with time-outs; the caller owns it.
    /// - Parameter isPrivileged: from a port below 1024, which many NFS servers ask for, if one is
    ///   free.
    static func connect(
        _ address: String, _ port: UInt16, _ timeout: Duration, isPrivileged: Bool = false
    ) throws(SocketFailure) -> Int32 {
        var hints = unsafe addrinfo()
        unsafe hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard unsafe getaddrinfo(address, "\(port)", &hints, &list) == 0,
            let entry = unsafe list
        else { throw SocketFailure(text: "'\(address)' is no numeric address") }
        defer { unsafe freeaddrinfo(list) }
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let descriptor = unsafe socket(entry.pointee.ai_family, kind, 0)
        guard descriptor >= 0 else { throw .system("no socket", errno) }
        if isPrivileged { clocaliorpc_bind_privileged(descriptor) }
        do throws(SocketFailure) {
            let started = unsafe Glibc.connect(
                descriptor, entry.pointee.ai_addr, entry.pointee.ai_addrlen)
            if started != 0 { try finish(descriptor, started: errno, timeout) }
            try makeBlocking(descriptor, timeout)
            return descriptor
        } catch {
            close(descriptor)
            throw error
        }
    }

    private static func finish(
        _ descriptor: Int32, started code: Int32, _ timeout: Duration
    ) throws(SocketFailure) {
        guard code == EINPROGRESS else { throw .system("cannot connect", code) }
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        let milliseconds = Int32(clamping: timeout.nanoseconds / 1_000_000)
        var ready = unsafe poll(&entry, 1, milliseconds)
        while ready < 0 && errno == EINTR { ready = unsafe poll(&entry, 1, milliseconds) }
        guard ready > 0 else {
            throw SocketFailure(text: "cannot connect (no answer within \(timeout))")
        }
        var status: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &status, &length)
        guard status == 0 else { throw .system("cannot connect", status) }
    }

    private static func makeBlocking(
        _ descriptor: Int32, _ timeout: Duration
    ) throws(SocketFailure) {
        let flags = fcntl(descriptor, F_GETFL)
        guard flags >= 0, fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK) == 0 else {
            throw .system("cannot set up a socket", errno)
        }
        let nanoseconds = timeout.nanoseconds
        var limit = timeval(
            tv_sec: Int(nanoseconds / 1_000_000_000),
            tv_usec: Int(nanoseconds % 1_000_000_000 / 1000))
        let length = socklen_t(MemoryLayout<timeval>.size)
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, length)
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, length)
    }

    /// The socket's own address in numbers.
    static func sourceAddress(of descriptor: Int32) throws(SocketFailure) -> String {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let text: String? = unsafe withUnsafeMutablePointer(to: &storage) { storage in
            unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard unsafe getsockname(descriptor, address, &length) == 0 else { return nil }
                return unsafe numericAddress(address, length)
            }
        }
        guard let text else {
            close(descriptor)
            throw .system("a socket without an address", errno)
        }
        return text
    }
}

/// Why a socket could not be had.
struct SocketFailure: Error {
    let text: String

    static func system(_ what: String, _ code: Int32) -> SocketFailure {
        unsafe SocketFailure(text: "\(what) (\(String(cString: strerror(code))))")
    }
}

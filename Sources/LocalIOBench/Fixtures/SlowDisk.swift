// A disk image that takes its bytes at a steady rate, first come first served: a FUSE file system
// of one file, spoken in the kernel's own protocol (include/uapi/linux/fuse.h). Block throttling by
// control groups is no substitute: it stops everything for a tenth of a second at a time.
internal import CLinux
internal import Glibc

/// Serves one image from memory until the mount ends. Runs in a process of its own, outside of
/// whatever is measured on it.
package enum SlowDisk {
    /// The hidden subcommand of localio-bench.
    package static let subcommand = "serve-slow-disk"
    /// The image's name below the mount point.
    static let imageName = "disk"

    /// Mounts and serves; returns when the file system is unmounted.
    /// - Parameters:
    ///   - byteCount: the image's size.
    ///   - rate: bytes a second, reads and writes together.
    static func serve(at directory: String, byteCount: Int, rate: Int) throws(BenchError) {
        let channel = unsafe open("/dev/fuse", O_RDWR | O_CLOEXEC)
        guard channel >= 0 else { throw .system("cannot open /dev/fuse", errno: errno) }
        defer { close(channel) }
        guard let image = unsafe clinux_map_memory(byteCount),
            let buffer = unsafe clinux_map_memory(SlowDiskSession.bufferByteCount)
        else { throw BenchError("no memory for a disk of \(ByteSize.text(byteCount))") }
        let options = "fd=\(channel),rootmode=40000,user_id=0,group_id=0"
        let flags = UInt(MS_NOSUID | MS_NODEV)
        guard unsafe mount("localio-slow-disk", directory, "fuse", flags, options) == 0 else {
            throw .system("cannot mount a FUSE file system at \(directory)", errno: errno)
        }
        var session = unsafe SlowDiskSession(
            channel: channel, image: image, byteCount: byteCount, rate: rate, buffer: buffer)
        while session.serveOne() {}
    }
}

/// The protocol, one request at a time.
@safe
private struct SlowDiskSession {
    /// The largest WRITE with its headers.
    static let bufferByteCount = (1 << 20) + 65536
    private static let inputHeader = 40
    private static let outputHeader = 16

    let channel: Int32
    let image: UnsafeMutableRawPointer
    let byteCount: Int
    let rate: Int
    let buffer: UnsafeMutableRawPointer
    /// When the device will have done what it has taken, in monotonic nanoseconds.
    private var busyUntil: UInt64 = 0

    init(
        channel: Int32, image: UnsafeMutableRawPointer, byteCount: Int, rate: Int,
        buffer: UnsafeMutableRawPointer
    ) {
        self.channel = channel
        unsafe self.image = image
        self.byteCount = byteCount
        self.rate = rate
        unsafe self.buffer = buffer
    }

    private func input<Value: BitwiseCopyable>(_ offset: Int, _ type: Value.Type) -> Value {
        unsafe buffer.loadUnaligned(fromByteOffset: offset, as: type)
    }

    /// False when the mount has gone.
    mutating func serveOne() -> Bool {
        let got = unsafe read(channel, buffer, Self.bufferByteCount)
        if got < 0 { return errno == EINTR || errno == EAGAIN || errno == ENOENT }
        guard got >= Self.inputHeader else { return false }
        let body = Self.inputHeader
        switch input(4, UInt32.self) {
        case 26: answerInit()
        case 1: answerLookUp()
        case 3, 4: reply(words: [3600, 0] + attributes(of: input(16, UInt64.self)))
        // open, opendir: a handle and no flags, so that writes go through the cache at once.
        case 14, 27: reply(words: [0, 0])
        case 15: answerRead(offset: input(body + 8, UInt64.self), input(body + 16, UInt32.self))
        case 16: answerWrite(offset: input(body + 8, UInt64.self), input(body + 16, UInt32.self))
        case 17: reply(words: Array(repeating: 0, count: 10))
        // release, fsync, flush, releasedir, access
        case 18, 20, 25, 29, 34: reply(words: [])
        // forget, interrupt and batch forget are not answered.
        case 2, 36, 42: break
        case 38: return false
        default: reply(error: ENOSYS)
        }
        return true
    }

    private func send(_ parts: [iovec]) {
        _ = unsafe parts.withUnsafeBufferPointer { parts in
            unsafe writev(channel, parts.baseAddress, Int32(parts.count))
        }
    }

    private func header(error: Int32, byteCount: Int) -> [UInt64] {
        let word =
            UInt64(UInt32(Self.outputHeader + byteCount))
            | UInt64(UInt32(bitPattern: -error)) << 32
        return [word, input(8, UInt64.self)]
    }

    private func reply(error: Int32 = 0, words: [UInt64] = []) {
        var message = header(error: error, byteCount: words.count * 8) + words
        unsafe message.withUnsafeMutableBytes { bytes in
            unsafe send([iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)])
        }
    }

    private func answerInit() {
        // Version 7.31; ASYNC_READ, BIG_WRITES and MAX_PAGES; 16 in the background, 1 MiB a write.
        let flags: UInt64 = 1 | 1 << 5 | 1 << 22
        let background: UInt64 = 16 | 12 << 16
        let largest: UInt64 = 1 << 20
        let pages: UInt64 = 256
        reply(words: [
            7 | 31 << 32, largest | flags << 32, background | largest << 32, 1 | pages << 32,
            0, 0, 0, 0,
        ])
    }

    /// fuse_attr of the root (1) or of the image (2).
    private func attributes(of node: UInt64) -> [UInt64] {
        let isImage = node == 2
        let size = isImage ? UInt64(byteCount) : 0
        let mode = UInt64(isImage ? S_IFREG | 0o600 : S_IFDIR | 0o700)
        return [
            node, size, size / 512, 0, 0, 0, 0, mode << 32, 1, 0, 4096,
        ]
    }

    private func answerLookUp() {
        let name = unsafe String(
            cString: (buffer + Self.inputHeader).assumingMemoryBound(to: CChar.self))
        guard name == SlowDisk.imageName else { return reply(error: ENOENT) }
        reply(words: [2, 0, 3600, 3600, 0] + attributes(of: 2))
    }

    /// Holds the answer back until the device would have moved the bytes.
    private mutating func pace(_ count: Int) {
        let now = monotonicNanoseconds()
        busyUntil = max(busyUntil, now) + UInt64(Double(count) / Double(rate) * 1e9)
        while true {
            let rest = busyUntil &- monotonicNanoseconds()
            guard rest < 1 << 62, rest > 0 else { return }
            usleep(UInt32(clamping: rest / 1000 + 1))
        }
    }

    private mutating func answerRead(offset: UInt64, _ wanted: UInt32) {
        let start = Int(min(offset, UInt64(byteCount)))
        let count = min(Int(wanted), byteCount - start)
        pace(count)
        var head = header(error: 0, byteCount: count)
        unsafe head.withUnsafeMutableBytes { bytes in
            unsafe send([
                iovec(iov_base: bytes.baseAddress, iov_len: bytes.count),
                iovec(iov_base: image + start, iov_len: count),
            ])
        }
    }

    private mutating func answerWrite(offset: UInt64, _ byteCount: UInt32) {
        let count = Int(byteCount)
        guard offset <= UInt64(self.byteCount), count <= self.byteCount - Int(offset) else {
            return reply(error: ENOSPC)
        }
        unsafe memcpy(image + Int(offset), buffer + Self.inputHeader + 40, count)
        pace(count)
        reply(words: [UInt64(byteCount)])
    }
}

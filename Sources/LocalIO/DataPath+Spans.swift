// The same reads and writes for callers with spans and file paths instead of pointers and text.
public import NFSTypes
public import SystemPackage

extension LocalIOFile {
    /// Reads into `bytes` from `offset`; blocks. See `readBlocking(into:at:)`.
    ///
    /// A span whose memory is aligned for direct I/O (an `AlignedBuffer`'s is) goes without a
    /// copy.
    /// - Returns: bytes read; fewer than asked only at the end of the file.
    public func readBlocking(
        into bytes: inout MutableRawSpan, at offset: UInt64
    ) throws(LocalIOError) -> Int {
        try unsafe bytes.withUnsafeMutableBytes { (target) throws(LocalIOError) in
            try unsafe readBlocking(into: target, at: offset)
        }
    }

    /// Writes all of `bytes` at `offset`; blocks. See `writeBlocking(from:at:stable:)`.
    /// - Returns: bytes written; fewer than asked if an error stopped the write.
    public func writeBlocking(
        _ bytes: RawSpan, at offset: UInt64, stable: StableHow = .unstable
    ) throws(LocalIOError) -> Int {
        try unsafe bytes.withUnsafeBytes { (source) throws(LocalIOError) in
            try unsafe writeBlocking(from: source, at: offset, stable: stable)
        }
    }
}

extension LocalIOClient {
    /// `openBlocking` for a path below the export.
    public func openBlocking(
        _ path: FilePath, _ access: AccessMode = .readOnly, options: OpenOptions = [],
        mode: UInt32 = 0o644
    ) throws(LocalIOError) -> LocalIOFile {
        try openBlocking(path.string, access, options: options, mode: mode)
    }

    /// `open` for a path below the export.
    public func open(
        _ path: FilePath, _ access: AccessMode = .readOnly, options: OpenOptions = [],
        mode: UInt32 = 0o644
    ) async throws(LocalIOError) -> LocalIOFile {
        try await open(path.string, access, options: options, mode: mode)
    }
}

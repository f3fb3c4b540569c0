// Reading the kernel's file handle out of a server's.
import Benchmark
import LocalIOAgent
import LocalIOServer
import NFSTypes

/// `01 | 00 | fsid type 6 (16 bytes) | fileid type | fsid | kernel handle` (fs/nfsd/nfsfh.h).
private let knfsd: [UInt8] = [0x01, 0, 6, 0x81] + Array(repeating: 7, count: 16 + 8)

/// `43 | flags | export | length | opaque`: a type of one byte, the device as the fsid.
private let ganesha: [UInt8] =
    [0x43, 0, 0, 1, 18, 0x40 | 2] + Array(repeating: 3, count: 8) + [0x81]
    + Array(repeating: 9, count: 8)

private func decode(_ name: String, _ handle: FileHandle?) {
    // A layout that is not recognized any more must not look fast.
    guard let handle, DecodedHandle(handle) != nil else {
        preconditionFailure("\(name): not a handle")
    }
    Benchmark(plain("handle: decode \(name)")) { benchmark in
        for _ in benchmark.scaledIterations { blackHole(DecodedHandle(handle)) }
    }
}

func handleBenchmarks() {
    decode("knfsd", FileHandle(knfsd))
    decode("ganesha", FileHandle(ganesha))
    decode(
        "embedded",
        ServerHandle(
            exportHash: ServerHandle.exportHash(path: "/srv/data"), inode: 77,
            generation: .kernelHandle(type: 1, bytes: [1, 2, 3, 4, 5, 6, 7, 8])
        ).encoded)
    Benchmark(plain("handle: compare and hash")) { benchmark in
        guard let handle = FileHandle(knfsd), let other = FileHandle(knfsd) else { return }
        var same = 0
        for _ in benchmark.scaledIterations where handle == other {
            same &+= handle.hashValue
        }
        blackHole(same)
    }
}

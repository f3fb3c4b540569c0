// An operation on the simulated local file: what the engine's queue, the kernel and the device
// make of it, and what goes wrong.
internal import CLinux
internal import DirectIO
internal import Glibc

/// One read or write by the local road. Touched with the baton held.
@safe
final class LocalOperation: @unchecked Sendable {
    private let file: SimulatedFile
    private let operation: IOOperation
    private let completion: IOCompletion
    /// Bytes it will move.
    private var wanted = 0
    private var checksum: UInt64 = 0

    init(file: SimulatedFile, _ operation: IOOperation, _ completion: IOCompletion) {
        self.file = file
        self.operation = operation
        self.completion = completion
    }

    private var host: SimulatedHost { file.host }
    private var storage: SimulatedStorage { file.storage }
    private var offset: Int { Int(operation.offset) }
    private var isBuffered: Bool { operation.fd == SimulatedFile.buffered }

    func start() { host.scheduler.after(host.delay()) { self.submitted() } }

    private func submitted() {
        let faults = host.faults
        let isWrite = operation.kind == .write
        wanted = operation.byteCount
        if host.happens(faults.localAgain) { return end(-Int64(EAGAIN)) }
        if host.happens(faults.localInvalid) { return end(-Int64(EINVAL)) }
        if host.happens(faults.localNoMemory) { return end(-Int64(ENOMEM)) }
        if host.happens(faults.localError) { return end(-Int64(EIO)) }
        if isWrite {
            let isExtending = offset + wanted > storage.size
            if host.isFull && (isExtending || host.scheduler.oneIn(2))
                || host.happens(faults.localNoSpace)
            {
                return end(-Int64(ENOSPC))
            }
        }
        let block = faults.block
        if !isBuffered, offset % block != 0 || wanted % block != 0 {
            host.scheduler.fail("direct I/O at \(offset), \(wanted) bytes: not of blocks")
        }
        if host.happens(faults.localShort), wanted >= 2 * block {
            wanted = host.scheduler.random(1...(wanted / block - 1)) * block
        }
        host.scheduler.note(isWrite ? "local write" : "local read", file.number, offset, wanted)
        if isBuffered { return buffered() }
        // The kernel keeps its page cache and direct I/O together as far as it can: here, and
        // once more when the write has ended.
        storage.flush(offset, wanted)
        storage.dropClean(offset, wanted)
        checksum = sum()
        host.scheduler.after(host.delay()) { self.lands() }
    }

    private func buffered() {
        guard let address = unsafe operation.address else { return end(0) }
        if operation.kind == .write {
            unsafe storage.writeCached(address, offset, wanted, local: true)
            if operation.flags != 0 { storage.syncRange(offset, wanted) }
            end(Int64(wanted))
        } else {
            end(Int64(unsafe storage.readCached(address, offset, wanted)))
        }
    }

    private func lands() {
        guard let address = unsafe operation.address else { return end(0) }
        guard operation.kind == .write else {
            return end(Int64(unsafe storage.readDirect(address, offset, wanted)))
        }
        if checksum != sum() {
            host.scheduler.fail(
                "file \(file.number): the memory of a write at \(offset) changed under the device")
        }
        unsafe storage.writeDirect(address, offset, wanted)
        storage.dropClean(offset, wanted)
        if operation.flags != 0 { storage.syncRange(offset, wanted) }
        host.scheduler.note("on the device", file.number, offset, wanted)
        end(Int64(wanted))
    }

    private func end(_ result: Int64) {
        host.scheduler.after(host.delay() / 4) {
            self.host.scheduler.note("local result", self.file.number, self.offset, Int(result))
            self.host.queued -= 1
            if result < self.operation.byteCount { self.host.troubles += 1 }
            self.completion(result)
        }
    }

    /// Of the words it writes, unless they may change under way.
    private func sum() -> UInt64 {
        guard file.isStable, operation.kind == .write, let address = unsafe operation.address
        else { return 0 }
        var sum: UInt64 = 0
        for place in stride(from: 0, to: wanted - 7, by: 8) {
            let word = unsafe address.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            sum = (sum &+ word) &* 0x9e37_79b9_7f4a_7c15
            sum ^= sum >> 29
        }
        return sum
    }
}

// One inode of the server's host: the kernel's page cache, a device with a volatile cache, and
// the medium that survives a crash.
internal import Glibc

/// Bytes in three layers. What is past the size is zero in each of them.
///
/// Follows mm/filemap.c and fs/iomap/direct-io.c where losing bytes is possible: a page is
/// written back whole, some time after it was dirtied; direct I/O writes the dirty pages of its
/// own range back and drops the clean ones when it is submitted and when it ends, and knows
/// nothing of a page that somebody dirties in between.
@safe
final class SimulatedStorage {
    static let page = 4096
    static let block = 512

    private enum PageState: UInt8 { case absent, clean, dirty }

    let capacity: Int
    private(set) var size = 0
    private(set) var mediumSize = 0
    private let cache: UnsafeMutableRawPointer
    private let device: UnsafeMutableRawPointer
    private let medium: UnsafeMutableRawPointer
    private var pages: [PageState]
    /// Pages on their way to the device: what they held when write-back began.
    private var writebacks: [Int: [UInt8]] = [:]
    /// Pages that local buffered writes dirtied: a restart of the server loses none of them.
    private var isLocal: [Bool]
    /// Counts writes to each block, and the count that the medium has.
    private var versions: [UInt32]
    private var mediumVersions: [UInt32]
    private var cuts = 0
    /// One past the last byte that the device has, or that a SETATTR has made the end.
    private var deviceSize = 0
    /// Counts changes of the size and the bytes, as ctime does.
    private(set) var changes: UInt32 = 1

    init(capacity: Int) {
        self.capacity = capacity
        let zeros = { (count: Int) in
            let memory = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 4096)
            unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: count)
            return unsafe memory
        }
        unsafe cache = unsafe zeros(capacity)
        unsafe device = unsafe zeros(capacity)
        unsafe medium = unsafe zeros(capacity)
        pages = Array(repeating: .absent, count: capacity / Self.page)
        isLocal = Array(repeating: false, count: capacity / Self.page)
        versions = Array(repeating: 0, count: capacity / Self.block)
        mediumVersions = versions
    }

    deinit {
        unsafe cache.deallocate()
        unsafe device.deallocate()
        unsafe medium.deallocate()
    }

    private func pageNumbers(_ offset: Int, _ byteCount: Int) -> Range<Int> {
        let first = offset / Self.page
        let end = (offset + byteCount + Self.page - 1) / Self.page
        return min(first, pages.count)..<max(min(end, pages.count), min(first, pages.count))
    }

    // MARK: - The page cache

    private func load(_ page: Int) {
        guard pages[page] == .absent else { return }
        let start = page * Self.page
        // The page that is on its way to the device still is the newest.
        if let bytes = writebacks[page] {
            unsafe bytes.withUnsafeBytes {
                unsafe (cache + start).copyMemory(from: $0.baseAddress!, byteCount: Self.page)
            }
        } else {
            unsafe (cache + start).copyMemory(from: device + start, byteCount: Self.page)
        }
        pages[page] = .clean
    }

    /// A write through the page cache: the server's, or a local one without O_DIRECT.
    func writeCached(_ source: UnsafeRawPointer, _ offset: Int, _ byteCount: Int, local: Bool) {
        for page in pageNumbers(offset, byteCount) {
            load(page)
            pages[page] = .dirty
            if local { isLocal[page] = true }
        }
        unsafe (cache + offset).copyMemory(from: source, byteCount: byteCount)
        size = max(size, offset + byteCount)
        changes += 1
    }

    /// A read through the page cache; bytes up to the size.
    func readCached(_ target: UnsafeMutableRawPointer, _ offset: Int, _ byteCount: Int) -> Int {
        let count = max(0, min(byteCount, size - offset))
        guard count > 0 else { return 0 }
        for page in pageNumbers(offset, count) { load(page) }
        unsafe target.copyMemory(from: cache + offset, byteCount: count)
        return count
    }

    /// A dirty page by its place among the dirty ones, for write-back by the kernel.
    func dirtyPage(_ choice: Int) -> Int? {
        let dirty = pages.indices.filter { pages[$0] == .dirty && writebacks[$0] == nil }
        return dirty.isEmpty ? nil : dirty[choice % dirty.count]
    }

    /// Write-back of a page begins; `writebackEnds` is to follow.
    func writebackBegins(_ page: Int) {
        let start = page * Self.page
        writebacks[page] = unsafe [UInt8](
            UnsafeRawBufferPointer(start: cache + start, count: Self.page))
        pages[page] = .clean
        isLocal[page] = false
    }

    /// The whole page as it was goes to the device, unless somebody had to hurry it up.
    func writebackEnds(_ page: Int) {
        guard let bytes = writebacks.removeValue(forKey: page) else { return }
        let start = page * Self.page
        unsafe bytes.withUnsafeBytes {
            unsafe writeDevice($0.baseAddress!, start, max(0, min(Self.page, size - start)))
        }
    }

    /// Writes dirty pages of the range to the device now.
    func flush(_ offset: Int, _ byteCount: Int) {
        for page in pageNumbers(offset, byteCount) {
            writebackEnds(page)
            guard pages[page] == .dirty else { continue }
            let start = page * Self.page
            unsafe writeDevice(cache + start, start, max(0, min(Self.page, size - start)))
            pages[page] = .clean
            isLocal[page] = false
        }
    }

    /// Drops clean pages of the range, so that the next reader asks the device.
    func dropClean(_ offset: Int, _ byteCount: Int) {
        for page in pageNumbers(offset, byteCount) where pages[page] == .clean {
            pages[page] = .absent
        }
    }

    /// The server has died: of the pages it had dirtied and not committed, those that `isLost`
    /// says are what the device has.
    func loseUncommitted(_ isLost: (Int) -> Bool) -> Int {
        var lost = 0
        for page in pages.indices where pages[page] == .dirty && !isLocal[page] && isLost(page) {
            pages[page] = .absent
            lost += 1
        }
        guard lost > 0 else { return 0 }
        // The file ends where what is left of it ends.
        var end = max(deviceSize, mediumSize)
        for page in pages.indices where pages[page] == .dirty || writebacks[page] != nil {
            end = max(end, (page + 1) * Self.page)
        }
        size = min(size, end)
        changes += 1
        return lost
    }

    // MARK: - The device

    func writeDevice(_ source: UnsafeRawPointer, _ offset: Int, _ byteCount: Int) {
        guard byteCount > 0 else { return }
        deviceSize = max(deviceSize, offset + byteCount)
        unsafe (device + offset).copyMemory(from: source, byteCount: byteCount)
        for block in offset / Self.block...(offset + byteCount - 1) / Self.block {
            versions[block] &+= 1
        }
    }

    /// A direct write reaches the device.
    func writeDirect(_ source: UnsafeRawPointer, _ offset: Int, _ byteCount: Int) {
        size = max(size, offset + byteCount)
        unsafe writeDevice(source, offset, byteCount)
        changes += 1
    }

    func readDirect(_ target: UnsafeMutableRawPointer, _ offset: Int, _ byteCount: Int) -> Int {
        let count = max(0, min(byteCount, size - offset))
        if count > 0 { unsafe target.copyMemory(from: device + offset, byteCount: count) }
        return count
    }

    // MARK: - The medium

    /// What a sync has to carry: begun now, ended later.
    struct Sync {
        fileprivate var blocks: [(block: Int, version: UInt32)]
        fileprivate var size: Int
        fileprivate var cuts: Int
    }

    /// An fsync of the inode begins, by fdatasync or COMMIT: dirty pages go to the device.
    func syncBegins() -> Sync {
        flush(0, capacity)
        var sync = Sync(blocks: [], size: size, cuts: cuts)
        for block in versions.indices where versions[block] != mediumVersions[block] {
            sync.blocks.append((block, versions[block]))
        }
        return sync
    }

    /// The device has emptied its cache of what it had when the sync began.
    func syncEnds(_ sync: Sync) {
        for (block, version) in sync.blocks { land(block, version) }
        if sync.cuts == cuts { mediumSize = max(mediumSize, sync.size) }
    }

    private func land(_ block: Int, _ version: UInt32) {
        let start = block * Self.block
        unsafe (medium + start).copyMemory(from: device + start, byteCount: Self.block)
        mediumVersions[block] = version
    }

    /// The device's cache lets a block go by itself.
    func landOne(_ choice: Int) {
        let block = choice % versions.count
        if versions[block] != mediumVersions[block] { land(block, versions[block]) }
    }

    /// A range and the size become durable at once (RWF_DSYNC, FILE_SYNC).
    func syncRange(_ offset: Int, _ byteCount: Int) {
        guard byteCount > 0 else { return }
        flush(offset, byteCount)
        for block in offset / Self.block...(offset + byteCount - 1) / Self.block {
            land(block, versions[block])
        }
        mediumSize = max(mediumSize, offset + byteCount)
    }

    /// SETATTR of the size: durable when answered (RFC 1813, section 3.3.2).
    func setSize(_ newSize: Int) {
        let old = size
        if newSize < old {
            for page in pageNumbers(newSize, old - newSize) {
                let start = page * Self.page
                if newSize > start {
                    flush(start, Self.page)
                } else {
                    writebacks[page] = nil
                }
                pages[page] = .absent
                isLocal[page] = false
            }
            let count = old - newSize
            unsafe (device + newSize).initializeMemory(as: UInt8.self, repeating: 0, count: count)
            unsafe (medium + newSize).initializeMemory(
                as: UInt8.self, repeating: 0, count: capacity - newSize)
        }
        size = newSize
        deviceSize = newSize
        mediumSize = newSize
        cuts += 1
        changes += 1
    }

    /// What a crash leaves.
    var survivors: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: medium, count: mediumSize)
    }
}

// A task that uses files as programs do: reads, writes, syncs, truncates, closes and opens.
internal import Glibc
internal import LocalIO
internal import NFSClient
internal import PageCache
internal import SystemPackage
internal import Threads

/// One user, on its own simulated thread.
@safe
final class User {
    private struct Open {
        let file: CacheFileID
        var state: CacheOpenState
        var opener: ErrorModel.Opener
        /// Where a sequential reader goes on.
        var position = 0
    }

    private let number: Int
    private let site: Site
    private let memory: UnsafeMutableRawPointer
    private var opens: [Open?]
    private static let largest = 96 << 10

    init(number: Int, site: Site) {
        self.number = number
        self.site = site
        unsafe memory = .allocate(byteCount: Self.largest + 8192, alignment: 4096)
        opens = site.files.map { _ in nil }
    }

    deinit { unsafe memory.deallocate() }

    private var scheduler: Scheduler { site.scheduler }

    /// One operation.
    func step() {
        if scheduler.oneIn(8) { scheduler.sleep(site.host.delay() * scheduler.random(1...8)) }
        let index = scheduler.random(site.files.count)
        let checked = site.files[index]
        if checked.isCached, opens[index] == nil { open(index) }
        if checked.isCached, opens[index] == nil { return }
        switch scheduler.random(100) {
        case 0..<46: write(index)
        case 46..<78: read(index)
        case 78..<89: sync(index)
        case 89..<92: truncate(index)
        case 92..<95: close(index)
        case 95..<98: if let open = opens[index] { site.cache.startFlush(open.file) }
        default: if let open = opens[index] { site.cache.invalidate(open.file) }
        }
    }

    /// The last user closes them all, when the world is healthy again.
    func handOver() {
        for (index, open) in opens.enumerated() {
            if let open { site.keep(site.files[index], open.file, open.state, open.opener) }
        }
    }

    // MARK: - Open and close

    private func open(_ index: Int) {
        let checked = site.files[index]
        do throws(RPCError) {
            let moment = site.cache.moment
            let now = try checked.file.currentAttributes()
            let stamp = FileStamp(
                size: now.size, modifyTime: now.modifyTime, changeTime: now.changeTime)
            site.notices()
            let opened = try? site.cache.open(UInt64(index + 1), stamp: stamp, asOf: moment)
            guard let opened else { return scheduler.fail("open of file \(index) failed") }
            site.world.opened(opened.file, checked)
            checked.openCount += 1
            opens[index] = Open(
                file: opened.file, state: opened.open, opener: checked.errors.opener)
            scheduler.note("opened", index, Int(now.size))
        } catch {
            scheduler.note("open failed", index, Int(error.errno))
        }
    }

    private func close(_ index: Int) {
        guard var open = opens[index] else { return }
        site.close(site.files[index], open.file, &open.state, &open.opener)
        opens[index] = nil
    }

    private func sync(_ index: Int) {
        let checked = site.files[index]
        if var open = opens[index] {
            site.sync(checked, &open.opener) { () throws(CacheError) in
                try site.cache.fsync(open.file, &open.state)
            }
            opens[index] = open
            return
        }
        let begun = site.clock.tick()
        do throws(LocalIOError) {
            try checked.file.flush()
            checked.model.synced(begun)
            scheduler.note("commit", index)
        } catch {
            scheduler.note("commit failed", index, Int(error.errno.rawValue))
        }
    }

    // MARK: - Data

    /// Memory for so many bytes: aligned, or not.
    private func place() -> UnsafeMutableRawPointer {
        switch scheduler.random(4) {
        case 0: unsafe memory + scheduler.random(1...511)
        case 1: unsafe memory + scheduler.random(1...7) * 512
        default: unsafe memory
        }
    }

    private func size() -> Int {
        switch scheduler.random(10) {
        case 0..<4: scheduler.random(1...600)
        case 4..<8: scheduler.random(1...9000)
        default: scheduler.random(1...Self.largest)
        }
    }

    /// A range inside `start..<end`, sometimes of whole blocks or pages.
    private func range(_ start: Int, _ end: Int) -> Range<Int> {
        var first = scheduler.random(start...end - 1)
        var last = min(first + size(), end)
        let unit = [1, 512, 4096][scheduler.random(3)]
        let (down, up) = (first / unit * unit, (last + unit - 1) / unit * unit)
        if down >= start, up <= end { (first, last) = (down, up) }
        return first..<last
    }

    private func write(_ index: Int) {
        let checked = site.files[index]
        let mine = checked.regions.indices.filter { checked.regions[$0].owner == number }
        guard !mine.isEmpty else { return }
        let region = mine[scheduler.random(mine.count)]
        let end =
            region + 1 < checked.regions.count
            ? checked.regions[region + 1].start : checked.model.capacity
        let range = range(checked.regions[region].start, end)
        let tag = site.nextTag()
        let source = unsafe place()
        unsafe FileModel.fill(source, tag, range.lowerBound, range.count)
        scheduler.waitUntil("a truncation") { !checked.isCutting }
        checked.writers += 1
        scheduler.note("write", index, range.lowerBound, range.count)
        let record = checked.model.writeBegins(range.lowerBound, range.count, tag: tag)
        let result = unsafe perform(
            .write, index, UnsafeMutableRawBufferPointer(start: source, count: range.count),
            range.lowerBound)
        scheduler.note("written", index, range.lowerBound, result)
        checked.model.writeEnds(record, result >= 0 ? result : nil)
        if result < 0 { mayFail("write", result) }
        checked.writers -= 1
        scheduler.wake("the writers")
    }

    private func mayFail(_ what: String, _ result: Int) {
        if site.host.faults.isCalm { scheduler.fail("\(what) answered \(result) without a fault") }
    }

    private func read(_ index: Int) {
        let checked = site.files[index]
        var range = range(0, checked.model.capacity)
        if let open = opens[index], scheduler.oneIn(2) {
            let start = open.position < checked.model.size ? open.position : 0
            range = start..<min(start + size(), checked.model.capacity)
            opens[index]?.position = range.upperBound
        }
        guard !range.isEmpty else { return }
        let target = unsafe UnsafeMutableRawBufferPointer(start: place(), count: range.count)
        site.notices()
        let troubles = site.host.troubles
        let ticket = checked.model.readBegins()
        scheduler.note("read", index, range.lowerBound, range.count)
        let result = unsafe perform(.read, index, target, range.lowerBound)
        site.notices()
        scheduler.note("has read", index, range.lowerBound, result)
        guard result >= 0 else {
            mayFail("read", result)
            return checked.model.readFailed(ticket)
        }
        let bytes = unsafe UnsafeRawBufferPointer(rebasing: target[..<result])
        if let wrong = unsafe checked.model.readEnds(
            ticket, bytes, wanted: range.count, at: range.lowerBound,
            mayBeShort: site.host.troubles != troubles)
        {
            scheduler.fail(wrong)
        }
    }

    private func perform(
        _ kind: Transfer.Kind, _ index: Int, _ buffer: UnsafeMutableRawBufferPointer, _ offset: Int
    ) -> Int {
        guard var open = opens[index] else {
            return unsafe performDirectly(kind, site.files[index].file, buffer, offset)
        }
        defer {
            let position = opens[index]?.position ?? 0
            opens[index] = open
            opens[index]?.position = position
        }
        do throws(CacheError) {
            switch kind {
            case .read:
                return try unsafe site.cache.read(
                    open.file, &open.state, into: buffer, at: UInt64(offset))
            case .write:
                return try unsafe site.cache.write(
                    open.file, &open.state, from: UnsafeRawBufferPointer(buffer),
                    at: UInt64(offset))
            }
        } catch {
            return -Int(error.errno)
        }
    }

    /// As a blocking caller of an open file does it.
    private func performDirectly(
        _ kind: Transfer.Kind, _ file: SimulatedFile, _ buffer: UnsafeMutableRawBufferPointer,
        _ offset: Int
    ) -> Int {
        guard let address = buffer.baseAddress else { return 0 }
        let request = unsafe Transfer.Request(
            kind: kind, offset: UInt64(offset), address: address, byteCount: buffer.count,
            stable: scheduler.oneIn(10) ? .fileSync : .unstable, holdsRange: false)
        let box = ResultBox()
        Transfer(file: file, request: request, route: file.route()) { box.set($0) }.start()
        return Int(box.wait())
    }

    private func truncate(_ index: Int) {
        let checked = site.files[index]
        let size = scheduler.random(0...checked.model.capacity)
        scheduler.waitUntil("a truncation") { !checked.isCutting }
        checked.isCutting = true
        scheduler.waitUntil("the writers") { checked.writers == 0 }
        scheduler.note("truncate", index, size)
        let record = checked.model.cutBegins(to: size)
        var succeeded = true
        if let open = opens[index] {
            do throws(CacheError) {
                try site.cache.truncate(open.file, to: UInt64(size))
            } catch {
                succeeded = false
            }
        } else {
            do throws(LocalIOError) {
                try checked.file.setSize(to: UInt64(size))
            } catch {
                succeeded = false
            }
        }
        scheduler.note("truncated", index, size, succeeded ? 1 : 0)
        checked.model.cutEnds(record, succeeded: succeeded)
        checked.isCutting = false
        scheduler.wake("a truncation")
    }
}

/// A result that a simulated thread waits for.
final class ResultBox: Sendable {
    private let result = Lock<Int64>(0)
    private let arrived = Semaphore()

    func set(_ new: Int64) {
        result.withLock { $0 = new }
        arrived.signal()
    }

    func wait() -> Int64 {
        arrived.wait()
        return result.withLock { $0 }
    }
}

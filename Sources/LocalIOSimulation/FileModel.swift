// The reference model of one file: which values each byte may have, in the client's view and on
// the medium, and which errors somebody still has to be told.
internal import Glibc
internal import LocalIOBench

/// Every byte has one writer at a time, so its writes are in order; reads and syncs come from
/// everywhere. Touched with the baton held.
@safe
final class FileModel {
    struct Record {
        enum Kind { case write, cut }
        let kind: Kind
        /// Bytes of a write; of a cut all from `offset` on.
        let offset: Int
        var end: Int
        /// Which bytes they are.
        let tag: UInt64
        let begun: Int
        /// `Int.max` while it is in flight.
        var ended = Int.max
        /// It has certainly happened.
        var isDone = false
        /// Given up after an error that was told.
        var isLost = false
        /// An fsync that began after its end has succeeded.
        var isSynced = false

        func covers(_ place: Int) -> Bool { offset <= place && place < end }
    }

    /// What a read may find.
    struct Ticket {
        let begun: Int
        var leastSize: Int
        var mostSize: Int
        let number: Int
    }

    let number: Int
    let capacity: Int
    private let clock: ModelClock
    private var records: [Record] = []
    private let current: UnsafeMutableRawPointer
    /// Of what has certainly happened.
    private(set) var size = 0
    /// The most the file may have, with what is in flight or has failed.
    private var mostSize = 0
    private var readers: [Ticket] = []
    private var tickets = 0

    init(number: Int, capacity: Int, clock: ModelClock) {
        self.number = number
        self.capacity = capacity
        self.clock = clock
        unsafe current = .allocate(byteCount: capacity + 8, alignment: 8)
        unsafe current.initializeMemory(as: UInt8.self, repeating: 0, count: capacity + 8)
    }

    deinit { unsafe current.deallocate() }

    /// The bytes that write `tag` puts at `offset`.
    static func fill(_ target: UnsafeMutableRawPointer, _ tag: UInt64, _ offset: Int, _ count: Int)
    {
        var place = 0
        while place < count {
            let word = word(tag, offset + place)
            let skip = (offset + place) % 8
            let length = min(8 - skip, count - place)
            if length == 8 {
                unsafe target.storeBytes(of: word, toByteOffset: place, as: UInt64.self)
            } else {
                for index in 0..<length {
                    unsafe target.storeBytes(
                        of: UInt8(truncatingIfNeeded: word >> UInt64((skip + index) * 8)),
                        toByteOffset: place + index, as: UInt8.self)
                }
            }
            place += length
        }
    }

    private static func word(_ tag: UInt64, _ place: Int) -> UInt64 {
        mix(tag &* 0x2545_f491_4f6c_dd1d ^ UInt64(place / 8))
    }

    private static func byte(_ record: Record, _ place: Int) -> UInt8 {
        guard record.kind == .write else { return 0 }
        return UInt8(truncatingIfNeeded: word(record.tag, place) >> UInt64(place % 8 * 8))
    }

    // MARK: - Writes

    /// A write begins; its index is for `writeEnds`.
    func writeBegins(_ offset: Int, _ byteCount: Int, tag: UInt64) -> Int {
        mostSize = max(mostSize, offset + byteCount)
        for index in readers.indices {
            readers[index].mostSize = max(readers[index].mostSize, mostSize)
        }
        records.append(
            Record(
                kind: .write, offset: offset, end: offset + byteCount, tag: tag,
                begun: clock.tick()))
        return records.count - 1
    }

    /// A write has ended; nil: with an error. What it did not say it wrote may be there or not.
    func writeEnds(_ index: Int, _ written: Int?) {
        let now = clock.tick()
        records[index].ended = now
        let record = records[index]
        let done = written ?? 0
        if done < record.end - record.offset {
            var rest = record
            rest.isDone = false
            if done > 0 {
                records[index].end = record.offset + done
                rest = Record(
                    kind: .write, offset: record.offset + done, end: record.end, tag: record.tag,
                    begun: record.begun, ended: now)
                records.append(rest)
            }
        }
        guard done > 0 else { return }
        records[index].isDone = true
        unsafe Self.fill(current + record.offset, record.tag, record.offset, done)
        size = max(size, record.offset + done)
    }

    func cutBegins(to newSize: Int) -> Int {
        for index in readers.indices {
            readers[index].leastSize = min(readers[index].leastSize, newSize)
            readers[index].mostSize = max(readers[index].mostSize, newSize)
        }
        mostSize = max(mostSize, newSize)
        isCutting = newSize
        records.append(
            Record(kind: .cut, offset: newSize, end: .max, tag: 0, begun: clock.tick()))
        return records.count - 1
    }
    private var isCutting: Int?

    /// A truncation has ended; one that failed has changed nothing.
    func cutEnds(_ index: Int, succeeded: Bool) {
        isCutting = nil
        records[index].ended = clock.tick()
        guard succeeded else { return }
        records[index].isDone = true
        // Sizes are durable when they are set (SETATTR); what they cut off is gone for good.
        records[index].isSynced = true
        let newSize = records[index].offset
        if newSize < size {
            unsafe (current + newSize).initializeMemory(
                as: UInt8.self, repeating: 0, count: size - newSize)
        }
        size = newSize
        mostSize = newSize
    }

    // MARK: - Reads

    func readBegins() -> Int {
        tickets += 1
        var least = size
        if let isCutting { least = min(least, isCutting) }
        readers.append(
            Ticket(begun: clock.tick(), leastSize: least, mostSize: mostSize, number: tickets))
        return tickets
    }

    func readFailed(_ ticket: Int) { readers.removeAll { $0.number == ticket } }

    /// What is wrong with bytes that a read has brought, or nil.
    func readEnds(
        _ ticket: Int, _ bytes: UnsafeRawBufferPointer, wanted: Int, at offset: Int,
        mayBeShort: Bool = false
    ) -> String? {
        guard let place = readers.firstIndex(where: { $0.number == ticket }) else { return nil }
        let reader = readers.remove(at: place)
        let least = min(reader.leastSize, size)
        let expected = max(0, min(wanted, least - offset))
        if bytes.count < expected, !mayBeShort {
            return "read of \(wanted) bytes of file \(number) at \(offset) brought "
                + "\(bytes.count), not \(expected): the file has \(size)"
        }
        if bytes.count > 0, offset + bytes.count > max(reader.mostSize, mostSize) {
            return "read of file \(number) at \(offset) brought \(bytes.count) bytes: "
                + "past the end, which is at \(size)"
        }
        return unsafe mismatch(bytes, at: offset, what: "read") { record in
            record.ended <= reader.begun && record.isDone && !record.isLost
        }
    }

    // MARK: - Durability

    /// An fsync that began at `begun` has succeeded.
    func synced(_ begun: Int) {
        for index in records.indices
        where records[index].ended <= begun && records[index].isDone && !records[index].isLost {
            records[index].isSynced = true
        }
    }

    /// Bytes that had no room have been given up.
    func lost() {
        for index in records.indices where !records[index].isSynced && records[index].kind == .write
        {
            records[index].isLost = true
        }
        // The file may end where what is certain ends.
        mostSize = max(mostSize, size)
        size = 0
        for record in records where record.isDone && !record.isLost {
            size = record.kind == .cut ? record.offset : max(size, record.end)
        }
    }

    /// What is wrong with the bytes that a crash would leave now, or nil.
    func checkMedium(_ bytes: UnsafeRawBufferPointer) -> String? {
        if let wrong = unsafe mismatch(bytes, at: 0, what: "medium", isFloor: { $0.isSynced }) {
            return wrong
        }
        guard bytes.count < size else { return nil }
        // What is missing counts as zeros, which no synced write may have become.
        let missing = [UInt8](repeating: 0, count: size - bytes.count)
        return unsafe missing.withUnsafeBytes {
            unsafe mismatch($0, at: bytes.count, what: "end of the medium") { $0.isSynced }
        }
    }

    /// The first byte that has a value it cannot have, in words.
    /// - Parameter isFloor: nothing older than such a write may be seen.
    private func mismatch(
        _ bytes: UnsafeRawBufferPointer, at offset: Int, what: String,
        isFloor: (Record) -> Bool
    ) -> String? {
        guard let start = bytes.baseAddress, bytes.count > 0 else { return nil }
        guard unsafe memcmp(start, current + offset, bytes.count) != 0 else { return nil }
        var place = offset
        let end = offset + bytes.count
        while place < end {
            // Up to the next border of a write, the same writes come into question.
            var border = end
            var allowed: [Record] = []
            var reachesBottom = true
            for record in records.reversed() {
                for edge in [record.offset, record.end] where edge > place {
                    border = min(border, edge)
                }
                guard reachesBottom, record.covers(place) else { continue }
                allowed.append(record)
                if isFloor(record) { reachesBottom = false }
            }
            while place < border {
                let byte = unsafe bytes[place - offset]
                let isFine =
                    reachesBottom && byte == 0
                    || allowed.contains { Self.byte($0, place) == byte }
                if !isFine {
                    let next = unsafe Array(
                        bytes[place - offset..<min(place - offset + 8, bytes.count)])
                    return explain(next, place, what, allowed)
                }
                place += 1
            }
        }
        return nil
    }

    private func explain(
        _ next: [UInt8], _ place: Int, _ what: String, _ allowed: [Record]
    ) -> String {
        let value = { (record: Record) in
            "\(record.kind) \(record.tag) (\(record.offset)..<\(record.end), "
                + "begun \(record.begun), "
                + "ended \(record.ended == .max ? "never" : String(record.ended)), "
                + "done \(record.isDone), synced \(record.isSynced), lost \(record.isLost))"
        }
        let found = records.last { record in
            record.covers(place)
                && next.indices.allSatisfy { Self.byte(record, place + $0) == next[$0] }
        }
        return
            "\(what) of file \(number): byte \(place) (page \(place / 4096), \(place % 4096)) is "
            + "\(found.map { "of " + value($0) } ?? String(next[0])), but must be of "
            + allowed.map(value).joined(separator: "\n    or of ")
    }
}

/// Numbers the model's moments.
final class ModelClock {
    private(set) var now = 0
    func tick() -> Int {
        now += 1
        return now
    }
}

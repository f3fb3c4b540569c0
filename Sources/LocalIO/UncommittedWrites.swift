// The bytes of UNSTABLE RPC writes, kept until a COMMIT answers with the verifier they were
// written under, so that a server that restarted in between can be given them again
// (RFC 1813, section 4.8).
package import NFSTypes
internal import Synchronization
internal import Threads

/// The client-wide bound on kept bytes.
package final class UncommittedBudget: Sendable {
    /// Past this many bytes a file is committed in the background.
    let commitThreshold: Int
    /// Past this many bytes RPC writes are sent FILE_SYNC, which need no keeping.
    let limit: Int
    private let used = Atomic<Int>(0)

    package init(commitThreshold: Int) {
        self.commitThreshold = commitThreshold
        self.limit = commitThreshold * 2
    }

    package var usedBytes: Int { used.load(ordering: .relaxed) }

    /// Sets `byteCount` aside for a write about to be sent; false when the limit is reached.
    func reserve(_ byteCount: Int) -> Bool {
        let now = used.add(byteCount, ordering: .relaxed).newValue
        if now <= limit { return true }
        used.subtract(byteCount, ordering: .relaxed)
        return false
    }

    /// Sets bytes aside that were just released by the piece they are a part of.
    func retake(_ byteCount: Int) { used.add(byteCount, ordering: .relaxed) }

    func release(_ byteCount: Int) { used.subtract(byteCount, ordering: .relaxed) }
}

/// One file's kept bytes: disjoint pieces, the newest write of every byte.
///
/// Lock order: the file's range lock (of the piece's range) before this one. Any thread.
package final class UncommittedWrites: Sendable {
    /// A piece of an UNSTABLE write.
    package struct Piece: Sendable {
        package var offset: UInt64
        package var bytes: [UInt8]
        /// The verifier that the server answered; nil if its parts answered different ones.
        package var verifier: WriteVerifier?
        package var sequence: UInt64

        package var end: UInt64 { offset + UInt64(bytes.count) }
    }

    // Pieces are cut at region borders, so that finding overlaps looks at one short list. Those of
    // a region are disjoint and ascending: a binary search finds the first that matters.
    private static let regionByteCount: UInt64 = 1 << 20

    private struct State {
        var regions: [UInt64: [Piece]] = [:]
        var lastSequence: UInt64 = 0
    }

    private let state = Lock(State())
    private let pieceCount = Atomic<Int>(0)
    private let replacementCount = Atomic<UInt64>(0)
    private let budget: UncommittedBudget

    package init(budget: UncommittedBudget) { self.budget = budget }

    deinit { discardAll() }

    /// Whether nothing is kept: one atomic load, for the direct write path.
    package var isEmpty: Bool { pieceCount.load(ordering: .acquiring) == 0 }

    /// Keeps an answered UNSTABLE write whose bytes the budget has set aside.
    package func keep(
        offset: UInt64, bytes: UnsafeRawBufferPointer, verifier: WriteVerifier?
    ) {
        state.withLock { state in
            state.lastSequence += 1
            cut(&state, from: offset, to: offset + UInt64(bytes.count))
            var position = 0
            while position < bytes.count {
                let start = offset + UInt64(position)
                let region = start / Self.regionByteCount
                let room = Int((region + 1) * Self.regionByteCount - start)
                let byteCount = min(room, bytes.count - position)
                let slice = unsafe bytes[position..<position + byteCount]
                let piece = unsafe Piece(
                    offset: start, bytes: [UInt8](slice), verifier: verifier,
                    sequence: state.lastSequence)
                let place = Self.first(in: state.regions[region] ?? [], endingAfter: start)
                state.regions[region, default: []].insert(piece, at: place)
                pieceCount.add(1, ordering: .releasing)
                position += byteCount
            }
        }
    }

    /// Forgets a range that a newer write has replaced, by whichever road.
    package func forget(offset: UInt64, byteCount: Int) {
        guard byteCount > 0, !isEmpty else { return }
        let end = offset + UInt64(byteCount)
        state.withLock { state in
            let regions = offset / Self.regionByteCount...(end - 1) / Self.regionByteCount
            let isKept = regions.contains { region in
                guard let pieces = state.regions[region] else { return false }
                let first = Self.first(in: pieces, endingAfter: offset)
                return first < pieces.count && pieces[first].offset < end
            }
            guard isKept else { return }
            // First: who finds nothing kept any more finds this.
            replacementCount.add(1, ordering: .acquiringAndReleasing)
            cut(&state, from: offset, to: end)
        }
    }

    /// Counts the newer writes that have replaced something.
    ///
    /// A read that ran beside such a write may have seen neither its bytes, which came too late,
    /// nor the older ones, which a restarted server has lost and which are kept no longer: if
    /// this has changed since before the read, and after `overlay`, it has to be done again.
    package var replacements: UInt64 { replacementCount.load(ordering: .acquiring) }

    /// Forgets what lies past a new end of file.
    package func truncate(to size: UInt64) {
        guard !isEmpty else { return }
        state.withLock { cut(&$0, from: size, to: UInt64.max) }
    }

    /// The newest write so far: what a COMMIT sent from now on covers.
    package var lastSequence: UInt64 { state.withLock { $0.lastSequence } }

    /// The verifiers under which everything kept was answered.
    ///
    /// If a COMMIT answers another one, a newer write may by then have replaced a piece that the
    /// server has lost: that write, which the COMMIT does not cover, must be committed, too.
    package var verifiers: Set<WriteVerifier?> {
        state.withLock { state in
            var found: Set<WriteVerifier?> = []
            for pieces in state.regions.values {
                for piece in pieces { found.insert(piece.verifier) }
            }
            return found
        }
    }

    /// Settles a COMMIT: drops what it made stable and answers what must be sent again, oldest
    /// first. Those stay kept until `settled`.
    package func committed(
        through sequence: UInt64, verifier: WriteVerifier
    ) -> [Piece] {
        state.withLock { state in
            var again: [Piece] = []
            for (region, pieces) in state.regions {
                var kept: [Piece] = []
                for piece in pieces {
                    if piece.sequence > sequence {
                        kept.append(piece)
                    } else if piece.verifier == verifier {
                        drop(piece)
                    } else {
                        kept.append(piece)
                        again.append(piece)
                    }
                }
                state.regions[region] = kept.isEmpty ? nil : kept
            }
            return again.sorted { ($0.sequence, $0.offset) < ($1.sequence, $1.offset) }
        }
    }

    /// Lays what is kept over bytes read at `offset`, of which `byteCount` are valid: a server
    /// that restarted shows older ones until these are sent again. Ask with the range held.
    /// - Parameter isAtEnd: the read was short because the file ends there: what is kept may
    ///   reach further. Otherwise an error cut it short, and nothing is known of what follows.
    /// - Returns: the bytes valid now.
    package func overlay(
        _ target: UnsafeMutableRawBufferPointer, byteCount: Int, at offset: UInt64, isAtEnd: Bool
    ) -> Int {
        let room = isAtEnd ? target.count : byteCount
        guard !isEmpty, let start = target.baseAddress, room > 0 else { return byteCount }
        let end = offset + UInt64(room)
        return state.withLock { state in
            var valid = byteCount
            for region in offset / Self.regionByteCount...(end - 1) / Self.regionByteCount {
                let pieces = state.regions[region] ?? []
                for index in Self.first(in: pieces, endingAfter: offset)..<pieces.count {
                    let piece = pieces[index]
                    if piece.offset >= end { break }
                    let from = max(piece.offset, offset)
                    let count = Int(min(piece.end, end) - from)
                    let place = Int(from - offset)
                    if place > valid {
                        unsafe (start + valid).initializeMemory(
                            as: UInt8.self, repeating: 0, count: place - valid)
                    }
                    unsafe piece.bytes.withUnsafeBytes { bytes in
                        guard let source = bytes.baseAddress else { return }
                        unsafe (start + place).copyMemory(
                            from: source + Int(from - piece.offset), byteCount: count)
                    }
                    valid = max(valid, place + count)
                }
            }
            guard valid < room else { return valid }
            // What is kept further on says that the file does not end here.
            let last = Self.end(state)
            let seen = last > offset ? Int(min(last - offset, UInt64(room))) : 0
            guard seen > valid else { return valid }
            unsafe (start + valid).initializeMemory(
                as: UInt8.self, repeating: 0, count: seen - valid)
            return seen
        }
    }

    /// One past the last byte that is kept; 0 if none is.
    package var end: UInt64 { state.withLock { Self.end($0) } }

    private static func end(_ state: State) -> UInt64 {
        state.regions.values.joined().map(\.end).max() ?? 0
    }

    /// What is still kept of a range written at or before `sequence`.
    ///
    /// Asked again under the range lock, because a newer write may have replaced a part of it.
    package func remainder(
        offset: UInt64, end: UInt64, through sequence: UInt64
    ) -> [Piece] {
        state.withLock { state in
            let pieces = state.regions[offset / Self.regionByteCount] ?? []
            return pieces.filter {
                $0.sequence <= sequence && $0.offset < end && $0.end > offset
            }
        }
    }

    /// A piece has reached stable storage: it is kept no longer.
    package func settled(_ settled: Piece) {
        state.withLock { state in
            let region = settled.offset / Self.regionByteCount
            guard var pieces = state.regions[region] else { return }
            pieces.removeAll { piece in
                let same = piece.sequence == settled.sequence && piece.offset == settled.offset
                if same { drop(piece) }
                return same
            }
            state.regions[region] = pieces.isEmpty ? nil : pieces
        }
    }

    private func discardAll() {
        state.withLock { state in
            for pieces in state.regions.values {
                for piece in pieces { drop(piece) }
            }
            state.regions = [:]
        }
    }

    private func drop(_ piece: Piece) {
        budget.release(piece.bytes.count)
        pieceCount.subtract(1, ordering: .releasing)
    }

    /// Removes `from..<to` from every piece, splitting those that reach over its borders.
    private func cut(_ state: inout State, from: UInt64, to: UInt64) {
        let first = from / Self.regionByteCount
        let last = (to - 1) / Self.regionByteCount
        if last - first > UInt64(state.regions.count) {
            for region in state.regions.keys where region >= first && region <= last {
                cut(&state, region: region, from: from, to: to)
            }
        } else {
            for region in first...last { cut(&state, region: region, from: from, to: to) }
        }
    }

    private func cut(_ state: inout State, region: UInt64, from: UInt64, to: UInt64) {
        // In place: a second reference to the list would make every change copy all of it.
        guard let place = state.regions.index(forKey: region) else { return }
        let first = Self.first(in: state.regions.values[place], endingAfter: from)
        var last = first
        var kept: [Piece] = []
        while last < state.regions.values[place].count {
            let piece = state.regions.values[place][last]
            guard piece.offset < to else { break }
            drop(piece)
            if piece.offset < from {
                keepPart(of: piece, from: piece.offset, to: from, into: &kept)
            }
            if piece.end > to { keepPart(of: piece, from: to, to: piece.end, into: &kept) }
            last += 1
        }
        guard last > first else { return }
        state.regions.values[place].replaceSubrange(first..<last, with: kept)
        if state.regions.values[place].isEmpty { state.regions.remove(at: place) }
    }

    /// The first of ascending, disjoint pieces that reaches past `offset`.
    private static func first(in pieces: [Piece], endingAfter offset: UInt64) -> Int {
        var (low, high) = (0, pieces.count)
        while low < high {
            let middle = (low + high) / 2
            if pieces[middle].end > offset { high = middle } else { low = middle + 1 }
        }
        return low
    }

    private func keepPart(
        of piece: Piece, from: UInt64, to: UInt64, into kept: inout [Piece]
    ) {
        let slice = piece.bytes[Int(from - piece.offset)..<Int(to - piece.offset)]
        budget.retake(slice.count)
        pieceCount.add(1, ordering: .releasing)
        kept.append(
            Piece(
                offset: from, bytes: Array(slice), verifier: piece.verifier,
                sequence: piece.sequence))
    }
}

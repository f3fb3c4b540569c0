// A short form of the simulation: some seeds pass, a seed replays exactly, planted bugs are found.
import LocalIOSimulation
import LocalIOTesting
import Testing

@Suite(.serialized) struct SimulationTests {
    /// LOCALIO_SEED=n begins there; the command to see one seed's events is in the failure.
    @Test func seedsPass() throws {
        let simulator = try #require(Simulator(operations: 200))
        let first = testSeed() & 0xffff_ffff
        print("SimulationTests: LOCALIO_SEED=\(first)")
        for seed in first..<first + 25 {
            let failure = simulator.run(seed: seed).failure
            #expect(
                failure == nil,
                "localio-simulate --seeds 1 --first-seed \(seed) --operations 200 --trace")
        }
    }

    @Test func aSeedReplaysExactly() throws {
        let first = try #require(Simulator(operations: 150))
        let second = try #require(Simulator(operations: 150))
        for seed in 100...110 as ClosedRange<UInt64> {
            let (one, two) = (first.run(seed: seed), second.run(seed: seed))
            #expect(one.traceHash == two.traceHash, "seed \(seed)")
            #expect(one.steps == two.steps, "seed \(seed)")
        }
        #expect(first.run(seed: 1).traceHash != first.run(seed: 2).traceHash)
    }

    @Test(arguments: Canary.allCases.filter { $0 != .none })
    func aPlantedBugIsFound(_ canary: Canary) throws {
        let simulator = try #require(Simulator(operations: 500, canary: canary))
        // The last one shows at seed 100 first: CI's localio-simulate begins at 1.
        let first: UInt64 = canary == .sharesPage ? 95 : 1
        let found = (first...500).first { seed in
            simulator.run(seed: seed).failure != nil
        }
        #expect(found != nil, "\(canary.rawValue) went unnoticed")
    }

    /// A seed that fails ends at once, whatever its threads were doing, and can be run again.
    @Test func aFailureReplaysToo() throws {
        var results: [SeedResult] = []
        for _ in 0..<2 {
            let simulator = try #require(Simulator(operations: 500, canary: .dropsRedirty))
            let failed = (1...20 as ClosedRange<UInt64>).lazy
                .map { simulator.run(seed: $0) }.first { $0.failure != nil }
            results.append(try #require(failed))
        }
        #expect(results[0].seed == results[1].seed)
        #expect(results[0].failure == results[1].failure)
        #expect(results[0].traceHash == results[1].traceHash)
        #expect(results[0].lastEvents == results[1].lastEvents)
    }
}

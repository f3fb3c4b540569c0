// Many seeds on several threads, with progress and the first failures told.
internal import Threads

/// A run of the simulation as localio-simulate and the tests make it.
package final class SimulationRun: Sendable {
    private struct State {
        var next: UInt64
        var started = 0
        var passed = 0
        var operations = 0
        var steps: UInt64 = 0
        var failures: [SeedResult] = []
        var told = ContinuousClock.now
    }

    private let seeds: Int?
    private let operations: Int
    private let deadline: ContinuousClock.Instant?
    private let canary: Canary
    private let jobs: Int
    private let isTraced: Bool
    private let keepsGoing: Bool
    private let begun = ContinuousClock.now
    private let state: Lock<State>

    /// - Parameters:
    ///   - seeds: how many; nil for as many as `seconds` allow.
    package init(
        seeds: Int?, firstSeed: UInt64, operations: Int, seconds: Double? = nil,
        canary: Canary = .none, jobs: Int = 1, isTraced: Bool = false,
        keepsGoing: Bool = false
    ) {
        self.keepsGoing = keepsGoing
        self.seeds = seeds
        self.operations = operations
        deadline = seconds.map { ContinuousClock.now + .seconds($0) }
        self.canary = canary
        self.jobs = jobs
        self.isTraced = isTraced
        state = Lock(State(next: firstSeed))
    }

    /// Runs until the seeds or the time are used up or, unless it keeps going, one has failed.
    /// - Returns: whether one has failed.
    package func run() -> Bool {
        var threads: [OwnedThread] = []
        for job in 0..<jobs {
            if let thread = OwnedThread(name: "simulate-\(job)", body: { self.work(job) }) {
                threads.append(thread)
            }
        }
        for thread in threads { thread.join() }
        let (passed, operations, steps, failures) = state.withLock {
            ($0.passed, $0.operations, $0.steps, $0.failures)
        }
        if let first = failures.first { tell(first) }
        for failure in failures.dropFirst() {
            print("seed \(failure.seed): \(failure.failure ?? "")")
        }
        print(
            "\(passed) seeds passed, \(failures.count) failed: \(operations) operations in "
                + "\(steps) steps, \(Self.text(ContinuousClock.now - begun))")
        return !failures.isEmpty
    }

    private func work(_ job: Int) {
        guard
            let simulator = Simulator(
                operations: operations, canary: canary, cpu: jobs > 1 ? job : nil,
                isTraced: isTraced)
        else { return print("no memory for a simulator") }
        while let seed = takeSeed() {
            let result = simulator.run(seed: seed)
            let line: String? = state.withLock { state in
                state.operations += result.operations
                state.steps += result.steps
                if result.failure == nil { state.passed += 1 } else { state.failures.append(result) }
                guard ContinuousClock.now - state.told > .seconds(10) else { return nil }
                state.told = .now
                return "\(state.passed) seeds, \(state.operations) operations, "
                    + "\(Self.text(ContinuousClock.now - begun))"
            }
            if let line { print(line) }
        }
    }

    private func takeSeed() -> UInt64? {
        state.withLock { state in
            guard keepsGoing || state.failures.isEmpty else { return nil }
            if let seeds, state.started == seeds { return nil }
            if let deadline, ContinuousClock.now >= deadline { return nil }
            state.started += 1
            defer { state.next += 1 }
            return state.next
        }
    }

    private func tell(_ result: SeedResult) {
        print("seed \(result.seed) FAILED after \(result.operations) operations:")
        print("  " + (result.failure ?? ""))
        if !isTraced {
            print("its last events:")
            for line in result.lastEvents.suffix(60) { print(line) }
        }
        let planted = canary == .none ? "" : " --canary \(canary.rawValue)"
        print(
            "again: localio-simulate --seeds 1 --first-seed \(result.seed) "
                + "--operations \(operations)\(planted) --trace")
    }

    private static func text(_ duration: Duration) -> String {
        let tenths = duration.components.seconds * 10
            + duration.components.attoseconds / 100_000_000_000_000_000
        return "\(tenths / 10).\(tenths % 10) s"
    }
}

// Many seeds on several threads, with progress and the first failures told.
internal import Glibc
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
            let (line, text): (String?, String?) = state.withLock { state in
                state.operations += result.operations
                state.steps += result.steps
                if result.failure == nil {
                    state.passed += 1
                } else {
                    state.failures.append(result)
                    return (nil, story(of: result, isFirst: state.failures.count == 1))
                }
                guard ContinuousClock.now - state.told > .seconds(10) else {
                    return (nil, nil)
                }
                state.told = .now
                let seeds = "\(state.passed) seeds, \(state.operations) operations, "
                return (seeds + Self.text(ContinuousClock.now - begun), nil)
            }
            if let said = line ?? text {
                print(said)
                fflush(nil)
            }
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

    private func story(of result: SeedResult, isFirst: Bool) -> String {
        let planted = canary == .none ? "" : " --canary \(canary.rawValue)"
        let again =
            "again: localio-simulate --seeds 1 --first-seed \(result.seed) "
            + "--operations \(operations)\(planted) --trace"
        let what =
            "seed \(result.seed) FAILED after \(result.operations) operations:\n  "
            + (result.failure ?? "")
        let events =
            isTraced || !isFirst
            ? [] : ["its last events:"] + Array(result.lastEvents.suffix(60))
        return ([what] + events + [again]).joined(separator: "\n")
    }

    private static func text(_ duration: Duration) -> String {
        let tenths =
            duration.components.seconds * 10
            + duration.components.attoseconds / 100_000_000_000_000_000
        return "\(tenths / 10).\(tenths % 10) s"
    }
}

// The command line of localio-simulate.
internal import ArgumentParser
internal import LocalIOSimulation

struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "localio-simulate",
        abstract: "Runs the page cache and the I/O roads under a deterministic simulator.",
        discussion: """
            Each seed is a world of its own: delays, order, faults, restarts, what the tasks do. \
            A seed that fails is printed with the command that runs it again, event for event.
            Exit status: 0 if every seed passed (or, with --expect-failure, one failed); 1 if not.
            """)

    @Option(help: "How many seeds to run.")
    var seeds = 2000
    @Option(help: "The first of them.")
    var firstSeed: UInt64 = 1
    @Option(help: "Reads, writes, syncs, truncations, opens and closes a seed.")
    var operations = 500
    @Option(
        name: .customLong("for"),
        help: "Run new seeds for so long instead, as 90s, 10m or 8h.", transform: Self.seconds)
    var time: Double?
    @Option(help: "Plant a bug: \(Canary.allCases.map(\.rawValue).joined(separator: ", ")).")
    var canary = Canary.none
    @Flag(help: "Succeed if a seed fails, and stop there.")
    var expectFailure = false
    @Option(help: "Seeds that run side by side, each on its own CPU.")
    var jobs = 2
    @Flag(help: "Run the other seeds, too, after one has failed.")
    var keepGoing = false
    @Flag(help: "Print every event.")
    var trace = false

    func validate() throws {
        guard seeds > 0 else { throw ValidationError("--seeds \(seeds): must be at least 1") }
        guard operations > 0 else {
            throw ValidationError("--operations \(operations): must be at least 1")
        }
        guard (1...64).contains(jobs) else {
            throw ValidationError("--jobs \(jobs): must be 1 to 64")
        }
    }

    func run() throws {
        let run = SimulationRun(
            seeds: time == nil ? seeds : nil, firstSeed: firstSeed, operations: operations,
            seconds: time, canary: canary, jobs: trace ? 1 : jobs, isTraced: trace,
            keepsGoing: keepGoing)
        let failed = run.run()
        if failed == expectFailure { return }
        if expectFailure { print("no seed failed, although one should have") }
        throw ExitCode(1)
    }

    @Sendable static func seconds(_ text: String) throws -> Double {
        let factors: [Character: Double] = ["s": 1, "m": 60, "h": 3600]
        guard let unit = text.last, let factor = factors[unit],
            let number = Double(text.dropLast()), number > 0
        else {
            throw ValidationError("--for \(text): must be a number and s, m or h, as 10m")
        }
        return number * factor
    }
}

extension Canary: ExpressibleByArgument {}

// The program that the guest runs: checks the nested-I/O context of the engine's threads, and
// runs a writeback load in it.
internal import CLinux
internal import DirectIO
internal import Glibc

enum GuestContext {
    static let usage = """
        usage: guest-context flags DIRECTORY [--off]
               guest-context load DIRECTORY [--off] [--mib COUNT]
               guest-context hog MIB

        flags  starts an engine and reads the flags of each of its threads, of its rings' io-wq
               threads and of all others, before the first I/O and under load
        load   writes COUNT MiB (64) through the engine's queue, reads everything back and
               compares, and prints time, throughput and the longest waits
        hog    touches so much memory again and again until it is killed
        --off  the same without the nested-I/O context

        LOCALIO_SEED repeats a load. Exit status 1 for what is wrong, 64 for a wrong command line.
        """

    static func main(_ arguments: [String]) -> Int32 {
        if arguments.contains("--help") {
            print(usage)
            return 0
        }
        var words = arguments
        let isOn = !words.contains("--off")
        words.removeAll { $0 == "--off" }
        do {
            switch (words.first, words.count) {
            case ("flags", 2): try FlagCheck(directory: words[1], isOn: isOn).run()
            case ("load", 2): try load(words[1], isOn: isOn, mebibytes: 64)
            case ("load", 4) where words[2] == "--mib":
                try load(words[1], isOn: isOn, mebibytes: try number(words[3]))
            case ("hog", 2): hog(mebibytes: try number(words[1]))
            default: return complain("give flags, load or hog (see --help)", status: 64)
            }
            return 0
        } catch let failure as Failure {
            return complain(failure.message, status: 1)
        } catch {
            return complain("\(error)", status: 1)
        }
    }

    private static func complain(_ message: String, status: Int32) -> Int32 {
        print("guest-context: \(message)")
        return status
    }

    private static func number(_ word: String) throws -> Int {
        guard let number = Int(word), number > 0, number <= 1 << 20 else {
            throw Failure("'\(word)' is no number of MiB; give one from 1 to 1048576")
        }
        return number
    }

    private static func load(_ directory: String, isOn: Bool, mebibytes: Int) throws {
        let given = unsafe getenv("LOCALIO_SEED").flatMap { unsafe UInt64(String(cString: $0)) }
        let seed = given ?? UInt64.random(in: 1...UInt64.max)
        print("load: LOCALIO_SEED=\(seed)")
        var configuration = IOEngine.Configuration()
        configuration.usesFlusherContext = isOn
        let engine = try IOEngine(configuration: configuration)
        let result = try WritebackLoad(
            directory: directory, byteCount: mebibytes << 20, seed: seed
        ).run(engine)
        report(result, context: engine.statistics.context)
        // The engine's shutdown would wait for what never completes.
        if result.isStalled { exit(1) }
    }

    private static func report(_ result: LoadResult, context: IOContextState) {
        var name = "context active"
        if case .degraded(let reason) = context { name = "context degraded (\(reason))" }
        if result.isStalled {
            print("\(name): stalled: nothing completed in \(WritebackLoad.patience)")
            return
        }
        let seconds = Double(result.duration) / 1e9
        let mebibytes = Double(result.byteCount) / Double(1 << 20)
        print(
            "\(name): \(decimal(mebibytes)) MiB in \(decimal(seconds)) s,",
            "\(decimal(mebibytes / seconds)) MiB/s; longest wait of \(result.writes) direct writes",
            "\(milliseconds(result.slowestWrite)), of \(result.edges) page-cache writes",
            "\(milliseconds(result.slowestEdge)), of \(result.syncs) fdatasyncs",
            "\(milliseconds(result.slowestSync)); \(result.verifiedBlocks) blocks verified")
    }

    private static func milliseconds(_ nanoseconds: UInt64) -> String {
        "\(nanoseconds / 1_000_000) ms"
    }

    /// Two places, without Foundation (which takes long to load in the guest).
    private static func decimal(_ value: Double) -> String {
        let hundredths = Int((value * 100).rounded())
        let rest = hundredths % 100
        return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
    }

    private static func hog(mebibytes: Int) {
        let byteCount = mebibytes << 20
        guard let memory = unsafe clinux_map_memory(byteCount) else { return }
        var round: UInt8 = 0
        while true {
            round &+= 1
            for offset in stride(from: 0, to: byteCount, by: 4096) {
                unsafe memory.storeBytes(of: round, toByteOffset: offset, as: UInt8.self)
            }
            usleep(100_000)
        }
    }
}

exit(GuestContext.main(Array(CommandLine.arguments.dropFirst())))

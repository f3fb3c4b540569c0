// Runs the jobs of one round on threads of their own and adds up what they did.
internal import CLinux
internal import Histogram
internal import Threads

/// What all jobs of one round did together.
struct RoundTotals: Sendable {
    var result = JobResult()
    var nanoseconds: UInt64 = 0
    var cpuNanoseconds: UInt64 = 0
    var serverCPUNanoseconds: UInt64?
    /// The most this process had resident meanwhile.
    var peakResidentBytes = 0
}

/// Collects the jobs' outcomes; the first failure wins.
private final class JobBoard: Sendable {
    struct State {
        var result = JobResult()
        var failure: BenchError?
    }

    let state = Lock(State())

    func add(_ outcome: Result<JobResult, BenchError>) {
        state.withLock { state in
            switch outcome {
            case .success(let result):
                state.result.operations += result.operations
                state.result.bytes += result.bytes
                state.result.latency.add(result.latency)
            case .failure(let failure):
                state.failure = state.failure ?? failure
            }
        }
    }
}

enum JobRunner {
    /// Runs jobs together, then commits what they wrote; both are in the measured time (fio's
    /// `end_fsync`), so that no road gains by leaving bytes in memory.
    static func run(
        _ jobs: [Job], on session: any RoadSession, serverCPU: () -> UInt64?
    ) throws(BenchError) -> RoundTotals {
        let board = JobBoard()
        var totals = RoundTotals()
        ProcessUse.resetPeak()
        let serverBefore = serverCPU()
        let cpuBefore = clinux_process_cpu_nanoseconds()
        let start = monotonicNanoseconds()
        var threads: [OwnedThread] = []
        for (number, job) in jobs.enumerated() {
            let thread = OwnedThread(name: "job-\(number)") {
                let outcome: Result<JobResult, BenchError>
                do throws(BenchError) {
                    outcome = .success(try session.run(job))
                } catch {
                    outcome = .failure(error)
                }
                board.add(outcome)
            }
            guard let thread else {
                board.add(.failure(BenchError("no more threads; lower --numjobs")))
                break
            }
            threads.append(thread)
        }
        for thread in threads { thread.join() }
        let (result, failure) = board.state.withLock { ($0.result, $0.failure) }
        if let failure { throw failure }
        if jobs.contains(where: { $0.point.pattern.writes }) { try session.commit() }
        totals.nanoseconds = max(1, monotonicNanoseconds() - start)
        totals.cpuNanoseconds = clinux_process_cpu_nanoseconds() - cpuBefore
        if let before = serverBefore, let after = serverCPU() {
            totals.serverCPUNanoseconds = after &- before
        }
        totals.result = result
        totals.peakResidentBytes = ProcessUse.peakResidentBytes
        return totals
    }
}

extension RoundTotals {
    var sample: RoundSample {
        let operations = Double(max(1, result.operations))
        let seconds = Double(nanoseconds) / 1e9
        func microseconds(_ percentile: Double) -> Double {
            Double(result.latency.valueAtPercentile(percentile)) / 1000
        }
        return RoundSample(
            iops: Double(result.operations) / seconds,
            bytesPerSecond: Double(result.bytes) / seconds,
            p50: microseconds(50), p99: microseconds(99), p999: microseconds(99.9),
            cpuMicroseconds: Double(cpuNanoseconds) / operations / 1000,
            serverCPUMicroseconds: serverCPUNanoseconds.map { Double($0) / operations / 1000 },
            peakResidentBytes: peakResidentBytes,
            curve: RoundSample.curvePercentiles.map(microseconds))
    }
}

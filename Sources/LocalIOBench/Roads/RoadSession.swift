// What the measuring loop needs of a road, whichever it is.

/// One job's way to submit and reap on one thread.
///
/// The loop calls it from the thread that made it. Buffers stay where they are until the I/O's
/// completion was reaped.
protocol RoadDriver: ~Copyable {
    /// Queues one I/O; `slot` comes back with its completion. False if there is no room now.
    mutating func submit(
        slot: Int, isWrite: Bool, buffer: UnsafeMutableRawBufferPointer, offset: UInt64
    ) -> Bool

    /// Shows what is queued to the other side and waits for at least one completion.
    /// - Parameter body: takes the slot and the bytes or negative errno of each.
    /// - Returns: completions, or a negative errno of the road itself; 0 after the time-out.
    mutating func reap(timeout: Duration, _ body: (Int, Int) -> Void) -> Int

    /// Waits for or cancels what is in flight after a failure, so that buffers may be freed.
    /// False if some I/O could not be ended.
    mutating func abandon(inFlight: Int) -> Bool
}

/// A road to the file, open for one run.
protocol RoadSession: AnyObject, Sendable {
    var road: BenchRoad { get }

    /// Comes before each round and each reading of the whole file, outside the measured time.
    /// - Parameter cold: forgets what this road has cached of the file.
    func begin(cold: Bool) throws(BenchError)

    /// Runs one job on the calling thread.
    func run(_ job: Job) throws(BenchError) -> JobResult

    /// Makes everything written by this road durable and visible to the other roads.
    func commit() throws(BenchError)

    /// Reads each byte range that took another way than the road's own, by reason, so far.
    var fallbacks: [String: Int] { get }

    func close()
}

extension RoadSession {
    func begin(cold: Bool) throws(BenchError) {}
}

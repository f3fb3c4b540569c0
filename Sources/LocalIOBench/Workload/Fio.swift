// fio as the measurements start and read it: one set of words, one reading of its output.

enum Fio {
    /// What every job of ours says: one existing file, nothing drawn twice, one line of output.
    static func words(
        file: String, byteCount: Int, blockSize: Int, access: AccessPattern
    ) -> [String] {
        [
            "--name=cell", "--filename=\(file)", "--size=\(byteCount)", "--overwrite=1",
            "--fallocate=none", "--allow_file_create=0", "--minimal", "--terse-version=3",
            "--randrepeat=0", "--norandommap", "--thread", "--rw=\(access.rawValue)",
            "--bs=\(blockSize)",
        ]
    }

    /// Runs for so long, however often that goes round the file.
    static func words(runtime: Duration) -> [String] {
        ["--time_based", "--runtime=\(runtime.nanosecondCount / 1_000_000)ms"]
    }
}

/// One direction of fio's terse output (version 3, semicolons).
struct FioFigures {
    /// errno of the job's first error, or 0.
    let error: Int32
    let kibibytes: Double
    let kibibytesPerSecond: Double
    /// I/Os a second.
    let rate: Double
    let milliseconds: Double
    /// Per cent of that time, user and system.
    let processorPercent: Double

    /// - Throws: what fio said instead.
    init(_ output: String, writes: Bool) throws(BenchError) {
        let line = output.split(separator: "\n").first { $0.hasPrefix("3;fio") }
        let fields = line?.split(separator: ";", omittingEmptySubsequences: false) ?? []
        func number(_ field: Int) -> Double? {
            guard fields.count > field else { return nil }
            let text = fields[field]
            return Double(text.hasSuffix("%") ? text.dropLast() : text)
        }
        // Of reads: KiB moved, KiB/s, IOPS, ms from the sixth on; of writes from the 47th.
        let first = writes ? 46 : 5
        guard let error = number(4), let kibibytes = number(first),
            let bandwidth = number(first + 1), let rate = number(first + 2),
            let milliseconds = number(first + 3), let user = number(87), let system = number(88)
        else {
            let said = output.split(separator: "\n").last.map(String.init) ?? "nothing"
            throw BenchError("fio: \(said)")
        }
        self.error = Int32(error)
        self.kibibytes = kibibytes
        kibibytesPerSecond = bandwidth
        self.rate = rate
        self.milliseconds = milliseconds
        processorPercent = user + system
    }
}

// Where the opens are measured: a private server of our own, or a running one.
internal import SystemPackage

/// A server's export, and what has to go when the measurement is over.
struct OpenStage {
    let url: String
    let directory: FilePath?
    let agent: AgentChoice
    private let server: (any NFSServerFixture)?
    private let temporary: TemporaryDirectory?
    private let ownAgent: AgentProcess?

    init(_ arguments: OpenArguments) throws(BenchError) {
        switch try BenchPlan.server(arguments.server) {
        case .url(let given):
            url = given
            directory = try arguments.directory.map { path throws(BenchError) in
                FilePath(try Files.resolve(path))
            }
            agent = arguments.agent
            (server, temporary, ownAgent) = (nil, nil, nil)
        case let choice:
            let made = try TemporaryDirectory()
            let started = try PrivateServer.start(choice, exporting: made.path)
            url = started.url
            directory = started.exportDirectory
            (server, temporary) = (started, made)
            // A private server's agent is as private.
            let beside = try AgentProcess(
                beside: started.url, exportDirectory: started.exportDirectory)
            var choice = AgentChoice()
            choice.socket = beside.socket.string
            choice.programPort = beside.programPort
            (agent, ownAgent) = (choice, beside)
        }
    }

    func close() {
        ownAgent?.stop()
        server?.stop()
        temporary?.remove()
    }
}

extension OpenBench {
    /// The results as a table for people.
    static func table(_ results: [OpenResult]) -> String {
        var rows = [
            [
                "road", "open µs", "p99", "close µs", "with a read µs", "RPC/open", "by RPC",
                "descriptors", "MiB", "how",
            ]
        ]
        for result in results {
            func mebibytes(_ use: ProcessUse) -> String {
                decimal(Double(use.residentBytes) / 1_048_576, places: 1)
            }
            rows.append([
                result.road, decimal(result.openMedian, places: 1),
                decimal(result.open99, places: 1), decimal(result.closeMedian, places: 1),
                decimal(result.readMedian, places: 1),
                decimal(result.callsPerOpen, places: 2), String(result.remoteOpens),
                "\(result.before.descriptors) -> \(result.after.descriptors)",
                "\(mebibytes(result.before)) -> \(mebibytes(result.after))", result.locality,
            ])
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { (row: [String]) -> String in
            let cells = zip(row, widths).map { text, width in
                text + String(repeating: " ", count: width - text.count)
            }
            // The last column is text of any length.
            return cells.dropLast().joined(separator: "  ") + "  " + (row.last ?? "") + "\n"
        }.joined()
    }
}

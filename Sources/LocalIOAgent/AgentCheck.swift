// `localiod check`: proves each export's mapping against the running server, without listening.
internal import AgentProtocol
package import Logging
internal import NFSClient

/// What a check found about one export.
package struct AgentCheck: Sendable {
    package let mapping: ExportMapping
    /// What is wrong, or nil.
    package let complaint: String?
    /// How far files can be found.
    package let text: String

    /// Checks every export of the configuration.
    package static func run(
        _ configuration: AgentConfiguration, logger: Logger
    ) throws(AgentError) -> [AgentCheck] {
        let listed: [String]
        do throws(RPCError) {
            listed = try NFSSession.exportsBlocking(
                of: AgentExport.url("/", configuration),
                timeout: configuration.intervals.serverTimeout
            ).map(\.directory)
        } catch {
            throw AgentError("the server's export list: \(error)")
        }
        var mappings = configuration.exports
        if mappings.isEmpty {
            mappings = listed.map { ExportMapping(path: $0, directory: $0) }
        }
        guard !mappings.isEmpty else {
            throw AgentError("the server exports nothing; export a directory first")
        }
        return mappings.map { check($0, configuration, logger) }
    }

    private static func check(
        _ mapping: ExportMapping, _ configuration: AgentConfiguration, _ logger: Logger
    ) -> AgentCheck {
        do {
            let export = try AgentExport(id: 1, mapping: mapping, configuration: configuration)
            try export.connect(logger: logger) {}
            defer { AgentExport.close(export.disconnect(.down)) }
            let layout = export.session.flatMap { DecodedHandle($0.root) }
            let text =
                switch layout?.server {
                case .some(let server): "files are found by \(server.rawValue)'s handles"
                case .none: "the handles' layout is unknown: files are found by path only"
                }
            return AgentCheck(mapping: mapping, complaint: nil, text: text)
        } catch let error as AgentDenial {
            return AgentCheck(mapping: mapping, complaint: error.text, text: "")
        } catch {
            return AgentCheck(mapping: mapping, complaint: "\(error)", text: "")
        }
    }
}

// `localiod status`: what a running agent says about itself.
internal import AgentProtocol
internal import ArgumentParser
internal import Foundation

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show clients, opens and refusals of a running agent.")

    @Option(help: ArgumentHelp("The agent's socket (LOCALIO_SOCKET).", valueName: "PATH"))
    var socket: String?

    @Flag(help: "Print the agent's own JSON.")
    var json = false

    func run() throws {
        let path = socket ?? AgentProtocol.socketPath
        let text: String
        do throws(AgentSocketError) {
            text = try Self.ask(path)
        } catch .unreachable(_, let code) {
            let reason = unsafe strerror(code).map { unsafe String(cString: $0) } ?? ""
            Complaint.exit("no agent answers at \(path): \(reason); start one or give --socket")
        } catch {
            Complaint.exit("the agent at \(path) gave no answer: \(error)")
        }
        print(json ? text : Self.readable(text))
    }

    private static func ask(_ path: String) throws(AgentSocketError) -> String {
        let (socket, _) = try AgentSocket.connectAndGreet(path: path)
        try socket.send(.status)
        while let delivery = try socket.receive(timeout: .seconds(5)) {
            if case .statusReply(let json) = delivery.message { return json }
        }
        throw .timedOut
    }

    /// The same as lines of `name: value`, sections indented.
    private static func readable(_ json: String) -> String {
        guard let object = try? JSONSerialization.jsonObject(with: Data(json.utf8)) else {
            return json
        }
        return lines(object, indentation: "").joined(separator: "\n")
    }

    private static func lines(_ value: Any, indentation: String) -> [String] {
        if let object = value as? [String: Any] {
            return object.sorted { $0.key < $1.key }.flatMap { key, value -> [String] in
                let inner = lines(value, indentation: indentation + "  ")
                let isSimple = !(value is [String: Any]) && !(value is [Any])
                return isSimple
                    ? ["\(indentation)\(key): \(value)"] : ["\(indentation)\(key):"] + inner
            }
        }
        guard let list = value as? [Any] else { return ["\(indentation)\(value)"] }
        return list.flatMap { item -> [String] in
            let fields = (item as? [String: Any])?.sorted { $0.key < $1.key } ?? []
            return [indentation + fields.map { "\($0.key) \($0.value)" }.joined(separator: ", ")]
        }
    }
}

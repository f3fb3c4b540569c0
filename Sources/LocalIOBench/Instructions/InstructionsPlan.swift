// The command line of `localio-bench instructions` and its thresholds as checked values.

/// The words as they were given; nil where an option is absent.
package struct InstructionsArguments: Sendable {
    package var path: String?
    package var count: String?
    package var rounds: String?
    package var thresholds: String?
    package var directory: String?
    package var json = false
    package var output: String?

    package init() {}
}

/// Instructions per I/O that a path may take at most.
package struct InstructionThresholds: Sendable {
    package private(set) var limits: [InstructionPath: Int] = [:]

    /// - Parameters:
    ///   - text: lines of `path: instructions`; a word beginning with # ends a line.
    ///   - name: the file's, for messages.
    /// - Throws: naming the first line that is something else.
    package init(_ text: String, name: String) throws(BenchError) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\r" }
            guard let first = words.first else { continue }
            guard words.count == 2, first.hasSuffix(":"), let limit = Int(words[1]), limit > 0
            else {
                throw BenchError(
                    "\(name), line \(index + 1): '\(line)': must be like 'inline-read: 1500'",
                    kind: .usage)
            }
            guard let path = InstructionPath(rawValue: String(first.dropLast())) else {
                let known = InstructionPath.allCases.map(\.rawValue).joined(separator: ", ")
                throw BenchError(
                    "\(name), line \(index + 1): path '\(first.dropLast())': must be of \(known)",
                    kind: .usage)
            }
            guard limits.updateValue(limit, forKey: path) == nil else {
                throw BenchError(
                    "\(name), line \(index + 1): \(path.rawValue) is there twice; give one limit",
                    kind: .usage)
            }
        }
    }
}

/// A counting that makes sense on paper.
struct InstructionsPlan: Sendable {
    var paths: [InstructionPath]
    /// I/Os of the short run; the long one does three times as many.
    var count: Int
    var rounds: Int
    var thresholds: InstructionThresholds?
    var directory: String?
    var isJSON: Bool
    var output: String?

    /// - Throws: a usage error naming the option.
    init(_ arguments: InstructionsArguments) throws(BenchError) {
        paths = InstructionPath.allCases
        if let path = arguments.path {
            paths = try BenchPlan.list("--path", path, InstructionPath.self)
        }
        count = try BenchPlan.integers("--count", arguments.count ?? "2000", 16...1_000_000)[0]
        rounds = try BenchPlan.integers("--rounds", arguments.rounds ?? "1", 1...99)[0]
        directory = arguments.directory
        isJSON = arguments.json
        output = arguments.output
        if let name = arguments.thresholds {
            guard let text = Files.text(at: name), !Files.isDirectory(name) else {
                throw BenchError(
                    "--thresholds \(name): cannot be read; give a file such as "
                        + "Config/instructions.yaml", kind: .usage)
            }
            thresholds = try InstructionThresholds(text, name: name)
        }
    }
}

// Reads the project's own files for the tests that judge them.
import Foundation

/// One file of the project.
struct SourceFile {
    /// Relative to the project's root.
    let path: String
    let lines: [String]

    /// The directory below Sources or Tests.
    var target: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
    var isSource: Bool { path.hasPrefix("Sources/") }
    var isSwift: Bool { path.hasSuffix(".swift") }

    /// The file's imports: modifiers before the word, and the module.
    var imports: [(modifiers: [String], module: String, line: Int)] {
        lines.enumerated().compactMap { number, line in
            let words = line.split(separator: " ").map(String.init)
            guard let index = words.firstIndex(of: "import"), index + 1 < words.count,
                words[..<index].allSatisfy({ $0.hasPrefix("@") || Self.access.contains($0) })
            else { return nil }
            let kinds = ["struct", "class", "enum", "func", "protocol", "let", "var"]
            let name = kinds.contains(words[index + 1]) ? words.last : words[index + 1]
            let module = (name ?? "").split(separator: ".").first.map(String.init) ?? ""
            return (Array(words[..<index]), module, number + 1)
        }
    }

    private static let access: Set = ["internal", "package", "public", "private", "fileprivate"]
}

enum SourceTree {
    static let root: URL = {
        var url = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { url.deleteLastPathComponent() }
        return url
    }()

    /// Every Swift and C file of Sources, Tests and Benchmarks.
    static let files: [SourceFile] = ["Sources", "Tests", "Benchmarks"]
        .flatMap { files(under: root.appendingPathComponent($0)) }
        .sorted { $0.path < $1.path }

    private static func files(under base: URL) -> [SourceFile] {
        let found = FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil)
        let kinds = ["swift", "c", "h", "modulemap"]
        var files: [SourceFile] = []
        for case let url as URL in found?.allObjects ?? [] {
            guard kinds.contains(url.pathExtension), !url.path.contains("/.build"),
                let text = try? String(contentsOf: url, encoding: .utf8)
            else { continue }
            let path = String(url.path.dropFirst(root.path.count + 1))
            var lines = text.components(separatedBy: "\n")
            if lines.last == "" { lines.removeLast() }
            files.append(SourceFile(path: path, lines: lines))
        }
        return files
    }
}

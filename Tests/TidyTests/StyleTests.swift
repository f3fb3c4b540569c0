// The shape of the text: widths, lengths, words that must not be there.
import Foundation
import Testing

@Suite struct StyleTests {
    static let files = SourceTree.files
    static let swiftSources = files.filter { $0.isSource && $0.isSwift }

    @Test func linesHaveAtMost100Columns() {
        for file in Self.files {
            for (number, line) in file.lines.enumerated() {
                // Bytes first: they are counted faster, and are never fewer.
                if line.utf8.count > 100 && line.count > 100 {
                    Issue.record("\(file.path):\(number + 1): \(line.count) columns")
                }
            }
        }
    }

    @Test func filesHaveAtMost500Lines() {
        for file in Self.files {
            #expect(file.lines.count <= 500, "\(file.path): \(file.lines.count) lines")
        }
    }

    @Test func functionsFitAScreen() {
        for file in Self.swiftSources {
            for (name, length, line) in Self.functions(file) {
                #expect(length <= 70, "\(file.path):\(line): \(name) has \(length) lines")
            }
        }
    }

    @Test func noTrailingWhitespaceAndNoTabs() {
        for file in Self.files {
            for (number, line) in file.lines.enumerated() {
                if line.utf8.last == 0x20 || line.utf8.contains(9) {
                    Issue.record("\(file.path):\(number + 1): white space")
                }
            }
        }
    }

    /// Spelled in two halves so that this file does not contain what it looks for.
    @Test func bannedWordsAreAbsent() {
        let everywhere = ["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]
        for file in Self.files {
            for (number, line) in file.lines.enumerated() {
                for word in everywhere where Self.hasWord(line, word) {
                    Issue.record("\(file.path):\(number + 1): \(word)")
                }
            }
        }
        let inSources = [
            "fatal" + "Error(", "tr" + "y!", "a" + "s!", "unsafe" + "Flags",
            "Synchronization.Mu" + "tex", "#warn" + "ing", "#pragma GCC diag" + "nostic",
            "#pragma clang diag" + "nostic",
        ]
        for file in Self.files where file.isSource {
            for (number, line) in file.lines.enumerated() {
                for word in inSources where line.contains(word) {
                    Issue.record("\(file.path):\(number + 1): \(word)")
                }
            }
        }
    }

    /// A comment or a documented declaration says first what the file is for.
    @Test func everySourceOpensWithItsPurpose() {
        for file in Self.swiftSources {
            let opening = file.lines.prefix(8)
            #expect(
                opening.contains { $0.hasPrefix("//") },
                "\(file.path): say in its first lines what it is for")
        }
    }

    /// Words as wholes: a sequence such as mkdtemp's six capitals is not a marker.
    private static func hasWord(_ line: String, _ word: String) -> Bool {
        var rest = line[...]
        while let range = rest.range(of: word) {
            let before = rest[..<range.lowerBound].last ?? line[..<range.lowerBound].last
            let after = rest[range.upperBound...].first
            let isWhole =
                before.map { !$0.isLetter && !$0.isNumber } ?? true
                && after.map { !$0.isLetter && !$0.isNumber } ?? true
            if isWhole { return true }
            rest = rest[range.upperBound...]
        }
        return false
    }

    /// Functions and initializers with the lines from their first to their closing brace, by
    /// the indentation that the formatter keeps.
    private static func functions(
        _ file: SourceFile
    ) -> [(name: String, length: Int, line: Int)] {
        var found: [(name: String, length: Int, line: Int)] = []
        for (start, line) in file.lines.enumerated() {
            let text = line.drop { $0 == " " }
            let indentation = line.count - text.count
            let words = text.split(separator: " ")
            let isFunction =
                !text.hasPrefix("//")
                && words.contains { $0 == "func" || $0.hasPrefix("init(") || $0 == "deinit" }
            guard isFunction, !line.hasSuffix("}") else { continue }
            let closing = String(repeating: " ", count: indentation) + "}"
            let end = file.lines[(start + 1)...].firstIndex { $0.hasPrefix(closing) }
            // A protocol's requirement has no body; the next brace there is not its own.
            let body = end.map { file.lines[start...$0] } ?? []
            guard let end, body.contains(where: { $0.hasSuffix("{") }) else { continue }
            found.append((String(text.prefix(60)), end - start + 1, start + 1))
        }
        return found
    }
}

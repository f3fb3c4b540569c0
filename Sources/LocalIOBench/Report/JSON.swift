// JSON with its keys in the order written, so that reports of two runs compare line by line.

/// A JSON value to print.
package indirect enum JSON: Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    /// A seed or other number beyond Int's range.
    case unsigned(UInt64)
    /// With at most this many decimals.
    case number(Double, places: Int)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])

    /// Two spaces per level; arrays and objects of plain values stay on one line.
    package func text(indentation: Int = 0) -> String {
        let inner = String(repeating: " ", count: indentation + 2)
        let outer = String(repeating: " ", count: indentation)
        switch self {
        case .null: return "null"
        case .bool(let value): return value ? "true" : "false"
        case .integer(let value): return String(value)
        case .unsigned(let value): return String(value)
        case .number(let value, let places):
            return value.isFinite ? decimal(value, places: places) : "null"
        case .string(let value): return Self.quoted(value)
        case .array(let values):
            if values.isEmpty { return "[]" }
            let parts = values.map { $0.text(indentation: indentation + 2) }
            if values.allSatisfy(\.isPlain) { return "[" + parts.joined(separator: ", ") + "]" }
            return "[\n\(inner)" + parts.joined(separator: ",\n\(inner)") + "\n\(outer)]"
        case .object(let members):
            if members.isEmpty { return "{}" }
            let parts = members.map { name, value in
                Self.quoted(name) + ": " + value.text(indentation: indentation + 2)
            }
            if members.allSatisfy(\.1.isPlain) && members.count <= 8 {
                return "{" + parts.joined(separator: ", ") + "}"
            }
            return "{\n\(inner)" + parts.joined(separator: ",\n\(inner)") + "\n\(outer)}"
        }
    }

    private var isPlain: Bool {
        switch self {
        case .array, .object: false
        default: true
        }
    }

    /// RFC 8259, section 7.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case "\r": result += "\\r"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

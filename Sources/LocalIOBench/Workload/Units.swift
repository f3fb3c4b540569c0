// Sizes and durations as fio writes them.

/// Bytes with fio's suffixes.
package enum ByteSize {
    /// "4096", "4k", "1m", "2g", "1t"; also "4kb" and "4kib". Powers of 1024.
    package static func parse(_ text: String) -> Int? {
        let lower = text.lowercased()
        let digits = lower.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int(digits) else { return nil }
        let shift: Int
        switch lower.dropFirst(digits.count) {
        case "", "b": shift = 0
        case "k", "kb", "kib": shift = 10
        case "m", "mb", "mib": shift = 20
        case "g", "gb", "gib": shift = 30
        case "t", "tb", "tib": shift = 40
        default: return nil
        }
        let (value, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? nil : value
    }

    /// The shortest form that is exact: "4k", "1m", "1000".
    package static func text(_ byteCount: Int) -> String {
        for (shift, suffix) in [(30, "g"), (20, "m"), (10, "k")] {
            let unit = 1 << shift
            if byteCount >= unit && byteCount % unit == 0 { return "\(byteCount / unit)\(suffix)" }
        }
        return String(byteCount)
    }
}

/// Times with fio's suffixes.
package enum Period {
    /// "2", "1.5s", "500ms", "1m"; a bare number means seconds.
    package static func parse(_ text: String) -> Duration? {
        let lower = text.lowercased()
        let digits = lower.prefix { ($0.isASCII && $0.isNumber) || $0 == "." }
        guard let number = Double(digits), number.isFinite, number < 1e6 else { return nil }
        switch lower.dropFirst(digits.count) {
        case "", "s": return .nanoseconds(Int64(number * 1e9))
        case "ms": return .nanoseconds(Int64(number * 1e6))
        case "us": return .nanoseconds(Int64(number * 1e3))
        case "m": return .nanoseconds(Int64(number * 60e9))
        case "h": return .nanoseconds(Int64(number * 3600e9))
        default: return nil
        }
    }
}

extension Duration {
    package var nanosecondCount: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(max(0, seconds)) * 1_000_000_000
            + UInt64(max(0, attoseconds / 1_000_000_000))
    }
}

/// A decimal number of fixed precision, as tables and JSON show it.
package func decimal(_ value: Double, places: Int) -> String {
    guard value.isFinite else { return "-" }
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 1e18 else { return "\(value)" }
    let whole = UInt64(scaled)
    let sign = value < 0 && whole > 0 ? "-" : ""
    guard places > 0 else { return sign + String(whole) }
    let unit = UInt64(scale)
    let fraction = String(whole % unit)
    let zeros = String(repeating: "0", count: places - fraction.count)
    return sign + String(whole / unit) + "." + zeros + fraction
}

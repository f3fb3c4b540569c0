// Plots of a comparison as SVG text: no library, no network, nothing but numbers and strokes.
internal import Glibc

/// One line or row of bars of a plot.
struct PlotSeries {
    var name: String
    /// x and y as the plot's axes want them; both above 0 on logarithmic axes.
    var points: [(x: Double, y: Double)]
}

/// Where numbers become places of a picture.
private struct Axis {
    let low: Double
    let high: Double
    let isLogarithmic: Bool
    /// Pixels at `low` and `high`.
    let start: Double
    let end: Double

    func place(_ value: Double) -> Double {
        let share =
            isLogarithmic
            ? (log2(max(value, low)) - log2(low)) / max(log2(high) - log2(low), 1e-9)
            : (value - low) / max(high - low, 1e-9)
        return start + (end - start) * min(max(share, 0), 1)
    }

    /// Round numbers between the ends.
    var ticks: [Double] {
        if isLogarithmic {
            var ticks: [Double] = []
            var decade = 1e-6
            while decade <= high {
                for factor in [1.0, 2, 5] where decade * factor >= low && decade * factor <= high {
                    ticks.append(decade * factor)
                }
                decade *= 10
            }
            return ticks.count > 9 ? ticks.filter { Self.isPowerOfTen($0) } : ticks
        }
        let step = (high - low) / 5
        return (0...5).map { low + step * Double($0) }
    }

    private static func isPowerOfTen(_ value: Double) -> Bool {
        let exponent = log2(value) / log2(10)
        return abs(exponent - exponent.rounded()) < 1e-6
    }
}

/// Draws. Every mark carries its number as a title, for those who hover or do not see.
enum ComparePlots {
    private static let colors = [
        "localio": "#0a7", "raw": "#555", "rpc": "#c50", "direct": "#36c",
    ]

    private static func color(_ name: String) -> String { colors[name] ?? "#939" }

    /// Lines over an x axis with names of its own.
    static func lines(
        title: String, xLabels: [(Double, String)], yTitle: String, series: [PlotSeries],
        isXLogarithmic: Bool
    ) -> String {
        let all = series.flatMap(\.points)
        guard let lowX = xLabels.map(\.0).min(), let highX = xLabels.map(\.0).max(),
            let lowY = all.map(\.y).filter({ $0 > 0 }).min(), let highY = all.map(\.y).max()
        else { return "" }
        let x = Axis(
            low: lowX, high: highX, isLogarithmic: isXLogarithmic, start: 62, end: 400)
        let y = Axis(
            low: lowY * 0.8, high: highY * 1.25, isLogarithmic: true, start: 230, end: 30)
        var body = frame(title, width: 520, height: 270)
        for tick in y.ticks {
            let place = text(y.place(tick))
            body += "<line class=\"grid\" x1=\"62\" x2=\"400\" y1=\"\(place)\" y2=\"\(place)\"/>"
            body += label(short(tick), x: 56, y: y.place(tick) + 4, anchor: "end")
        }
        for (value, name) in xLabels { body += label(name, x: x.place(value), y: 246) }
        body += label(yTitle, x: 4, y: 28, anchor: "start")
        for (number, line) in series.enumerated() {
            let color = color(line.name)
            let path = line.points.map { "\(text(x.place($0.x))),\(text(y.place($0.y)))" }
            body += "<polyline fill=\"none\" stroke=\"\(color)\" stroke-width=\"2\" "
                + "points=\"\(path.joined(separator: " "))\"/>"
            for point in line.points {
                body += "<circle r=\"3\" fill=\"\(color)\" cx=\"\(text(x.place(point.x)))\" "
                    + "cy=\"\(text(y.place(point.y)))\"><title>\(escaped(line.name)) "
                    + "\(short(point.y))</title></circle>"
            }
            let place = 40 + Double(number) * 18
            body += "<rect x=\"412\" y=\"\(text(place - 9))\" width=\"12\" height=\"10\" "
                + "fill=\"\(color)\"/>" + label(line.name, x: 430, y: place, anchor: "start")
        }
        return body + "</svg>\n"
    }

    /// Ratios as bars with their intervals on a logarithmic scale; 1 is marked.
    static func ratios(
        title: String, rows: [(name: String, over: String, interval: RatioInterval)]
    ) -> String {
        guard let low = rows.map(\.interval.low).filter({ $0 > 0 }).min(),
            let high = rows.map(\.interval.high).max()
        else { return "" }
        let height = 50 + rows.count * 18
        let x = Axis(
            low: min(low * 0.8, 0.5), high: max(high * 1.2, 2), isLogarithmic: true, start: 250,
            end: 700)
        var body = frame(title, width: 800, height: height)
        for tick in x.ticks {
            let place = text(x.place(tick))
            body += "<line class=\"\(tick == 1 ? "one" : "grid")\" x1=\"\(place)\" "
                + "x2=\"\(place)\" y1=\"28\" y2=\"\(height - 20)\"/>"
            body += label(short(tick), x: x.place(tick), y: Double(height) - 6)
        }
        for (number, row) in rows.enumerated() {
            let top = 34 + Double(number) * 18
            let from = x.place(min(1, row.interval.ratio))
            let to = x.place(max(1, row.interval.ratio))
            let color = color(row.over)
            body += label(row.name, x: 244, y: top + 9, anchor: "end")
            body += "<rect x=\"\(text(from))\" y=\"\(text(top))\" width=\"\(text(to - from))\" "
                + "height=\"11\" fill=\"\(color)\"><title>\(escaped(row.name)): localio / "
                + "\(row.over) \(row.interval.text)</title></rect>"
            let middle = text(top + 5.5)
            body += "<line stroke=\"#000\" x1=\"\(text(x.place(row.interval.low)))\" "
                + "x2=\"\(text(x.place(row.interval.high)))\" y1=\"\(middle)\" y2=\"\(middle)\"/>"
            body += label(row.interval.text, x: 796, y: top + 9, anchor: "end")
        }
        return body + "</svg>\n"
    }

    private static func frame(_ title: String, width: Int, height: Int) -> String {
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"\(width)\" "
            + "height=\"\(height)\" viewBox=\"0 0 \(width) \(height)\">"
            + "<title>\(escaped(title))</title>"
            + "<text class=\"head\" x=\"4\" y=\"14\">\(escaped(title))</text>"
    }

    private static func label(
        _ words: String, x: Double, y: Double, anchor: String = "middle"
    ) -> String {
        "<text x=\"\(text(x))\" y=\"\(text(y))\" text-anchor=\"\(anchor)\">\(escaped(words))</text>"
    }

    private static func text(_ place: Double) -> String { decimal(place, places: 1) }

    /// "1.2k", "35", "0.75".
    static func short(_ value: Double) -> String {
        if value >= 1e6 { return decimal(value / 1e6, places: value < 1e7 ? 1 : 0) + "M" }
        if value >= 1e3 { return decimal(value / 1e3, places: value < 1e4 ? 1 : 0) + "k" }
        return decimal(value, places: value < 1 ? 2 : value < 10 ? 1 : 0)
    }

    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "&": result += "&amp;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
        return result
    }
}

/// Collects the elements of an SVG document. Everything that is text goes through its escaping.
package struct Canvas: Sendable {
    enum Anchor: String, Sendable {
        case start, middle, end
    }

    private(set) var body: String = ""
    private var clipCount = 0
    private let identity: String

    /// - Parameter identity: distinguishes the ids of this picture from those of others on the same page.
    init(identity: String) { self.identity = identity }

    /// The text with XML's special characters replaced and what XML 1.0 cannot hold at all as U+FFFD.
    static func escaped(_ text: String) -> String {
        var result = ""
        result.reserveCapacity(text.utf8.count)
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            case "\t", "\n", "\r": result += " "
            default:
                let legal = scalar.value >= 0x20 && scalar.value != 0xFFFE && scalar.value != 0xFFFF
                result.unicodeScalars.append(legal ? scalar : "\u{FFFD}")
            }
        }
        return result
    }

    private mutating func element(_ name: String, _ attributes: [(String, String)], tooltip: String? = nil) {
        body += "<" + name
        for (key, value) in attributes { body += " \(key)=\"\(Canvas.escaped(value))\"" }
        if let tooltip {
            body += "><title>\(Canvas.escaped(tooltip))</title></\(name)>\n"
        } else {
            body += "/>\n"
        }
    }

    mutating func rectangle(
        _ frame: Rectangle, class name: String, corner: Double = 0, opacity: Double = 1, tooltip: String? = nil
    ) {
        var attributes = [
            ("class", name), ("x", NumberText.coordinate(frame.x)), ("y", NumberText.coordinate(frame.y)),
            ("width", NumberText.coordinate(max(0, frame.width))),
            ("height", NumberText.coordinate(max(0, frame.height))),
        ]
        if corner > 0 { attributes.append(("rx", NumberText.coordinate(corner))) }
        if opacity < 1 { attributes.append(("opacity", NumberText.coordinate(opacity))) }
        element("rect", attributes, tooltip: tooltip)
    }

    mutating func line(from start: Point, to end: Point, class name: String, width: Double = 1, dash: String? = nil) {
        var attributes = [
            ("class", name), ("x1", NumberText.coordinate(start.x)), ("y1", NumberText.coordinate(start.y)),
            ("x2", NumberText.coordinate(end.x)), ("y2", NumberText.coordinate(end.y)),
            ("stroke-width", NumberText.coordinate(width)),
        ]
        if let dash { attributes.append(("stroke-dasharray", dash)) }
        element("line", attributes)
    }

    /// An open line through the points, or nothing if there are none.
    mutating func polyline(_ points: [Point], class name: String, width: Double, dash: String? = nil) {
        guard let first = points.first else { return }
        var path = "M\(NumberText.coordinate(first.x)) \(NumberText.coordinate(first.y))"
        for point in points.dropFirst() {
            path += "L\(NumberText.coordinate(point.x)) \(NumberText.coordinate(point.y))"
        }
        // A line of one point shows as a dot through its round cap.
        if points.count == 1 { path += "h0" }
        var attributes = [
            ("class", name), ("d", path), ("fill", "none"), ("stroke-width", NumberText.coordinate(width)),
            ("stroke-linejoin", "round"), ("stroke-linecap", "round"),
        ]
        if let dash { attributes.append(("stroke-dasharray", dash)) }
        element("path", attributes)
    }

    /// A filled shape through the points.
    mutating func area(_ points: [Point], class name: String, opacity: Double) {
        guard points.count > 2 else { return }
        let path = points.map { "\(NumberText.coordinate($0.x)) \(NumberText.coordinate($0.y))" }.joined(separator: "L")
        element("path", [("class", name), ("d", "M\(path)Z"), ("opacity", NumberText.coordinate(opacity))])
    }

    /// A mark of a shape that depends on the series, for those who cannot go by the colour.
    mutating func marker(at point: Point, series: Int, radius: Double = 3, tooltip: String? = nil) {
        let name = Theme.fill(series) + " dj-halo"
        let (x, y, r) = (point.x, point.y, radius * 1.25)
        func path(_ corners: [(Double, Double)]) -> String {
            let places = corners.map { "\(NumberText.coordinate(x + $0.0 * r)) \(NumberText.coordinate(y + $0.1 * r))" }
            return "M" + places.joined(separator: "L") + "Z"
        }
        let shape: String? =
            switch series % 4 {
            case 1: path([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)])
            case 2: path([(0, -1.15), (1.05, 0.8), (-1.05, 0.8)])
            case 3: path([(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)])
            default: nil
            }
        if let shape {
            element("path", [("class", name), ("d", shape)], tooltip: tooltip)
        } else {
            element(
                "circle",
                [
                    ("class", name), ("cx", NumberText.coordinate(x)), ("cy", NumberText.coordinate(y)),
                    ("r", NumberText.coordinate(r)),
                ], tooltip: tooltip)
        }
    }

    mutating func text(
        _ text: String, at point: Point, class name: String = "dj-ink", size: Double = 12, anchor: Anchor = .start,
        bold: Bool = false, turned: Bool = false, halo: Bool = false
    ) {
        guard !text.isEmpty else { return }
        let (x, y) = (NumberText.coordinate(point.x), NumberText.coordinate(point.y))
        var attributes = "class=\"\(name)\(halo ? " dj-halo" : "")\" x=\"\(x)\" y=\"\(y)\""
        attributes += " font-size=\"\(NumberText.coordinate(size))\""
        if anchor != .start { attributes += " text-anchor=\"\(anchor.rawValue)\"" }
        if bold { attributes += " font-weight=\"600\"" }
        if turned { attributes += " transform=\"rotate(-90 \(x) \(y))\"" }
        if halo { attributes += " stroke-width=\"3\" paint-order=\"stroke\" stroke-linejoin=\"round\"" }
        body += "<text \(attributes)>\(Canvas.escaped(text))</text>\n"
    }

    /// Draws with everything outside the frame cut off.
    mutating func clipped(to frame: Rectangle, _ draw: (inout Canvas) -> Void) {
        clipCount += 1
        let name = "dj-\(identity)-\(clipCount)"
        body += "<clipPath id=\"\(name)\">"
        rectangle(frame, class: "dj-bg")
        body += "</clipPath><g clip-path=\"url(#\(name))\">\n"
        draw(&self)
        body += "</g>\n"
    }
}

/// Something that draws itself into a part of a picture.
package protocol Panel: Sendable {
    /// The heading; empty for none.
    var title: String { get }
    /// What the panel shows, for someone who cannot see it.
    var summary: String { get }
    func draw(in frame: Rectangle, on canvas: inout Canvas)
}

/// A whole picture: a heading and one panel or a grid of them. Its SVG stands alone (no scripts, fonts or outside
/// addresses), follows the reader's light or dark setting, and is the same text for the same input.
package struct Figure: Sendable {
    package var title: String
    package var subtitle: String
    /// A line at the foot: where the numbers come from.
    package var note: String
    package var panels: [any Panel]
    package var columnCount: Int
    package var panelWidth: Double
    package var panelHeight: Double

    /// - Precondition: at least one column, and panels of at least 160 by 80.
    package init(
        title: String, subtitle: String = "", note: String = "", columnCount: Int = 1, panelWidth: Double = 720,
        panelHeight: Double = 380, panels: [any Panel]
    ) {
        precondition(columnCount >= 1 && panelWidth >= 160 && panelHeight >= 80, "no room to draw in")
        self.title = title
        self.subtitle = subtitle
        self.note = note
        self.panels = panels
        self.columnCount = columnCount
        self.panelWidth = panelWidth
        self.panelHeight = panelHeight
    }

    private static let margin = 20.0
    private static let gap = 28.0
    private static let panelTitleHeight = 24.0

    /// The picture as an SVG document.
    package func svg() -> String {
        let columns = min(columnCount, max(1, panels.count))
        let rows = (panels.count + columns - 1) / columns
        let cellHeight = panelHeight + (panels.contains { !$0.title.isEmpty } ? Figure.panelTitleHeight : 0)
        let width = 2 * Figure.margin + Double(columns) * panelWidth + Double(columns - 1) * Figure.gap
        let textWidth = width - 2 * Figure.margin
        let subtitleLines = TextMetrics.wrapped(subtitle, size: 13, width: textWidth, lines: 2)
        let noteLines = TextMetrics.wrapped(note, size: 11, width: textWidth, lines: 3)
        let headHeight = 30.0 + Double(subtitleLines.count) * 18 + (subtitleLines.isEmpty ? 2 : 6)
        let gridHeight = Double(rows) * cellHeight + Double(max(0, rows - 1)) * Figure.gap
        let footHeight = noteLines.isEmpty ? 0 : Double(noteLines.count) * 15 + 8
        let height = 2 * Figure.margin - 6 + headHeight + gridHeight + footHeight

        var canvas = Canvas(identity: identity)
        canvas.rectangle(Rectangle(x: 0, y: 0, width: width, height: height), class: "dj-bg")
        var y = Figure.margin + 14
        canvas.text(
            TextMetrics.truncated(title, size: 17 * TextMetrics.boldness, width: textWidth),
            at: Point(x: Figure.margin, y: y), size: 17,
            bold: true)
        y += 20
        for line in subtitleLines {
            canvas.text(line, at: Point(x: Figure.margin, y: y), class: "dj-soft", size: 13)
            y += 18
        }
        let top = Figure.margin + headHeight
        for (index, panel) in panels.enumerated() {
            let cell = Rectangle(
                x: Figure.margin + Double(index % columns) * (panelWidth + Figure.gap),
                y: top + Double(index / columns) * (cellHeight + Figure.gap), width: panelWidth, height: cellHeight)
            draw(panel, in: cell, on: &canvas)
        }
        y = top + gridHeight + 22
        for line in noteLines {
            canvas.text(line, at: Point(x: Figure.margin, y: y), class: "dj-soft", size: 11)
            y += 15
        }
        return document(canvas.body, width: width, height: height)
    }

    private func draw(_ panel: any Panel, in cell: Rectangle, on canvas: inout Canvas) {
        guard !panel.title.isEmpty else { return panel.draw(in: cell, on: &canvas) }
        canvas.text(
            TextMetrics.truncated(panel.title, size: 13 * TextMetrics.boldness, width: cell.width),
            at: Point(x: cell.x, y: cell.y + 12),
            size: 13, bold: true)
        panel.draw(in: cell.inset(top: Figure.panelTitleHeight), on: &canvas)
    }

    private func document(_ body: String, width: Double, height: Double) -> String {
        let (width, height) = (NumberText.coordinate(width), NumberText.coordinate(height))
        let summary = ([subtitle] + panels.map(\.summary)).filter { !$0.isEmpty }.joined(separator: ". ")
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(width)" height="\(height)" \
            viewBox="0 0 \(width) \(height)" role="img" aria-labelledby="dj-\(identity)-t dj-\(identity)-d" \
            font-family="\(Canvas.escaped(Theme.fontFamily))">
            <title id="dj-\(identity)-t">\(Canvas.escaped(title))</title>
            <desc id="dj-\(identity)-d">\(Canvas.escaped(summary))</desc>
            <style>\(Theme.styleSheet)</style>
            \(body)</svg>

            """
    }

    /// A name for this picture's ids: FNV-1a over its headings.
    private var identity: String {
        var hash: UInt32 = 0x811C_9DC5
        for byte in (title + "\n" + subtitle + "\n" + panels.map(\.title).joined(separator: "\n")).utf8 {
            hash = (hash ^ UInt32(byte)) &* 0x0100_0193
        }
        return String(hash, radix: 36)
    }
}

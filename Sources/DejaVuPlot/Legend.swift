/// The row of names and colours above a chart.
struct Legend {
    struct Entry {
        let name: String
        let colour: Int
        /// A box for bars and intervals, a piece of line for lines.
        let isBox: Bool
        var dash: String?
        var hasMarker = false
    }

    private static let size = 12.0
    private static let rowHeight = 19.0
    private static let swatchWidth = 20.0

    let entries: [Entry]

    /// Entries placed from left to right, wrapped at the width.
    private func places(width: Double) -> [(row: Int, x: Double)] {
        var row = 0
        var x = 0.0
        return entries.map { entry in
            let wide = Legend.swatchWidth + 6 + TextMetrics.width(entry.name, size: Legend.size)
            if x > 0, x + wide > width {
                row += 1
                x = 0
            }
            defer { x += wide + 18 }
            return (row, x)
        }
    }

    /// The height that the legend needs, nothing if it has no entries.
    func height(width: Double) -> Double {
        guard let last = places(width: width).last else { return 0 }
        return Double(last.row + 1) * Legend.rowHeight + 6
    }

    func draw(in frame: Rectangle, on canvas: inout Canvas) {
        for (entry, place) in zip(entries, places(width: frame.width)) {
            let x = frame.x + place.x
            let middle = frame.y + Double(place.row) * Legend.rowHeight + 8
            if entry.isBox {
                canvas.rectangle(
                    Rectangle(x: x + 4, y: middle - 6, width: 12, height: 12), class: Theme.fill(entry.colour),
                    corner: 2)
            } else {
                canvas.line(
                    from: Point(x: x, y: middle), to: Point(x: x + Legend.swatchWidth, y: middle),
                    class: Theme.stroke(entry.colour), width: 2.25, dash: entry.dash)
                if entry.hasMarker {
                    canvas.marker(at: Point(x: x + Legend.swatchWidth / 2, y: middle), series: entry.colour)
                }
            }
            let room = frame.width - Legend.swatchWidth - 6
            canvas.text(
                TextMetrics.truncated(entry.name, size: Legend.size, width: room),
                at: Point(x: x + Legend.swatchWidth + 6, y: middle + 4), size: Legend.size)
        }
    }
}

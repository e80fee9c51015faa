/// How many points a path has: fewer where no eye can see them, so that a picture of a million samples stays small.
enum Thinning {
    /// A path whose points are at most as many as four for each half unit of its width (first, least, greatest, last),
    /// covering the same pixels. Works on runs of points that stay within half a unit of x.
    static func thinned(_ points: [Point]) -> [Point] {
        guard points.count > 64 else { return points }
        var result: [Point] = []
        var column: [Point] = []
        func bucket(_ point: Point) -> Double { (point.x * 2).rounded(.down) }
        func flush() {
            guard let first = column.first, let last = column.last else { return }
            var least = 0
            var greatest = 0
            for index in column.indices {
                if column[index].y < column[least].y { least = index }
                if column[index].y > column[greatest].y { greatest = index }
            }
            result.append(first)
            for index in [min(least, greatest), max(least, greatest)]
            where index != 0 && index != column.count - 1 && column[index] != result.last {
                result.append(column[index])
            }
            if column.count > 1 { result.append(last) }
            column.removeAll(keepingCapacity: true)
        }
        for point in points {
            if let first = column.first, bucket(first) != bucket(point) { flush() }
            column.append(point)
        }
        flush()
        return result
    }

    /// The path with points between its own where those are far apart, for asking what a line covers.
    static func filled(_ points: [Point]) -> [Point] {
        guard var last = points.first else { return [] }
        var result = [last]
        for point in points.dropFirst() {
            let distance = max(abs(point.x - last.x), abs(point.y - last.y))
            let steps = min(max(1, Int((distance / 6).rounded(.up))), 500)
            for step in 1...steps {
                let share = Double(step) / Double(steps)
                result.append(
                    Point(x: last.x + (point.x - last.x) * share, y: last.y + (point.y - last.y) * share))
            }
            last = point
        }
        return result
    }
}

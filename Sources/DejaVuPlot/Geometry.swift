/// A place on the picture in user units (CSS pixels), y downwards.
package struct Point: Hashable, Sendable {
    package var x: Double
    package var y: Double
    package init(x: Double, y: Double) {
        self.x = x
        self.y = y
    }
}

/// An upright rectangle in user units.
package struct Rectangle: Hashable, Sendable {
    package var x: Double
    package var y: Double
    package var width: Double
    package var height: Double

    package init(x: Double, y: Double, width: Double, height: Double) {
        self.x = x
        self.y = y
        self.width = width
        self.height = height
    }

    package var right: Double { x + width }
    package var bottom: Double { y + height }
    package var middleX: Double { x + width / 2 }
    package var middleY: Double { y + height / 2 }

    func contains(_ point: Point, margin: Double) -> Bool {
        point.x >= x - margin && point.x <= right + margin && point.y >= y - margin && point.y <= bottom + margin
    }

    func overlaps(_ other: Rectangle) -> Bool {
        x < other.right && other.x < right && y < other.bottom && other.y < bottom
    }

    /// The rectangle without a margin on each side; never smaller than one unit.
    package func inset(left: Double = 0, top: Double = 0, right: Double = 0, bottom: Double = 0) -> Rectangle {
        Rectangle(
            x: x + left, y: y + top, width: max(1, width - left - right), height: max(1, height - top - bottom))
    }
}

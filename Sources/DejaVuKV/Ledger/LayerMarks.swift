public import DejaVuCore

/// One number of positions for each layer of a range; neighbours that are level are kept as one entry.
///
/// Watermarks, what was sent and what is expected are all this.
public struct LayerMarks: Hashable, Sendable {
    /// Consecutive layers that are level.
    public struct Level: Hashable, Codable, Sendable {
        public let layers: LayerRange
        public let mark: Int
        public init(layers: LayerRange, mark: Int) {
            self.layers = layers
            self.mark = mark
        }
    }

    public let layers: LayerRange
    /// Ascending, without gaps, no two neighbours level.
    public private(set) var levels: [Level]

    /// All layers at one mark.
    public init(layers: LayerRange, mark: Int = 0) {
        self.layers = layers
        levels = layers.count > 0 ? [Level(layers: layers, mark: mark)] : []
    }

    /// The least mark over some layers.
    ///
    /// - Precondition: the layers are a part of ours, and there is at least one.
    public func least(over range: LayerRange) -> Int {
        if levels.count == 1 { return levels[0].mark }
        return reduce(over: range, .max) { min($0, $1) }
    }

    /// The greatest mark over some layers.
    public func greatest(over range: LayerRange) -> Int {
        if levels.count == 1 { return levels[0].mark }
        return reduce(over: range, .min) { max($0, $1) }
    }

    /// The levels of some layers, cut to them.
    public func levels(over range: LayerRange) -> [Level] {
        levels.compactMap { level in
            guard let common = level.layers.intersection(range) else { return nil }
            return Level(layers: common, mark: level.mark)
        }
    }

    /// Lifts some layers to at least `mark`.
    public mutating func raise(_ range: LayerRange, to mark: Int) {
        change(range) { max($0, mark) }
    }

    /// Brings some layers down to at most `mark`.
    public mutating func lower(_ range: LayerRange, to mark: Int) {
        change(range) { min($0, mark) }
    }

    public mutating func set(_ range: LayerRange, to mark: Int) {
        change(range) { _ in mark }
    }

    private mutating func change(_ range: LayerRange, _ body: (Int) -> Int) {
        if levels.count == 1, range == layers {
            levels[0] = Level(layers: layers, mark: body(levels[0].mark))
            return
        }
        var result: [Level] = []
        result.reserveCapacity(levels.count + 2)
        func add(_ first: Int, _ end: Int, _ mark: Int) {
            guard first < end else { return }
            if let last = result.last, last.mark == mark {
                result[result.count - 1] = Level(layers: LayerRange(last.layers.first, end), mark: mark)
            } else {
                result.append(Level(layers: LayerRange(first, end), mark: mark))
            }
        }
        for level in levels {
            guard let common = level.layers.intersection(range) else {
                add(level.layers.first, level.layers.end, level.mark)
                continue
            }
            add(level.layers.first, common.first, level.mark)
            add(common.first, common.end, body(level.mark))
            add(common.end, level.layers.end, level.mark)
        }
        levels = result
    }

    private func reduce(over range: LayerRange, _ start: Int, _ body: (Int, Int) -> Int) -> Int {
        precondition(layers.contains(range) && range.count > 0, "layers \(range) are not among \(layers)")
        var value = start
        for level in levels where level.layers.first < range.end && range.first < level.layers.end {
            value = body(value, level.mark)
        }
        return value
    }

    package func checkIntegrity() {
        var next = layers.first
        for (index, level) in levels.enumerated() {
            precondition(level.layers.first == next && level.layers.count > 0, "levels with a gap")
            precondition(index == 0 || levels[index - 1].mark != level.mark, "two level neighbours")
            next = level.layers.end
        }
        precondition(next == layers.end, "levels do not cover the layers")
    }
}

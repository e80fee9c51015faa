/// How many leading positions of one sequence each stage of its pipeline holds, as far as they have said so.
///
/// A watermark only rises while a stage keeps its memory; it falls to 0 when the stage's place is taken by another
/// worker.
package struct StageWatermarks: Hashable, Codable, Sendable {
    private var levels: [Int]

    package init(stageCount: Int) {
        precondition(stageCount >= 1, "a pipeline has stages")
        levels = [Int](repeating: 0, count: stageCount)
    }

    package var stageCount: Int { levels.count }
    package subscript(stage: Int) -> Int { levels[stage] }

    /// The least over the stages: from here on the sequence must be run.
    package var least: Int {
        var least = levels[0]
        for level in levels where level < least { least = level }
        return least
    }

    /// A stage has committed all positions below `position`. A lower position than before changes nothing: a replay.
    package mutating func raise(_ stage: Int, to position: Int) {
        if levels[stage] < position { levels[stage] = position }
    }

    package mutating func raiseAll(to position: Int) {
        for stage in levels.indices where levels[stage] < position { levels[stage] = position }
    }

    /// The stage holds nothing of the sequence any more.
    package mutating func reset(_ stage: Int) { levels[stage] = 0 }
    package mutating func resetAll() {
        for stage in levels.indices { levels[stage] = 0 }
    }
}

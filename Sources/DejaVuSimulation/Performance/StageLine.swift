import DejaVuCore

/// The stages of one pipeline, which serve passes in the order in which they are sent.
///
/// Since nothing overtakes, a pass's times at all stages are known when it is sent.
struct StageLine: Sendable {
    struct Stage: Sendable {
        let layerCount: Int
        let lane: Int
        /// When the last pass that was sent leaves it.
        var freeAt = Instant.zero
        var previousStart = Instant.zero
        /// When the last fetch from the host is through, and the last stream to another pipeline.
        var fetchedAt = Instant.zero
        var streamedAt = Instant.zero
        var busy = TimeSpan.zero
    }

    /// What a pass does besides computing.
    struct Traffic: Sendable {
        /// Positions whose KV each stage brings in from its host memory before it computes.
        var fetchedPositions = 0
        /// Positions whose KV each stage streams to another pipeline of so many stages when it has computed them.
        var streamedPositions = 0
        var receiverCount = 1
    }

    struct Passage: Sendable {
        /// The last stage has computed it.
        var end: Instant
        /// All that is streamed has arrived.
        var streamedAt: Instant
    }

    private(set) var stages: [Stage]
    private let costs: PerformanceScenario.Costs

    /// - Parameter firstLane: the number of the first stage's machine.
    init(stageCount: Int, firstLane: Int, costs: PerformanceScenario.Costs) throws(DejaVuError) {
        self.costs = costs
        var layers = [Int](repeating: 1, count: max(stageCount, 1))
        if case .profile(let profile) = costs {
            guard (1...profile.layerCount).contains(stageCount) else {
                throw DejaVuError(
                    .invalidArgument, "\(profile.layerCount) layers cannot be cut into \(stageCount) stages")
            }
            layers = LayerRange.even(layers: profile.layerCount, stages: stageCount).map(\.count)
        }
        guard (1...10_000).contains(stageCount) else {
            throw DejaVuError(.invalidArgument, "\(stageCount) stages are no pipeline")
        }
        stages = layers.enumerated().map { Stage(layerCount: $1, lane: firstLane + $0) }
    }

    /// Sends a pass through all stages.
    mutating func send(
        _ load: PassLoad, at now: Instant, _ traffic: Traffic, trace: inout PerformanceTrace?
    ) -> Passage {
        var passage = Passage(end: now, streamedAt: now)
        for index in stages.indices {
            let cost = cost(of: load, stages[index])
            let arrival = index == 0 ? now : passage.end + hop(rows: load.rows, trace: &trace, from: index - 1, passage)
            var start = max(arrival, stages[index].freeAt)
            if traffic.fetchedPositions > 0 {
                start = max(start, fetch(traffic.fetchedPositions, at: index, trace: &trace))
            }
            passage.end = start + cost
            stages[index].freeAt = passage.end
            stages[index].previousStart = start
            stages[index].busy = stages[index].busy + cost
            trace?.add(load, lane: stages[index].lane, start, passage.end)
            if traffic.streamedPositions > 0 {
                let arrived = stream(traffic, at: index, from: passage.end, trace: &trace)
                passage.streamedAt = max(passage.streamedAt, arrived)
            }
        }
        passage.streamedAt = max(passage.streamedAt, passage.end)
        return passage
    }

    /// What a pass takes the first stage.
    func firstCost(of load: PassLoad) -> TimeSpan { cost(of: load, stages[0]) }

    private func cost(of load: PassLoad, _ stage: Stage) -> TimeSpan {
        switch costs {
        case .fixed(let prompt, let step): load.chunks.isEmpty ? step : prompt
        case .profile(let profile): .seconds(profile.passSeconds(of: load, layerCount: stage.layerCount))
        }
    }

    /// Hidden rows to the next stage.
    private func hop(rows: Int, trace: inout PerformanceTrace?, from index: Int, _ passage: Passage) -> TimeSpan {
        guard case .profile(let profile) = costs else { return .zero }
        let time = TimeSpan.seconds(
            profile.linkSeconds + transfer(Double(rows) * Double(profile.hiddenRowBytes), profile.linkBytesPerSecond))
        trace?.add(.activations, lane: stages[index].lane, passage.end, passage.end + time)
        return time
    }

    /// The host's KV of a pass, brought in while the pass before it computes: there is room for two.
    private mutating func fetch(_ positions: Int, at index: Int, trace: inout PerformanceTrace?) -> Instant {
        guard case .profile(let profile) = costs else { return .zero }
        let start = max(stages[index].fetchedAt, stages[index].previousStart)
        let bytes = Double(positions) * kvBytes(profile, index)
        stages[index].fetchedAt = start + .seconds(transfer(bytes, profile.copyBytesPerSecond))
        trace?.add(.swap, lane: stages[index].lane, start, stages[index].fetchedAt)
        return stages[index].fetchedAt
    }

    /// The rows of a pass go when it has ended: engines compute its layers as one.
    private mutating func stream(
        _ traffic: Traffic, at index: Int, from end: Instant, trace: inout PerformanceTrace?
    ) -> Instant {
        guard case .profile(let profile) = costs else { return end }
        // Fewer receivers than senders share their links among them.
        let rate = profile.linkBytesPerSecond * min(1, Double(traffic.receiverCount) / Double(stages.count))
        let begin = max(stages[index].streamedAt, end)
        let through = begin + .seconds(transfer(Double(traffic.streamedPositions) * kvBytes(profile, index), rate))
        stages[index].streamedAt = through
        trace?.add(.stream, lane: stages[index].lane, begin, through)
        return through + .seconds(profile.linkSeconds)
    }

    private func kvBytes(_ profile: ModelProfile, _ index: Int) -> Double {
        Double(profile.kvBytesPerPositionAndLayer) * Double(stages[index].layerCount)
    }

    /// At no rate nothing is said, and nothing is taken.
    private func transfer(_ bytes: Double, _ rate: Double) -> Double { rate > 0 ? bytes / rate : 0 }
}

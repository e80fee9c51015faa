package import DejaVuCore

/// What every machine did when. Time in which a machine does not compute is a bubble.
package struct PerformanceTrace: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable, CaseIterable {
        case prompt, step, mixed
        /// Hidden rows to the next stage.
        case activations
        /// KV to another pipeline.
        case stream
        /// KV from the host's memory.
        case swap

        package var isCompute: Bool { self == .prompt || self == .step || self == .mixed }
    }

    package struct Interval: Hashable, Sendable {
        package let lane: Int
        package let kind: Kind
        package let start: Instant
        package let end: Instant
        package let chunkRows: Int
        package let stepCount: Int
    }

    /// Names of the machines.
    package let lanes: [String]
    package private(set) var intervals: [Interval] = []
    /// Intervals that were dropped since there were too many.
    package private(set) var droppedCount = 0
    private static let intervalsMax = 2_000_000

    package init(lanes: [String]) { self.lanes = lanes }

    init(_ topology: Topology) {
        switch topology {
        case .colocated(let stages, let pipelines):
            lanes = (0..<pipelines).flatMap { pipeline in
                (0..<stages).map { pipelines == 1 ? "stage \($0)" : "pipeline \(pipeline) stage \($0)" }
            }
        case .disaggregated(let promptStages, let tokenStages):
            lanes = (0..<promptStages).map { "prompt stage \($0)" } + (0..<tokenStages).map { "token stage \($0)" }
        }
    }

    mutating func add(_ load: PassLoad, lane: Int, _ start: Instant, _ end: Instant) {
        let kind: Kind = load.chunks.isEmpty ? .step : load.stepCount == 0 ? .prompt : .mixed
        add(
            Interval(
                lane: lane, kind: kind, start: start, end: end, chunkRows: load.chunkRows, stepCount: load.stepCount))
    }

    mutating func add(_ kind: Kind, lane: Int, _ start: Instant, _ end: Instant) {
        add(Interval(lane: lane, kind: kind, start: start, end: end, chunkRows: 0, stepCount: 0))
    }

    private mutating func add(_ interval: Interval) {
        guard intervals.count < Self.intervalsMax else {
            droppedCount += 1
            return
        }
        intervals.append(interval)
    }
}

import ArgumentParser
import DejaVuSimulation

/// A topology as people write it: `4` stages, `2x2` pipelines of stages, `1+3` prompt and token stages.
struct TopologyChoice: ExpressibleByArgument {
    let topology: Topology

    init?(argument: String) {
        func counts(_ separator: Character) -> (Int, Int)? {
            let parts = argument.split(separator: separator, omittingEmptySubsequences: false).map { Int($0) }
            guard parts.count == 2, let first = parts[0], let second = parts[1] else { return nil }
            return (1...64).contains(first) && (1...64).contains(second) ? (first, second) : nil
        }
        if let stages = Int(argument), (1...64).contains(stages) {
            topology = .colocated(stages: stages, pipelines: 1)
        } else if let (pipelines, stages) = counts("x") {
            topology = .colocated(stages: stages, pipelines: pipelines)
        } else if let (prompt, token) = counts("+") {
            topology = .disaggregated(promptStages: prompt, tokenStages: token)
        } else {
            return nil
        }
    }
}

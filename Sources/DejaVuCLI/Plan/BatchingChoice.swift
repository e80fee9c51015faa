import ArgumentParser
import DejaVuControl
import DejaVuSimulation

/// How requests are put together, in a server or in a simulation.
enum BatchingChoice: ExpressibleByArgument, CustomStringConvertible {
    case continuous
    /// Continuous, but prompts are not cut.
    case whole
    case paper(Int)

    init?(argument: String) {
        if argument == "continuous" {
            self = .continuous
        } else if argument == "whole" {
            self = .whole
        } else if argument == "paper" {
            self = .paper(8)
        } else if argument.hasPrefix("paper:"), let count = Int(argument.dropFirst(6)), (1...4096).contains(count) {
            self = .paper(count)
        } else {
            return nil
        }
    }

    var description: String {
        switch self {
        case .continuous: "continuous"
        case .whole: "whole"
        case .paper(let count): "paper:\(count)"
        }
    }
    var defaultValueDescription: String { description }

    var batching: PerformanceScenario.Batching {
        switch self {
        case .continuous: .continuous()
        case .whole: .whole
        case .paper(let count): .paper(sequences: count)
        }
    }

    var control: Batching {
        switch self {
        case .continuous, .whole: .continuous
        case .paper(let count): .paper(sequences: count)
        }
    }

    var cutsPrompts: Bool {
        if case .continuous = self { true } else { false }
    }

    var paperSequences: Int? {
        if case .paper(let count) = self { count } else { nil }
    }
}

import DejaVuCore
import Foundation

/// What reduces the candidates, and the draw among the rest. Each keeps at least one.
enum CandidateFilter {
    /// Top-p (Holtzman et al. 2020): the smallest leading part that reaches a share of the mass. The candidates are
    /// in falling order.
    static func leading(_ candidates: inout [Candidate], mass: Double) {
        let wanted = candidates.reduce(0) { $0 + $1.weight } * mass
        var sum = 0.0
        for index in candidates.indices {
            sum += candidates[index].weight
            if sum >= wanted {
                candidates.removeSubrange((index + 1)...)
                return
            }
        }
    }

    /// Locally typical sampling (Meister et al. 2022): the smallest set that reaches a share of the mass, of the
    /// tokens whose surprise is nearest to the entropy. Leaves the candidates in falling order.
    static func typical(_ candidates: inout [Candidate], mass: Double) {
        let total = candidates.reduce(0) { $0 + $1.weight }
        let entropy = candidates.reduce(0.0) { sum, candidate in
            let probability = candidate.weight / total
            return probability > 0 ? sum - probability * log(probability) : sum
        }
        var ranked = candidates.map { candidate in
            (distance: abs(-log(candidate.weight / total) - entropy), candidate: candidate)
        }
        ranked.sort { a, b in
            a.distance != b.distance ? a.distance < b.distance : a.candidate.token < b.candidate.token
        }
        var kept = ranked.map(\.candidate)
        leading(&kept, mass: mass)
        kept.sort(by: Candidate.isMoreLikely)
        candidates = kept
    }

    /// The candidate at which the running sum of weights passes `unit` of the whole.
    static func draw(_ candidates: [Candidate], _ unit: Double) -> TokenID {
        guard let last = candidates.last else { preconditionFailure("no candidate is left") }
        let wanted = candidates.reduce(0) { $0 + $1.weight } * unit
        var sum = 0.0
        for candidate in candidates {
            sum += candidate.weight
            if sum > wanted { return candidate.token }
        }
        return last.token
    }
}

func logSumOfExponentials(_ logits: UnsafeBufferPointer<Float>) -> Double {
    let greatest = Double(maximum(logits))
    var sum = 0.0
    for logit in logits { sum += exp(Double(logit) - greatest) }
    return greatest + log(sum)
}

import DejaVuCore
import Foundation

/// What reduces the candidates, and the draw among the rest. Each keeps at least one, and their order.
enum CandidateFilter {
    /// Top-p (Holtzman et al. 2020): the smallest set of the most likely that reaches so much mass.
    static func mostLikely(_ candidates: inout [Candidate], mass: Double) {
        let last = lastNeeded(candidates, mass: mass, weight: \.weight, precedes: Candidate.isMoreLikely)
        if let last { candidates.removeAll { Candidate.isMoreLikely(last, $0) } }
    }

    /// Locally typical sampling (Meister et al. 2022): the smallest set that reaches a share of the mass, of the
    /// tokens whose surprise is nearest to the entropy.
    static func typical(_ candidates: inout [Candidate], mass: Double) {
        let total = candidates.reduce(0) { $0 + $1.weight }
        let entropy = candidates.reduce(0.0) { sum, candidate in
            let probability = candidate.weight / total
            return probability > 0 ? sum - probability * log(probability) : sum
        }
        func precedes(_ a: Ranked, _ b: Ranked) -> Bool {
            a.distance != b.distance ? a.distance < b.distance : a.candidate.token < b.candidate.token
        }
        var ranked = candidates.map { Ranked(distance: abs(-log($0.weight / total) - entropy), candidate: $0) }
        let last = lastNeeded(ranked, mass: mass * total, weight: \.candidate.weight, precedes: precedes)
        if let last { ranked.removeAll { precedes(last, $0) } }
        candidates = ranked.map(\.candidate)
    }

    private struct Ranked {
        let distance: Double
        let candidate: Candidate
    }

    /// The last one of the smallest leading part that reaches so much mass; nil if it takes them all. Found by dividing
    /// again and again (Hoare 1961): to sort a vocabulary takes longer than a step of a small model.
    private static func lastNeeded<Element>(
        _ elements: [Element], mass: Double, weight: (Element) -> Double, precedes: (Element, Element) -> Bool
    ) -> Element? {
        var undecided = elements
        var sum = 0.0
        /// With this one it is enough in any case: of those before it rounding may miss the one.
        var enough: Element?
        // Half of them go each time but for the strangest orders, which are sorted in the end.
        var rounds = 64
        while undecided.count > 64, rounds > 0 {
            rounds -= 1
            let pivot = median(undecided[0], undecided[undecided.count / 2], undecided[undecided.count - 1], precedes)
            let before = undecided.filter { precedes($0, pivot) }
            let part = before.reduce(0) { $0 + weight($1) }
            if !before.isEmpty, sum + part >= mass {
                undecided = before
                enough = pivot
            } else {
                sum += part + weight(pivot)
                if sum >= mass { return pivot }
                undecided.removeAll { !precedes(pivot, $0) }
            }
        }
        undecided.sort(by: precedes)
        for element in undecided {
            sum += weight(element)
            if sum >= mass { return element }
        }
        return enough
    }

    private static func median<Element>(
        _ a: Element, _ b: Element, _ c: Element, _ precedes: (Element, Element) -> Bool
    ) -> Element {
        let (low, high) = precedes(a, b) ? (a, b) : (b, a)
        return precedes(c, low) ? low : precedes(c, high) ? c : high
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

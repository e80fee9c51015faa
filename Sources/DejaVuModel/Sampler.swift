package import DejaVuCore
import Foundation

/// Chooses tokens. A function of (logits, history, seed, position): it keeps memory to work in, but no state.
///
/// Order: logit bias, penalties, temperature, top-k, typical, top-p, min-p, draw. Probabilities are summed in an order
/// that depends on the logits and the parameters alone.
package struct Sampler {
    private let vocabularySize: Int
    private var candidates: [Candidate] = []
    private var weights = TokenWeights()

    package init(vocabularySize: Int) { self.vocabularySize = vocabularySize }

    /// Samples the token at index `history.count` of a sequence. The logits are changed.
    ///
    /// - Throws: `.internalError` if a logit is not finite.
    package mutating func sample(
        sequence: SequenceID, logits: inout [Float], history: ArraySlice<TokenID>, promptCount: Int,
        parameters: SamplingParameters
    ) throws(DejaVuError) -> SampledToken {
        precondition(logits.count == vocabularySize, "\(logits.count) logits of \(vocabularySize)")
        guard logits.withUnsafeBufferPointer({ isFinite($0) }) else {
            throw DejaVuError(.internalError, "non-finite logits for \(sequence)", subject: "logits")
        }
        let report = parameters.topLogprobs.map { LogprobReport(logits: logits, count: $0, &weights) }
        LogitChanges.apply(parameters, history: history, promptCount: promptCount, to: &logits)
        let token: TokenID
        if parameters.temperature == 0 {
            token = logits.withUnsafeBufferPointer { argmax($0) }
        } else {
            let unit = counterBasedUnit(seed: parameters.seed, position: history.count)
            token = draw(logits, parameters, unit)
        }
        return SampledToken(
            sequence: sequence, position: history.count, token: token, logprob: report?.logprob(of: token),
            alternatives: report?.alternatives ?? [])
    }

    private mutating func draw(_ logits: [Float], _ parameters: SamplingParameters, _ unit: Double) -> TokenID {
        let greatest = logits.withUnsafeBufferPointer { maximum($0) }
        let inverse = min(1 / parameters.temperature, Self.inverseMax)
        let hasTopK = parameters.topK > 0 && parameters.topK < vocabularySize
        candidates.removeAll(keepingCapacity: true)
        if hasTopK {
            candidates = logits.withUnsafeBufferPointer { mostLikely(parameters.topK, of: $0) }
            for index in candidates.indices {
                candidates[index].weight = exp((Double(candidates[index].logit) - Double(greatest)) * Double(inverse))
            }
        } else {
            logits.withUnsafeBufferPointer { weights.set($0, greatest: greatest, inverse: inverse) }
            if parameters.typicalP < 1 {
                _ = weights.collect(atLeast: Self.weightMin, of: logits, into: &candidates)
            } else if parameters.topP < 1 {
                collectLeading(mass: Double(parameters.topP), of: logits)
            } else if parameters.minP > 0 {
                _ = weights.collect(atLeast: parameters.minP, of: logits, into: &candidates)
            } else {
                return weights.draw(unit)
            }
        }
        if parameters.typicalP < 1 { CandidateFilter.typical(&candidates, mass: Double(parameters.typicalP)) }
        if parameters.topP < 1 {
            // A share of what the filters before it have left.
            let isFirst = !hasTopK && parameters.typicalP >= 1
            let whole = isFirst ? weights.total : candidates.reduce(0) { $0 + $1.weight }
            CandidateFilter.mostLikely(&candidates, mass: Double(parameters.topP) * whole)
        }
        if parameters.minP > 0 {
            let least = Double(parameters.minP) * (candidates.map(\.weight).max() ?? 0)
            candidates.removeAll { $0.weight < least }
        }
        return CandidateFilter.draw(candidates, unit)
    }

    /// Some of the most likely tokens, so many that they have that share of the mass.
    private mutating func collectLeading(mass: Double, of logits: [Float]) {
        var least: Float = 1 / 4
        for round in 0... {
            candidates.removeAll(keepingCapacity: true)
            let sum = weights.collect(atLeast: least, of: logits, into: &candidates)
            if sum >= mass * weights.total || least == 0 { break }
            least = least < Self.weightMin ? 0 : least / (round < 8 ? 4 : 64)
        }
    }

    /// A temperature below this one is as good as this one, and its inverse is finite.
    private static let inverseMax: Float = 1e30
    /// What is less likely than that beside the most likely adds nothing to a sum in Double that starts at 1.
    private static let weightMin: Float = 4e-18
}

/// A token that may be drawn.
struct Candidate {
    let token: TokenID
    let logit: Float
    /// Its probability times a constant.
    var weight: Double

    init(token: TokenID, logit: Float, weight: Double = 0) {
        self.token = token
        self.logit = logit
        self.weight = weight
    }

    static func isMoreLikely(_ a: Candidate, _ b: Candidate) -> Bool {
        a.logit != b.logit ? a.logit > b.logit : a.token < b.token
    }
}

/// Sixteen at a time: the vocabulary is read several times for each token.
private func fold<Result>(
    _ values: UnsafeBufferPointer<Float>, _ initial: SIMD16<Float>, padding: Float,
    _ step: (SIMD16<Float>, SIMD16<Float>) -> SIMD16<Float>, _ finish: (SIMD16<Float>) -> Result
) -> Result {
    let bytes = UnsafeRawBufferPointer(values)
    let whole = values.count / 16 * 16
    var result = initial
    for index in stride(from: 0, to: whole, by: 16) {
        result = step(result, bytes.loadUnaligned(fromByteOffset: 4 * index, as: SIMD16<Float>.self))
    }
    var rest = SIMD16<Float>(repeating: padding)
    for index in whole..<values.count { rest[index - whole] = values[index] }
    return finish(step(result, rest))
}

func isFinite(_ values: UnsafeBufferPointer<Float>) -> Bool {
    // x * 0 is 0 for finite x only; a sum of such products is cheaper than a branch for each.
    fold(values, .zero, padding: 0, { $0 + $1 * 0 }, { $0.sum() == 0 })
}

func maximum(_ values: UnsafeBufferPointer<Float>) -> Float {
    fold(
        values, SIMD16(repeating: -.infinity), padding: -.infinity, { $0.replacing(with: $1, where: $1 .> $0) },
        { $0.max() })
}

/// Of the lanes; `max()` of the standard library goes through them one by one.
func largest(_ values: SIMD16<Float>) -> Float {
    let eight = values.lowHalf.replacing(with: values.highHalf, where: values.highHalf .> values.lowHalf)
    let four = eight.lowHalf.replacing(with: eight.highHalf, where: eight.highHalf .> eight.lowHalf)
    let two = four.lowHalf.replacing(with: four.highHalf, where: four.highHalf .> four.lowHalf)
    return max(two.x, two.y)
}

/// The index of the largest value; of equal ones the lowest.
func argmax(_ values: UnsafeBufferPointer<Float>) -> TokenID {
    let greatest = maximum(values)
    return TokenID(values.firstIndex(of: greatest) ?? 0)
}

/// The `count` most likely tokens in falling order, found without sorting the rest.
func mostLikely(_ count: Int, of logits: UnsafeBufferPointer<Float>) -> [Candidate] {
    // A heap whose root is the least likely one that is kept.
    var heap: [Candidate] = []
    heap.reserveCapacity(count)
    let bytes = UnsafeRawBufferPointer(logits)
    var index = 0
    while index < logits.count {
        // Few of them get in.
        if heap.count == count, index + 16 <= logits.count,
            largest(bytes.loadUnaligned(fromByteOffset: 4 * index, as: SIMD16<Float>.self)) <= heap[0].logit
        {
            index += 16
            continue
        }
        defer { index += 1 }
        let candidate = Candidate(token: TokenID(index), logit: logits[index])
        if heap.count < count {
            heap.append(candidate)
            if heap.count == count {
                for parent in stride(from: count / 2 - 1, through: 0, by: -1) { siftDown(&heap, parent) }
            }
        } else if Candidate.isMoreLikely(candidate, heap[0]) {
            heap[0] = candidate
            siftDown(&heap, 0)
        }
    }
    heap.sort(by: Candidate.isMoreLikely)
    return heap
}

private func siftDown(_ heap: inout [Candidate], _ start: Int) {
    var parent = start
    while true {
        var least = parent
        for child in [2 * parent + 1, 2 * parent + 2]
        where child < heap.count && Candidate.isMoreLikely(heap[least], heap[child]) {
            least = child
        }
        if least == parent { return }
        heap.swapAt(parent, least)
        parent = least
    }
}

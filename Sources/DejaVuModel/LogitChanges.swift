import DejaVuCore
import Foundation

/// What changes logits before anything is chosen: bias and penalties.
enum LogitChanges {
    /// Applies the bias, then the repetition penalty, then presence and frequency penalties.
    static func apply(
        _ parameters: SamplingParameters, history: ArraySlice<TokenID>, promptCount: Int, to logits: inout [Float]
    ) {
        for entry in parameters.logitBias { logits[Int(entry.token)] += entry.weight }
        if parameters.repetitionPenalty != 1 {
            let window = parameters.repetitionWindow == 0 ? history.count : parameters.repetitionWindow
            for (token, _) in counts(history.suffix(window)) {
                let logit = logits[Int(token)]
                logits[Int(token)] =
                    logit > 0 ? logit / parameters.repetitionPenalty : logit * parameters.repetitionPenalty
            }
        }
        if parameters.presencePenalty != 0 || parameters.frequencyPenalty != 0 {
            for (token, count) in counts(history.dropFirst(promptCount)) {
                logits[Int(token)] -= parameters.presencePenalty + Float(count) * parameters.frequencyPenalty
            }
        }
    }

    /// Each token once, with its number of occurrences.
    private static func counts(_ tokens: ArraySlice<TokenID>) -> [(token: TokenID, count: Int)] {
        var result: [(token: TokenID, count: Int)] = []
        for token in tokens.sorted() {
            if let last = result.last, last.token == token {
                result[result.count - 1].count += 1
            } else {
                result.append((token, 1))
            }
        }
        return result
    }
}

/// The log probabilities of one position under the unmodified logits.
struct LogprobReport {
    private let logits: [Float]
    /// log of the sum of exponentials.
    private let normalizer: Double
    /// The most likely tokens, most likely first.
    let alternatives: [TokenWeight]

    /// - Parameter weights: to work in.
    init(logits: [Float], count: Int, _ weights: inout TokenWeights) {
        self.logits = logits
        let greatest = logits.withUnsafeBufferPointer { maximum($0) }
        logits.withUnsafeBufferPointer { weights.set($0, greatest: greatest, inverse: 1) }
        normalizer = Double(greatest) + log(weights.total)
        let best = count == 0 ? [] : logits.withUnsafeBufferPointer { mostLikely(min(count, logits.count), of: $0) }
        let normalizer = normalizer
        alternatives = best.map { TokenWeight(token: $0.token, weight: Float(Double($0.logit) - normalizer)) }
    }

    func logprob(of token: TokenID) -> Float { Float(Double(logits[Int(token)]) - normalizer) }
}

import DejaVuCore
import DejaVuModel
import Foundation
import Testing

struct SamplerTests {
    private func sample(
        _ logits: [Float], _ parameters: SamplingParameters, history: [TokenID] = [0], promptCount: Int = 1
    ) throws -> SampledToken {
        var sampler = Sampler(vocabularySize: logits.count)
        var logits = logits
        return try sampler.sample(
            sequence: SequenceID(1), logits: &logits, history: history[...], promptCount: promptCount,
            parameters: parameters)
    }

    /// How often each token is drawn over positions, as shares.
    private func shares(_ logits: [Float], _ parameters: SamplingParameters, draws: Int = 4000) throws -> [Double] {
        var counts = [Double](repeating: 0, count: logits.count)
        for position in 1...draws {
            let history = [TokenID](repeating: 0, count: position)
            let token = try sample(logits, parameters, history: history, promptCount: position).token
            counts[Int(token)] += 1 / Double(draws)
        }
        return counts
    }

    private func parameters(_ change: (inout SamplingParameters) -> Void) -> SamplingParameters {
        var parameters = SamplingParameters()
        parameters.seed = 5
        change(&parameters)
        return parameters
    }

    @Test func greedy_equalLogits_takesTheLowestToken() throws {
        #expect(try sample([1, 3, 3, 2], .greedy).token == 1)
    }

    @Test func sample_position_isTheLengthOfTheHistory() throws {
        #expect(try sample([1, 3], .greedy, history: [0, 1, 0], promptCount: 1).position == 3)
    }

    @Test func draw_sameSeedAndPosition_isTheSame() throws {
        let logits = (0..<1000).map { Float($0 % 17) / 4 }
        let one = try (1...50).map { try sample(logits, parameters { _ in }, history: Array(repeating: 0, count: $0)) }
        let two = try (1...50).map { try sample(logits, parameters { _ in }, history: Array(repeating: 0, count: $0)) }
        let other = try (1...50).map {
            try sample(logits, parameters { $0.seed = 6 }, history: Array(repeating: 0, count: $0))
        }
        #expect(one == two)
        #expect(one.map(\.token) != other.map(\.token))
    }

    @Test func draw_temperatureOne_followsTheSoftmax() throws {
        let probabilities = [0.5, 0.3, 0.15, 0.05]
        let found = try shares(probabilities.map { Float(log($0)) }, parameters { _ in })
        for (share, probability) in zip(found, probabilities) { #expect(abs(share - probability) < 0.03) }
    }

    @Test func draw_lowTemperature_sharpens() throws {
        // Probabilities go to the power 1/T and are normalised again.
        let found = try shares([Float(log(0.6)), Float(log(0.4))], parameters { $0.temperature = 0.5 })
        #expect(abs(found[0] - 0.36 / 0.52) < 0.03)
    }

    @Test func topK_two_keepsTheTwoMostLikely() throws {
        let found = try shares([0, 1, 2, 3], parameters { $0.topK = 2 })
        #expect(found[0] == 0 && found[1] == 0 && found[2] > 0.2 && found[3] > 0.6)
    }

    @Test func topP_share_keepsTheSmallestSetThatReachesIt() throws {
        let logits = [0.5, 0.3, 0.15, 0.05].map { Float(log($0)) }
        let found = try shares(logits, parameters { $0.topP = 0.7 })
        #expect(found[2] == 0 && found[3] == 0)
        #expect(abs(found[0] - 0.5 / 0.8) < 0.03)
        #expect(try shares(logits, parameters { $0.topP = 0 })[0] > 0.99)
    }

    @Test func minP_share_dropsWhatIsLessLikelyThanThatShareOfTheBest() throws {
        let found = try shares([0.5, 0.3, 0.15, 0.05].map { Float(log($0)) }, parameters { $0.minP = 0.25 })
        #expect(found[3] == 0 && found[2] > 0)
    }

    @Test func typical_small_keepsWhatSurprisesAsMuchAsTheEntropy() throws {
        // Entropy 1.14 nats; the surprise of 0.3 (1.20) is nearest, that of 0.5 (0.69) and 0.15 (1.90) farther.
        let found = try shares([0.5, 0.3, 0.15, 0.05].map { Float(log($0)) }, parameters { $0.typicalP = 0.2 })
        #expect(found[1] > 0.99)
    }

    @Test func filters_onALargeVocabulary_equalASlowReading() throws {
        var random = SeededGenerator(seed: 3)
        let logits = (0..<5000).map { _ in Float(random.nextUnit() * 12) }
        let order = logits.indices.sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
        for position in 1...20 {
            let chosen = parameters {
                $0.topK = 50
                $0.topP = 0.9
            }
            let history = [TokenID](repeating: 0, count: position)
            let weights = order.prefix(50).map { exp(Double(logits[$0]) - Double(logits[order[0]])) }
            var kept = 0
            var sum = 0.0
            while sum < weights.reduce(0, +) * 0.9 {
                sum += weights[kept]
                kept += 1
            }
            let wanted = counterBasedUnit(seed: 5, position: position) * weights.prefix(kept).reduce(0, +)
            var running = 0.0
            let index = weights.prefix(kept).firstIndex {
                running += $0
                return running > wanted
            }
            let token = try sample(logits, chosen, history: history).token
            #expect(Int(token) == order[try #require(index)])
        }
    }

    /// The likeliest that reach the share, by id; and what the draw takes of them.
    private func slowTopP(_ logits: [Float], _ share: Double, position: Int) -> Int {
        let order = logits.indices.sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
        let weights = logits.map { exp(Double($0) - Double(logits[order[0]])) }
        let wanted = weights.reduce(0, +) * share
        var kept: [Int] = []
        var sum = 0.0
        for index in order where sum < wanted || kept.isEmpty {
            kept.append(index)
            sum += weights[index]
        }
        let drawn = counterBasedUnit(seed: 5, position: position) * sum
        var running = 0.0
        return kept.sorted().first {
            running += weights[$0]
            return running > drawn
        } ?? 0
    }

    @Test(arguments: [0.0, 0.01, 0.5, 0.9, 0.99, 0.9999])
    func topP_onALargeVocabulary_equalsASlowReading(share: Double) throws {
        var random = SeededGenerator(seed: 4)
        let logits = (0..<5003).map { _ in Float(Int(random.nextUnit() * 12 * 64)) / 64 }
        for position in 1...20 {
            let chosen = parameters { $0.topP = Float(share) }
            let token = try sample(logits, chosen, history: [TokenID](repeating: 0, count: position)).token
            #expect(Int(token) == slowTopP(logits, Double(Float(share)), position: position))
        }
    }

    @Test func draw_withoutFilters_onALargeVocabulary_equalsASlowReading() throws {
        var random = SeededGenerator(seed: 6)
        let logits = (0..<5003).map { _ in Float(random.nextUnit() * 12) }
        for position in 1...50 {
            let history = [TokenID](repeating: 0, count: position)
            let token = try sample(logits, parameters { _ in }, history: history).token
            #expect(Int(token) == slowTopP(logits, 1, position: position))
        }
    }

    @Test func temperature_extreme_isGreedyOrFlat() throws {
        let logits = (0..<300).map { Float($0 % 100) }
        #expect(try sample(logits, parameters { $0.temperature = .leastNonzeroMagnitude }).token % 100 == 99)
        let flat = try shares([-1e38, 1e38, 0], parameters { $0.temperature = .greatestFiniteMagnitude }, draws: 300)
        #expect(flat.allSatisfy { $0 > 0.1 })
    }

    @Test func logitBias_large_decides() throws {
        let biased = parameters {
            $0.temperature = 0
            $0.logitBias = [TokenWeight(token: 0, weight: 100), TokenWeight(token: 2, weight: -100)]
        }
        #expect(try sample([1, 2, 50], biased).token == 0)
    }

    @Test func repetitionPenalty_window_looksAtPromptAndOutputs() throws {
        let penalised = parameters {
            $0.temperature = 0
            $0.repetitionPenalty = 2
            $0.repetitionWindow = 2
        }
        // Token 0 has left the window; 1 is divided, and the negative 2 multiplied.
        #expect(try sample([4, 5, -1], penalised, history: [0, 1, 2], promptCount: 2).token == 0)
        #expect(try sample([4, 5, -1], penalised, history: [1, 0, 2], promptCount: 2).token == 1)
    }

    @Test func presenceAndFrequencyPenalty_countOutputsOnly() throws {
        let presence = parameters {
            $0.temperature = 0
            $0.presencePenalty = 1.5
        }
        #expect(try sample([4, 5], presence, history: [1, 1], promptCount: 2).token == 1)
        #expect(try sample([4, 5], presence, history: [1, 1], promptCount: 1).token == 0)
        let frequency = parameters {
            $0.temperature = 0
            $0.frequencyPenalty = 0.6
        }
        #expect(try sample([4, 5], frequency, history: [0, 1], promptCount: 1).token == 1)
        #expect(try sample([4, 5], frequency, history: [0, 1, 1], promptCount: 1).token == 0)
    }

    @Test func logprobs_withPenaltiesAndBias_areThoseOfTheUnmodifiedLogits() throws {
        let reported = parameters {
            $0.temperature = 0
            $0.topLogprobs = 2
            $0.logitBias = [TokenWeight(token: 3, weight: 100)]
        }
        let logits = [0.4, 0.3, 0.2, 0.1].map { Float(log($0)) + 2 }
        let token = try sample(logits, reported)
        #expect(token.token == 3)
        #expect(abs(try #require(token.logprob) - Float(log(0.1))) < 1e-5)
        #expect(token.alternatives.map(\.token) == [0, 1])
        #expect(abs(token.alternatives[0].weight - Float(log(0.4))) < 1e-5)
        #expect(try sample(logits, .greedy).logprob == nil)
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity])
    func logits_notFinite_areAnError(value: Float) {
        #expect { try sample([1, value, 2], .greedy) } throws: { ($0 as? DejaVuError)?.code == .internalError }
    }

    @Test func parameters_outOfRange_areRefusedByName() {
        let wrong: [(String, SamplingParameters)] = [
            ("temperature", parameters { $0.temperature = -1 }), ("temperature", parameters { $0.temperature = .nan }),
            ("top_p", parameters { $0.topP = 1.5 }), ("repetition_penalty", parameters { $0.repetitionPenalty = 0 }),
            ("logit_bias", parameters { $0.logitBias = [TokenWeight(token: 10, weight: 1)] }),
            ("top_logprobs", parameters { $0.topLogprobs = 21 }),
        ]
        for (name, parameters) in wrong {
            #expect { try parameters.check(vocabularySize: 10) } throws: { ($0 as? DejaVuError)?.subject == name }
        }
    }
}

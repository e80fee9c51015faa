package import DejaVuCore

extension SamplingParameters {
    /// Checks the ranges that sampling relies on.
    ///
    /// - Throws: `.invalidArgument` naming the parameter.
    package func check(vocabularySize: Int) throws(DejaVuError) {
        func require(_ holds: Bool, _ name: String, _ wanted: String) throws(DejaVuError) {
            if !holds { throw DejaVuError(.invalidArgument, "\(name) must be \(wanted)", subject: name) }
        }
        try require(temperature >= 0 && temperature.isFinite, "temperature", "at least 0")
        try require(topK >= 0, "top_k", "at least 0")
        try require(topP >= 0 && topP <= 1, "top_p", "in 0...1")
        try require(minP >= 0 && minP <= 1, "min_p", "in 0...1")
        try require(typicalP >= 0 && typicalP <= 1, "typical_p", "in 0...1")
        try require(repetitionPenalty > 0 && repetitionPenalty.isFinite, "repetition_penalty", "above 0")
        try require(presencePenalty.isFinite, "presence_penalty", "finite")
        try require(frequencyPenalty.isFinite, "frequency_penalty", "finite")
        try require(repetitionWindow >= 0, "repetition_window", "at least 0")
        try require(topLogprobs.map { (0...20).contains($0) } ?? true, "top_logprobs", "in 0...20")
        try require(logitBias.count <= 300, "logit_bias", "at most 300 entries")
        for (index, entry) in logitBias.enumerated() {
            try require(entry.weight.isFinite, "logit_bias", "finite")
            try require(
                entry.token >= 0 && Int(entry.token) < vocabularySize, "logit_bias", "for tokens of the vocabulary")
            try require(
                index == 0 || logitBias[index - 1].token < entry.token, "logit_bias", "ascending by token, none twice")
        }
    }
}

/// Log probabilities in the two shapes that OpenAI's API has for them.
extension AnswerFormat {
    /// The chat form: one object a token, with bytes, since a token may be a part of a character.
    func writeChatLogprobs(_ json: inout JSONWriter, _ reports: ArraySlice<TokenReport>) {
        json.object {
            $0.key("content")
            $0.array(reports) { json, report in
                json.object {
                    writeCandidate(&$0, report.chosen)
                    $0.key("top_logprobs")
                    $0.array(report.alternatives) { json, candidate in json.object { writeCandidate(&$0, candidate) } }
                }
            }
            $0.keyNull("refusal")
        }
    }

    private func writeCandidate(_ json: inout JSONWriter, _ candidate: TokenReport.Candidate) {
        json.key("token")
        json.string(candidate.name)
        json.key("logprob")
        json.number(candidate.logprob)
        json.key("bytes")
        json.array(candidate.bytes) { $0.integer($1) }
    }

    /// The completion form: parallel lists.
    func writeCompletionLogprobs(_ json: inout JSONWriter, _ reports: ArraySlice<TokenReport>) {
        json.object {
            $0.key("tokens")
            $0.array(reports) { $0.string($1.chosen.name) }
            $0.key("token_logprobs")
            $0.array(reports) { $0.number($1.chosen.logprob) }
            $0.key("top_logprobs")
            $0.array(reports) { json, report in
                // The chosen token is always among them, and names that two tokens share appear once.
                var names: Set<String> = []
                let candidates = ([report.chosen] + report.alternatives).filter { names.insert($0.name).inserted }
                json.object { json in
                    for candidate in candidates {
                        json.key(text: candidate.name)
                        json.number(candidate.logprob)
                    }
                }
            }
            $0.key("text_offset")
            $0.array(reports) { $0.integer($1.startCharacters) }
        }
    }
}

extension TokenReport.Candidate {
    /// The token's text; bytes that are no whole UTF-8 are spelled as OpenAI spells them.
    var name: String {
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        return "bytes:" + bytes.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

import DejaVuCore
import DejaVuGGUF

/// The tokens that have a role of their own. The names of the keys are those of the file format.
struct SpecialRoles: Sendable {
    var beginning: TokenID?
    var end: TokenID?
    var endOfTurn: TokenID?
    var endOfMessage: TokenID?
    var unknown: TokenID?
    var fillPrefix: TokenID?
    var fillSuffix: TokenID?
    var fillMiddle: TokenID?
    var fillPad: TokenID?
    var fillRepository: TokenID?
    var fillSeparator: TokenID?

    /// Reads the roles. A number outside of the vocabulary counts as none given, as in llama.cpp: the default stays.
    init(_ file: GGUFFile, model: Vocabulary.Model, count: Int) throws(DejaVuError) {
        func role(_ keys: String..., default fallback: TokenID? = nil) throws(DejaVuError) -> TokenID? {
            var result = fallback.flatMap { Int($0) < count ? $0 : nil }
            for key in keys {
                guard let id = try file.get("tokenizer.ggml.\(key)_token_id", as: Int.self) else { continue }
                if (0..<count).contains(id) { result = TokenID(id) }
            }
            return result
        }
        let isBytePairs = model == .bytePairs
        beginning = try role("bos", default: isBytePairs ? 11 : 1)
        end = try role("eos", default: isBytePairs ? 11 : 2)
        endOfTurn = try role("eot")
        endOfMessage = try role("eom")
        unknown = try role("unknown", default: isBytePairs ? nil : 0)
        fillPrefix = try role("fim_pre", "prefix")
        fillSuffix = try role("fim_suf", "suffix")
        fillMiddle = try role("fim_mid", "middle")
        fillPad = try role("fim_pad")
        fillRepository = try role("fim_rep")
        fillSeparator = try role("fim_sep")
    }
}

extension Vocabulary {
    private static let endOfTurnTexts = [
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>",
        "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>",
    ]
    private static let endOfGenerationTexts =
        endOfTurnTexts + [
            "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "</s>", "<|eom_id|>", "[EOS]", "<eos>", "<turn|>",
            "<|tool_response>", "[e~[",
        ]

    /// Finds the tokens that end an answer, by role and by well-known texts, and marks as control tokens those that the
    /// file forgot to. Which of several tokens takes a role that the file does not give is the one with the lowest
    /// number.
    mutating func findEndOfGeneration() -> [TokenID] {
        takeRole(\.endOfTurn, Self.endOfTurnTexts)
        takeRole(\.endOfMessage, ["<|eom_id|>"])
        takeRole(
            \.fillPrefix,
            [
                "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
                "<|code_prefix|>", "<|prefix|>",
            ])
        takeRole(
            \.fillSuffix,
            [
                "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
                "<|code_suffix|>", "<|suffix|>",
            ])
        takeRole(
            \.fillMiddle,
            [
                "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>",
                "<|code_middle|>", "<|middle|>",
            ])
        takeRole(\.fillPad, ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"])
        takeRole(\.fillRepository, ["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"])
        takeRole(\.fillSeparator, ["<|file_sep|>"])

        var found = Set([roles.fillPad, roles.fillRepository, roles.fillSeparator].compactMap(\.self))
        for text in Self.endOfGenerationTexts {
            guard let token = token(text) else { continue }
            found.insert(token)
            attributes[Int(token)].insert(.control)
        }
        for text in ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"] {
            if let token = token(text) { attributes[Int(token)] = .userDefined }
        }
        found.formUnion([roles.end, roles.endOfTurn, roles.endOfMessage].compactMap(\.self))
        removeFalseEnds(&found)
        return found.sorted()
    }

    private mutating func takeRole(_ role: WritableKeyPath<SpecialRoles, TokenID?>, _ texts: [String]) {
        guard roles[keyPath: role] == nil, let token = texts.compactMap({ token($0) }).min() else { return }
        roles[keyPath: role] = token
        attributes[Int(token)].insert(.control)
    }

    /// Some vocabularies use a well-known text for something else.
    private mutating func removeFalseEnds(_ found: inout Set<TokenID>) {
        func has(_ text: String) -> Bool { token(text).map { found.contains($0) } ?? false }
        let hasCall = has("<|call|>") || has("<|calls|>")
        if hasCall, has("<|return|>") || has("<|flush|>"), has("<|end|>"), let token = token("<|end|>") {
            found.remove(token)
            attributes[Int(token)] = .userDefined
        }
        if has("<|tool_response>") || has("<|plamo:eos|>"), has("</s>"), let token = token("</s>") {
            found.remove(token)
            attributes[Int(token)] = .normal
        }
    }

    /// Attributes that files do not carry and that follow from the model's name.
    mutating func setModelAttributes(_ file: GGUFFile) throws(DejaVuError) {
        let name = (try file.get("general.name", as: String.self) ?? "").lowercased()
        guard name.contains("phi-3") || name.contains("phi3") else { return }
        for index in attributes.indices where !attributes[index].isDisjoint(with: .special) {
            attributes[index].insert(.stripsRight)
        }
        if let token = token("</s>") { attributes[Int(token)].insert(.stripsRight) }
        for text in ["<unk>", "<s>", "<|endoftext|>"] {
            if let token = token(text) { attributes[Int(token)].remove(.stripsRight) }
        }
    }
}

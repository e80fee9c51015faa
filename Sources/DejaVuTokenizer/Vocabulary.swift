import DejaVuCore
import DejaVuGGUF

/// The tokens of a model: their texts, kinds and scores, and the ones with a special role.
struct Vocabulary: Sendable {
    /// How text becomes tokens.
    enum Model: Sendable { case bytePairs, sentencePieces }

    /// More tokens than any known model has.
    static let tokenCountMax = 1 << 22
    /// More bytes than any known model's tokens or merges have.
    static let textBytesMax = 1 << 28

    let model: Model
    /// The texts as the file has them, by token.
    let texts: ByteStringIndex
    var attributes: [TokenAttributes]
    /// Empty if the file has none.
    let scores: [Float]
    var roles: SpecialRoles
    var addsBeginning: Bool
    var addsEnd: Bool
    let addsSpacePrefix: Bool
    /// A word that is a token is taken as it is, whatever the merges would make of it.
    let ignoresMerges: Bool
    let preTokenizer: PreTokenizer?
    /// Sorted.
    private(set) var endOfGeneration: [TokenID] = []

    var count: Int { texts.strings.count }

    init(_ file: GGUFFile) throws(DejaVuError) {
        let modelName = try file.require("tokenizer.ggml.model", as: String.self)
        switch modelName {
        case "gpt2": model = .bytePairs
        case "llama": model = .sentencePieces
        default:
            throw DejaVuError(
                .unsupported, "the model's tokenizer '\(modelName)' is not known; gpt2 and llama are",
                subject: "tokenizer.ggml.model")
        }
        let name = try file.get("tokenizer.ggml.pre", as: String.self) ?? ""
        let isLlama3 = ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"]
            .contains(name)
        let followsTokens = isLlama3 || name == "tekken"
        preTokenizer = model == .bytePairs ? try PreTokenizer(named: name.isEmpty ? "default" : name) : nil
        ignoresMerges = model == .bytePairs && followsTokens
        addsSpacePrefix =
            try file.get("tokenizer.ggml.add_space_prefix", as: Bool.self) ?? (model == .sentencePieces)
        let addsByDefault = model == .sentencePieces || followsTokens
        addsBeginning = try file.get("tokenizer.ggml.add_bos_token", as: Bool.self) ?? addsByDefault
        addsEnd = try file.get("tokenizer.ggml.add_eos_token", as: Bool.self) ?? false

        texts = try Self.readTexts(file)
        attributes = try Self.readAttributes(file, count: texts.strings.count)
        scores = try Self.readScores(file, count: texts.strings.count)
        roles = try SpecialRoles(file, model: model, count: texts.strings.count)
        endOfGeneration = findEndOfGeneration()
        try setModelAttributes(file)
        try checkRoles()
    }

    /// The token with exactly that text.
    func token(_ text: String) -> TokenID? {
        var text = text
        let found = text.withUTF8 { texts.find($0) }
        return found < 0 ? nil : found
    }

    func text(_ token: TokenID) -> ArraySlice<UInt8> { texts.strings[Int(token)] }

    private static func readTexts(_ file: GGUFFile) throws(DejaVuError) -> ByteStringIndex {
        let key = "tokenizer.ggml.tokens"
        let array = try file.require(key, as: MetadataArray.self)
        guard array.count > 0, array.count <= tokenCountMax else {
            throw DejaVuError(
                .invalidFile, "\(key) has \(array.count) tokens; wanted 1 to \(tokenCountMax)", subject: key)
        }
        var texts = ByteStringIndex(minimumCapacity: array.count)
        var duplicate: Int?
        var byteCount = 0
        try array.forEachString { raw in
            byteCount += raw.count
            guard byteCount <= textBytesMax else { return }
            let index = texts.strings.count
            var isNew = false
            if raw.isEmpty {
                var name = "[EMPTY_\(index)]"
                isNew = name.withUTF8 { texts.insert($0).isNew }
            } else {
                isNew = raw.withMemoryRebound(to: UInt8.self) { texts.insert($0).isNew }
            }
            if !isNew {
                duplicate = duplicate ?? index
                texts.appendUnfindable()
            }
        }
        guard byteCount <= textBytesMax else {
            throw DejaVuError(
                .invalidFile, "\(key) has \(byteCount) bytes; at most \(textBytesMax) are allowed", subject: key)
        }
        if let duplicate {
            throw DejaVuError(.invalidFile, "\(key)[\(duplicate)] has the text of an earlier token", subject: key)
        }
        return texts
    }

    private static func readAttributes(_ file: GGUFFile, count: Int) throws(DejaVuError) -> [TokenAttributes] {
        let key = "tokenizer.ggml.token_type"
        guard let types = try file.get(key, as: [Int].self) else {
            return [TokenAttributes](repeating: .normal, count: count)
        }
        guard types.count >= count else {
            throw DejaVuError(
                .invalidFile, "\(key) has \(types.count) elements for \(count) tokens", subject: key)
        }
        return types.prefix(count).map { TokenAttributes(type: $0) }
    }

    private static func readScores(_ file: GGUFFile, count: Int) throws(DejaVuError) -> [Float] {
        let key = "tokenizer.ggml.scores"
        guard let array = try file.get(key, as: MetadataArray.self) else { return [] }
        let scores = array.elementType == .int32 ? try array.integers().map { Float($0) } : try array.floats()
        guard scores.count >= count else {
            throw DejaVuError(
                .invalidFile, "\(key) has \(scores.count) elements for \(count) tokens", subject: key)
        }
        if let bad = scores.firstIndex(where: \.isNaN) {
            throw DejaVuError(.invalidFile, "\(key)[\(bad)] is not a number", subject: key)
        }
        return Array(scores.prefix(count))
    }

    private func checkRoles() throws(DejaVuError) {
        if addsBeginning, roles.beginning == nil {
            throw DejaVuError(
                .invalidFile, "texts begin with a token that the vocabulary does not have",
                subject: "tokenizer.ggml.bos_token_id")
        }
        if addsEnd, roles.end == nil {
            throw DejaVuError(
                .invalidFile, "texts end with a token that the vocabulary does not have",
                subject: "tokenizer.ggml.eos_token_id")
        }
    }
}

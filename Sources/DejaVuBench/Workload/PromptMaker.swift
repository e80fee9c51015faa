import DejaVuCore

/// Makes prompts of a wanted number of tokens, each with other content, so that no cache of the server helps.
package struct PromptMaker: Sendable {
    enum Material: Sendable {
        /// Ids of ordinary tokens, for prompts as token arrays: the count is exact.
        case tokens([Int])
        /// Words of which each is one token; the template around them adds `overhead`.
        case words([String], overhead: Int)
        /// Words that have so many tokens on average.
        case estimated([String], tokensPerWord: Double, overhead: Int)
    }

    let material: Material

    /// Whether prompts have exactly the wanted number of tokens.
    package var isExact: Bool {
        if case .estimated = material { false } else { true }
    }

    func prompt(tokenCount: Int, seed: UInt64) -> RequestBody.Prompt {
        var generator = SeededGenerator(seed: seed)
        switch material {
        case .tokens(let pool):
            return .tokens((0..<tokenCount).map { _ in pool[generator.next(below: pool.count)] })
        case .words(let words, let overhead):
            return .text(Self.text(words, count: max(1, tokenCount - overhead), &generator))
        case .estimated(let words, let tokensPerWord, let overhead):
            let count = Int((Double(tokenCount - overhead) / max(tokensPerWord, 0.1)).rounded())
            return .text(Self.text(words, count: max(1, count), &generator))
        }
    }

    private static func text(_ words: [String], count: Int, _ generator: inout SeededGenerator) -> String {
        (0..<count).map { _ in words[generator.next(below: words.count)] }.joined(separator: " ")
    }

    /// Finds out how this server counts tokens.
    ///
    /// - Throws: `DejaVuError` if it does not answer or refuses even a short prompt.
    static func learn(_ server: ServerClient, _ body: RequestBody) async throws -> PromptMaker {
        let words = Self.commonWords.split(separator: " ").map(String.init)
        if body.endpoint == .completions {
            if let tokens = try await server.tokenize(Self.commonWords, model: body.model), tokens.count >= 16 {
                return PromptMaker(material: .tokens(tokens))
            }
        } else if let exact = try await exactWords(words, server, body) {
            return PromptMaker(material: exact)
        }
        return PromptMaker(material: try await estimate(words, server, body))
    }

    private static func exactWords(_ words: [String], _ server: ServerClient, _ body: RequestBody) async throws
        -> Material?
    {
        // A word counts if it is one token at the start of a text and one token after another word.
        guard try await server.tokenize("the", model: body.model) != nil else { return nil }
        var single: [String] = []
        for word in words where single.count < 96 {
            if try await server.tokenize("\(word) \(word)", model: body.model)?.count == 2 { single.append(word) }
        }
        guard single.count >= 16 else { return nil }
        guard let short = try await count(single, 8, server, body),
            let long = try await count(single, 72, server, body),
            long - short == 64
        else { return nil }
        return .words(single, overhead: short - 8)
    }

    private static func estimate(_ words: [String], _ server: ServerClient, _ body: RequestBody) async throws
        -> Material
    {
        guard let short = try await count(words, 8, server, body), let long = try await count(words, 72, server, body),
            long > short
        else { return .estimated(words, tokensPerWord: 1.3, overhead: 0) }
        let tokensPerWord = Double(long - short) / 64
        return .estimated(
            words, tokensPerWord: tokensPerWord, overhead: max(0, short - Int((tokensPerWord * 8).rounded())))
    }

    private static func count(_ words: [String], _ count: Int, _ server: ServerClient, _ body: RequestBody) async throws
        -> Int?
    {
        var generator = SeededGenerator(seed: 1)
        let json = body.json(
            .text(text(words, count: count, &generator)), outputTokenCount: 1, seed: 1, streams: false)
        return try await server.promptTokenCount(body.endpoint, body: json)
    }

    /// Everyday words, which every vocabulary for English has.
    static let commonWords = """
        the of and to in is that it was for on are with as his they be at one have this from or had by word but what \
        some we can out other were all there when up use your how said an each she which do their time if will way \
        about many then them write would like so these her long make thing see him two has look more day could go come \
        did number sound no most people my over know water than call first who may down side been now find any new \
        work part take get place made live where after back little only round man year came show every good me give \
        our under name very through just form sentence great think say help low line differ turn cause much mean \
        before move right boy old too same tell does set three want air well also play small end put home read hand \
        port large spell add even land here must big high such follow act why ask men change went light kind off need \
        house picture try us again animal point mother world near build self earth father head stand own page should \
        country found answer school grow study still learn plant cover food sun four between state keep eye never last \
        let thought city tree cross farm hard start might story saw far sea draw left late run while press close night \
        real life few north open seem together next white children begin got walk example ease paper group always music
        """
}

import DejaVuCore

/// Cuts a text into the words that byte-pair encoding looks at one by one.
///
/// Each family has its own regular expressions for it. They are written out as state machines over character classes
/// (the expressions stand in the comments); several of them are applied one after the other, each to the parts that
/// the one before has left.
struct PreTokenizer: Sendable {
    /// One regular expression, applied to one part.
    enum Stage: Sendable, Hashable {
        /// Matches of a simple class stand alone, what lies between them too.
        case isolate(Isolated)
        /// GPT-2's words.
        case gpt2
        /// Llama 3's words and those of its relatives.
        case llama3(WordRules)
        /// Words that end where upper case follows lower case, as in Mistral Nemo and GPT-4o.
        case cased(WordRules)
    }

    /// A run of characters of one class.
    enum Isolated: Sendable, Hashable {
        /// `\p{N}`
        case number
        /// `\p{N}+`
        case numberRun
        /// `[0-9][0-9][0-9]`
        case threeDigits
        /// `[\p{P}\$\+<=>\^~\|]+`, and `` ` `` for Falcon
        case punctuationRun(withBacktick: Bool)
        /// `[\r\n]`
        case lineBreak
        /// `\s?\p{L}+`
        case letterRun
        /// `\s?\p{P}+`
        case plainPunctuationRun
        /// `[一-龥ࠀ-一가-퟿]+`
        case eastAsianRun
    }

    /// Where the relatives of a pattern differ.
    struct WordRules: Sendable, Hashable {
        /// The most numbers in a word.
        var numbers = 3
        /// Whether combining marks belong to words as letters do.
        var marksAreLetters = false
        /// Whether `'s`, `'re` and so on are words, or for cased words, their ends.
        var contractions = true
    }

    let stages: [Stage]

    /// The pre-tokenizer that a model names in `tokenizer.ggml.pre`.
    init(named name: String) throws(DejaVuError) {
        guard let stages = Self.stages(of: name) else {
            throw DejaVuError(
                .unsupported, "the model's pre-tokenizer '\(name)' is not known", subject: "tokenizer.ggml.pre")
        }
        self.stages = stages
    }

    private static func stages(of name: String) -> [Stage]? {
        switch name {
        case "default":
            [
                .isolate(.punctuationRun(withBacktick: false)), .gpt2, .isolate(.numberRun), .isolate(.threeDigits),
            ]
        case "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2":
            [.isolate(.number), .gpt2]
        case "gpt-2", "phi-2", "exaone4", "gigachat", "mellum", "a.x-4.0", "mpt", "olmo", "jais", "trillion",
            "granite-docling":
            [.gpt2]
        case "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "dbrx",
            "smaug-bpe":
            [.llama3(WordRules())]
        case "qwen2", "deepseek-r1-qwen", "megrez", "kormo", "stablelm2", "hunyuan", "solar-open", "grok-2":
            [.llama3(WordRules(numbers: 1))]
        case "qwen35": [.llama3(WordRules(numbers: 1, marksAreLetters: true))]
        case "tekken": [.cased(WordRules(numbers: 1, contractions: false))]
        case "gpt-4o", "llama4": [.cased(WordRules())]
        case "falcon": [.isolate(.punctuationRun(withBacktick: true)), .gpt2, .isolate(.threeDigits)]
        case "deepseek-coder":
            [
                .isolate(.lineBreak), .isolate(.letterRun), .isolate(.plainPunctuationRun), .isolate(.eastAsianRun),
                .isolate(.number),
            ]
        default: nil
        }
    }

    /// Where each word ends, as indices into `units`, in order; the last is the number of units.
    func wordEnds(_ units: UnsafeBufferPointer<CharacterUnit>) -> [Int] {
        guard !units.isEmpty else { return [] }
        var ends = [units.count]
        for stage in stages {
            var finer: [Int] = []
            finer.reserveCapacity(max(ends.count, units.count / 4))
            var start = 0
            for end in ends {
                let part = TextPart(units: units, start: start, end: end)
                switch stage {
                case .isolate(let isolated): part.isolate(isolated, into: &finer)
                case .gpt2: part.splitAsGPT2(into: &finer)
                case .llama3(let rules): part.splitAsLlama3(rules, into: &finer)
                case .cased(let rules): part.splitAtCases(rules, into: &finer)
                }
                start = end
            }
            ends = finer
        }
        return ends
    }
}

/// A part of a text that one stage looks at. Nothing beyond its ends is seen.
struct TextPart {
    let units: UnsafeBufferPointer<CharacterUnit>
    let start: Int
    let end: Int

    subscript(_ position: Int) -> CharacterUnit { position < end ? units[position] : .end }

    /// The length of the contraction at an apostrophe, or 0: `'s`, `'t`, `'m`, `'d`, `'re`, `'ve`, `'ll`.
    func contraction(at position: Int, ignoringCase: Bool) -> Int {
        guard self[position].is("'") else { return 0 }
        let first = ignoringCase ? self[position + 1].lowercasedASCII : self[position + 1].code
        switch first {
        case 0x73, 0x74, 0x6D, 0x64: return 2
        case 0x72, 0x76, 0x6C: break
        default: return 0
        }
        let second = ignoringCase ? self[position + 2].lowercasedASCII : self[position + 2].code
        return second == (first == 0x6C ? 0x6C : 0x65) ? 3 : 0
    }

    /// Where the run of characters that `matches` accepts ends.
    func run(from position: Int, _ matches: (CharacterUnit) -> Bool) -> Int {
        var position = position
        while position < end, matches(units[position]) { position += 1 }
        return position
    }

    /// The end of the whitespace at a position: `\s+(?!\S)|\s+`. The last of several before a word belongs to the word.
    func whitespaceEnd(at position: Int) -> Int {
        let stop = run(from: position) { $0.isWhitespace }
        return stop - position > 1 && stop < end ? stop - 1 : stop
    }

    /// The end of `\s*[\r\n]+`, or nil if there is no line break in the whitespace.
    func lineBreakEnd(at position: Int) -> Int? {
        var last: Int?
        var position = position
        while self[position].isWhitespace {
            position += 1
            if units[position - 1].isLineBreak { last = position }
        }
        return last
    }
}

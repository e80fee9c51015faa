import DejaVuCore
import DejaVuGGUF

/// Byte-level byte-pair encoding: words of bytes to tokens, by a table of merges.
///
/// Works on bytes instead of the spelling that vocabularies use for them, which is one to one. Symbols below
/// `tokenCount` are tokens; those above appear in merges only.
struct BytePairEncoder: Sendable {
    private var symbols: ByteStringIndex
    private var merges: MergeTable
    private var byteSymbols: [Int32] = []
    private let tokenCount: Int32
    private let isControl: [Bool]
    private let preTokenizer: PreTokenizer
    private let ignoresMerges: Bool

    init(_ vocabulary: Vocabulary, _ file: GGUFFile) throws(DejaVuError) {
        guard let preTokenizer = vocabulary.preTokenizer else { preconditionFailure("no pre-tokenizer") }
        self.preTokenizer = preTokenizer
        ignoresMerges = vocabulary.ignoresMerges
        isControl = vocabulary.attributes.map { $0.contains(.control) }
        tokenCount = Int32(vocabulary.count)
        var symbols = ByteStringIndex(minimumCapacity: vocabulary.count)
        vocabulary.texts.strings.bytes.withUnsafeBufferPointer { bytes in
            for index in 0..<vocabulary.count {
                let text = UnsafeBufferPointer(rebasing: bytes[vocabulary.texts.strings.range(index)])
                if let decoded = ByteLevel.decode(text) {
                    _ = decoded.withUnsafeBufferPointer { symbols.insert($0) }
                } else {
                    symbols.appendUnfindable()
                }
            }
        }
        byteSymbols = (0...255).map { byte in
            withUnsafePointer(to: UInt8(byte)) { symbols.insert(UnsafeBufferPointer(start: $0, count: 1)).index }
        }
        let list = try Self.mergeList(file)
        var merges = MergeTable(capacity: list.count)
        var rank: UInt32 = 0
        try list.forEachString { raw in
            defer { rank += 1 }
            raw.withMemoryRebound(to: UInt8.self) { merge in
                // A merge is two strings with a space between; the first one is not empty.
                guard let space = merge.dropFirst().firstIndex(of: 0x20),
                    let left = ByteLevel.decode(UnsafeBufferPointer(rebasing: merge[..<space])),
                    let right = ByteLevel.decode(UnsafeBufferPointer(rebasing: merge[(space + 1)...])),
                    !right.isEmpty
                else { return }
                let leftID = left.withUnsafeBufferPointer { symbols.insert($0).index }
                let rightID = right.withUnsafeBufferPointer { symbols.insert($0).index }
                let result = (left + right).withUnsafeBufferPointer { symbols.insert($0).index }
                merges.insert(leftID, rightID, MergeTable.Merge(rank: rank, result: result))
            }
        }
        self.symbols = symbols
        self.merges = merges
    }

    private static func mergeList(_ file: GGUFFile) throws(DejaVuError) -> MetadataArray {
        let key = "tokenizer.ggml.merges"
        let list = try file.require(key, as: MetadataArray.self)
        var byteCount = 0
        try list.forEachString { byteCount += $0.count }
        guard list.count <= Vocabulary.tokenCountMax, byteCount <= Vocabulary.textBytesMax else {
            throw DejaVuError(
                .invalidFile,
                "\(key) has \(list.count) merges in \(byteCount) bytes; at most \(Vocabulary.tokenCountMax) in "
                    + "\(Vocabulary.textBytesMax) are allowed", subject: key)
        }
        return list
    }

    /// Appends the tokens of a text without special tokens. About `admitsControl` see `Tokenizer.encode(pieces:)`.
    func encode(_ text: UnsafeBufferPointer<UInt8>, admitsControl: Bool, into output: inout [TokenID]) {
        let characters = CharacterText(decoding: text)
        var queue = MergeQueue()
        characters.units.withUnsafeBufferPointer { units in
            characters.bytes.withUnsafeBufferPointer { bytes in
                var unit = 0
                var start = 0
                for wordEnd in preTokenizer.wordEnds(units) {
                    var end = start
                    while unit < wordEnd {
                        end += units[unit].byteCount
                        unit += 1
                    }
                    encodeWord(UnsafeBufferPointer(rebasing: bytes[start..<end]), &queue, admitsControl, &output)
                    start = end
                }
            }
        }
    }

    private func encodeWord(
        _ word: UnsafeBufferPointer<UInt8>, _ queue: inout MergeQueue, _ admitsControl: Bool,
        _ output: inout [TokenID]
    ) {
        if ignoresMerges {
            let whole = symbols.find(word)
            if whole >= 0, whole < tokenCount, admitsControl || !isControl[Int(whole)] {
                output.append(whole)
                return
            }
        }
        queue.removeAll()
        for (index, byte) in word.enumerated() {
            queue.append(id: byteSymbols[Int(byte)], start: index, length: 1)
        }
        queue.run { merges.find($0.id, $1.id) }
        for symbol in queue.symbols where symbol.length > 0 { emit(symbol.id, admitsControl, &output) }
    }

    /// Appends a symbol's token. For a symbol that is none llama.cpp looks up the single bytes of its spelling, so that
    /// only the printable ones of ASCII have a token; the others are lost there and here.
    private func emit(_ symbol: Int32, _ admitsControl: Bool, _ output: inout [TokenID]) {
        let isToken = symbol < tokenCount
        if isToken, admitsControl || !isControl[Int(symbol)] {
            output.append(symbol)
            return
        }
        for byte in symbols.strings[Int(symbol)] where isToken || (0x21...0x7E).contains(byte) {
            let single = byteSymbols[Int(byte)]
            if single < tokenCount, admitsControl || !isControl[Int(single)] { output.append(single) }
        }
    }
}

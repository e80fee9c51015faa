import DejaVuCore

/// Finds tokens that stand in a text as they are spelled, before anything else looks at it.
///
/// As in llama.cpp longer tokens come first and of equal ones the leftmost: a token is found where no longer one has
/// taken any of its bytes. One walk over the text finds all candidates in a trie.
struct SpecialTokens: Sendable {
    /// A part of a text: a special token, or plain text.
    enum Fragment: Hashable, Sendable {
        case token(TokenID)
        case text(Range<Int>)
    }

    /// Known models have 100 kB.
    private static let textBytesMax = 1 << 24
    /// How many special tokens may begin with each other: `<`, `<|`, `<|a`, … Known models have runs of 31 spaces. It
    /// bounds what a long text can cost.
    private static let nestingMax = 64

    /// By length of text, the longest first.
    private var tokens: [TokenID] = []
    private var attributes: [TokenAttributes] = []
    /// Edges of the trie: (node, byte) to node. Node 0 is the root.
    private var edges: MergeTable
    private var lengths: [Int] = []
    /// For each node, which of `tokens` ends there, or -1.
    private var order: [Int] = [-1]
    private var mayStart = [Bool](repeating: false, count: 256)

    init(_ vocabulary: Vocabulary) throws(DejaVuError) {
        tokens = vocabulary.attributes.indices
            .filter { !vocabulary.attributes[$0].isDisjoint(with: .special) }
            .map { (length: vocabulary.text(TokenID($0)).count, token: TokenID($0)) }
            .sorted { ($1.length, $0.token) < ($0.length, $1.token) }
            .map(\.token)
        attributes = tokens.map { vocabulary.attributes[Int($0)] }
        lengths = tokens.map { vocabulary.text($0).count }
        let textBytes = lengths.reduce(0, +)
        guard textBytes <= Self.textBytesMax else {
            throw DejaVuError(
                .invalidFile, "the special tokens have \(textBytes) bytes; at most \(Self.textBytesMax) are allowed",
                subject: "tokenizer.ggml.tokens")
        }
        edges = MergeTable(capacity: textBytes)
        // Short ones first, so that each finds the ones that it begins with.
        for (index, token) in tokens.enumerated().reversed() {
            var nesting = 0
            let text = vocabulary.text(token)
            if let first = text.first { mayStart[Int(first)] = true }
            var node: Int32 = 0
            for byte in text {
                let found = edges.find(node, Int32(byte))
                if found.rank == .max {
                    let new = Int32(order.count)
                    edges.insert(node, Int32(byte), MergeTable.Merge(rank: 0, result: new))
                    order.append(-1)
                    node = new
                } else {
                    node = found.result
                    nesting += order[Int(node)] >= 0 ? 1 : 0
                }
            }
            order[Int(node)] = index
            guard nesting < Self.nestingMax else {
                throw DejaVuError(
                    .invalidFile, "more than \(Self.nestingMax) special tokens begin with each other",
                    subject: "tokenizer.ggml.tokens")
            }
        }
    }

    /// Cuts a text at its special tokens.
    ///
    /// Control tokens count only inside one of `regions`, which are in order and apart; user-defined ones everywhere.
    func partition(_ text: UnsafeBufferPointer<UInt8>, controlIn regions: [Range<Int>]) -> [Fragment] {
        let starts = starts(text, controlIn: regions)
        guard !starts.isEmpty else { return text.isEmpty ? [] : [.text(0..<text.count)] }
        var isTaken = [Bool](repeating: false, count: text.count)
        var found: [(range: Range<Int>, order: Int)] = []
        for order in starts.indices {
            for start in starts[order].lazy.map({ Int($0) }) {
                var end = start + lengths[order]
                guard !isTaken[start..<end].contains(true) else { continue }
                if attributes[order].contains(.stripsRight) {
                    while end < text.count, !isTaken[end], Self.isSpace(text[end]) { end += 1 }
                }
                for position in start..<end { isTaken[position] = true }
                found.append((start..<end, order))
            }
        }
        found.sort { $0.range.lowerBound < $1.range.lowerBound }
        var fragments: [Fragment] = []
        var position = 0
        for match in found {
            if position < match.range.lowerBound { fragments.append(.text(position..<match.range.lowerBound)) }
            fragments.append(.token(tokens[match.order]))
            position = match.range.upperBound
        }
        if position < text.count { fragments.append(.text(position..<text.count)) }
        return fragments
    }

    /// For each of `tokens` where it is spelled in the text, in order; empty if none is.
    private func starts(_ text: UnsafeBufferPointer<UInt8>, controlIn regions: [Range<Int>]) -> [[Int32]] {
        var starts: [[Int32]] = []
        var regions = regions[...]
        for start in 0..<text.count where mayStart[Int(text[start])] {
            while let first = regions.first, first.upperBound <= start { regions.removeFirst() }
            let regionEnd = regions.first.flatMap { $0.contains(start) ? $0.upperBound : nil } ?? start
            var node: Int32 = 0
            var end = start
            while end < text.count {
                let edge = edges.find(node, Int32(text[end]))
                guard edge.rank != .max else { break }
                node = edge.result
                end += 1
                let index = order[Int(node)]
                guard index >= 0 else { continue }
                let isControl = !attributes[index].isDisjoint(with: [.control, .unknown])
                guard !isControl || end <= regionEnd else { continue }
                if starts.isEmpty { starts = [[Int32]](repeating: [], count: tokens.count) }
                starts[index].append(Int32(start))
            }
        }
        return starts
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (9...13).contains(byte) }
}

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

    private struct Candidate {
        let order: Int
        let range: Range<Int>
    }

    /// By length of text, the longest first.
    private var tokens: [TokenID] = []
    private var attributes: [TokenAttributes] = []
    /// Edges of the trie: (node, byte) to node. Node 0 is the root.
    private var edges: MergeTable
    /// For each node, which of `tokens` ends there, or -1.
    private var order: [Int] = [-1]
    private var mayStart = [Bool](repeating: false, count: 256)

    init(_ vocabulary: Vocabulary) {
        tokens = vocabulary.attributes.indices
            .filter { !vocabulary.attributes[$0].isDisjoint(with: .special) }
            .map { (length: vocabulary.text(TokenID($0)).count, token: TokenID($0)) }
            .sorted { ($1.length, $0.token) < ($0.length, $1.token) }
            .map(\.token)
        attributes = tokens.map { vocabulary.attributes[Int($0)] }
        edges = MergeTable(capacity: tokens.reduce(0) { $0 + vocabulary.text($1).count })
        for (index, token) in tokens.enumerated() {
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
                }
            }
            order[Int(node)] = index
        }
    }

    /// Cuts a text at its special tokens.
    ///
    /// Control tokens count only inside one of `regions`, which are in order and apart; user-defined ones everywhere.
    func partition(_ text: UnsafeBufferPointer<UInt8>, controlIn regions: [Range<Int>]) -> [Fragment] {
        let candidates = candidates(text, controlIn: regions)
        guard !candidates.isEmpty else { return text.isEmpty ? [] : [.text(0..<text.count)] }
        var isTaken = [Bool](repeating: false, count: text.count)
        var found: [(range: Range<Int>, order: Int)] = []
        let sorted = candidates.sorted { ($0.order, $0.range.lowerBound) < ($1.order, $1.range.lowerBound) }
        for candidate in sorted where !isTaken[candidate.range].contains(true) {
            var end = candidate.range.upperBound
            if attributes[candidate.order].contains(.stripsRight) {
                while end < text.count, !isTaken[end], Self.isSpace(text[end]) { end += 1 }
            }
            let range = candidate.range.lowerBound..<end
            for position in range { isTaken[position] = true }
            found.append((range, candidate.order))
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

    private func candidates(_ text: UnsafeBufferPointer<UInt8>, controlIn regions: [Range<Int>]) -> [Candidate] {
        var candidates: [Candidate] = []
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
                if !isControl || end <= regionEnd { candidates.append(Candidate(order: index, range: start..<end)) }
            }
        }
        return candidates
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (9...13).contains(byte) }
}

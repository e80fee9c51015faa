/// Lets text through up to the first stop string, of which no part ever shows.
///
/// What might be the beginning of a stop string is held back until it is clear that it is none.
package struct StopScanner: Hashable, Sendable {
    private let stops: [[UInt8]]
    private var held: [UInt8] = []

    /// - Parameter stops: whole UTF-8, none empty.
    package init(stops: [[UInt8]]) {
        precondition(stops.allSatisfy { !$0.isEmpty }, "an empty stop string would stop everything")
        self.stops = stops
    }

    /// Bytes that are held back.
    package var heldCount: Int { held.count }

    /// Appends what may be shown.
    ///
    /// - Returns: whether a stop string was found; nothing may be pushed after that.
    package mutating func push(_ text: [UInt8], into output: inout [UInt8]) -> Bool {
        guard !stops.isEmpty else {
            output += text
            return false
        }
        held += text
        if let start = firstStop() {
            output += held[..<start]
            held.removeAll()
            return true
        }
        let kept = longestSuffixThatStartsAStop()
        output += held.dropLast(kept)
        held.removeFirst(held.count - kept)
        return false
    }

    /// Appends what was held back: the text ended and no stop string came of it.
    package mutating func finish(into output: inout [UInt8]) {
        output += held
        held.removeAll()
    }

    /// Where the earliest stop string in the held text starts.
    private func firstStop() -> Int? {
        for start in held.indices {
            let rest = held[start...]
            if stops.contains(where: { rest.starts(with: $0) }) { return start }
        }
        return nil
    }

    private func longestSuffixThatStartsAStop() -> Int {
        let longest = min(held.count, (stops.map(\.count).max() ?? 0) - 1)
        for count in stride(from: longest, to: 0, by: -1) {
            let suffix = held.suffix(count)
            if stops.contains(where: { $0.count > count && $0.starts(with: suffix) }) { return count }
        }
        return 0
    }
}

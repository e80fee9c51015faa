/// The `id` of a server-sent event: the answer and how much of it a client has with this event.
///
/// For each choice the number of its events so far, and behind these the number of events that belong to no choice.
/// What has not begun is left out at the end. The numbers do not depend on how the events of several choices
/// interleave, so an id stays true for whoever makes the same choices again.
struct EventID: Hashable, Sendable {
    let answer: String
    let counts: [Int]

    /// Reads what a client sends as `Last-Event-ID`.
    ///
    /// - Returns: nil if it was never one of ours.
    init?(_ text: String) {
        guard text.utf8.count <= Self.bytesMax, let colon = text.lastIndex(of: ":") else { return nil }
        let parts = text[text.index(after: colon)...].split(separator: "-", omittingEmptySubsequences: false)
        var counts: [Int] = []
        for part in parts {
            guard part.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let count = Int32(part)
            else { return nil }
            counts.append(Int(count))
        }
        answer = String(text[..<colon])
        self.counts = counts
    }

    /// Longer than any that the limit on choices allows.
    private static let bytesMax = 1024

    /// Appends the numbers, zeros at the end left out.
    static func append(_ counts: [Int], to bytes: inout [UInt8]) {
        let last = counts.lastIndex { $0 > 0 } ?? 0
        for index in 0...last {
            if index > 0 { bytes.append(UInt8(ascii: "-")) }
            appendDecimal(counts[index], to: &bytes)
        }
    }

    private static func appendDecimal(_ number: Int, to bytes: inout [UInt8]) {
        if number >= 10 { appendDecimal(number / 10, to: &bytes) }
        bytes.append(UInt8(ascii: "0") + UInt8(number % 10))
    }
}

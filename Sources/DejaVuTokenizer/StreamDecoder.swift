package import DejaVuCore

/// Turns a stream of bytes that is cut anywhere into text, of which each part is whole UTF-8.
///
/// The start of a character is held back until the rest arrives, at most three bytes. What can never become a character
/// becomes U+FFFD at once, and what is held back at the end does in `finish()`.
package struct StreamDecoder: Sendable {
    private var held: [UInt8] = []

    package init() {}

    /// Adds bytes and returns the text that they complete, perhaps none.
    package mutating func append(_ bytes: some Sequence<UInt8>) -> String {
        held.append(contentsOf: bytes)
        let incomplete = Self.incompleteSuffixLength(held)
        let text = String(decoding: held.dropLast(incomplete), as: UTF8.self)
        held.removeFirst(held.count - incomplete)
        return text
    }

    /// Ends the stream. The decoder is then as new.
    package mutating func finish() -> String {
        defer { held.removeAll() }
        return String(decoding: held, as: UTF8.self)
    }

    /// Whether the start of a character waits for its rest.
    package var isHolding: Bool { !held.isEmpty }

    /// How many bytes at the end begin a character that further bytes could complete (Unicode, table 3-7).
    private static func incompleteSuffixLength(_ bytes: [UInt8]) -> Int {
        for length in 1...3 where length <= bytes.count {
            let start = bytes.count - length
            let first = bytes[start]
            if first & 0xC0 == 0x80 { continue }
            let wanted =
                switch first {
                case 0xC2...0xDF: 2
                case 0xE0...0xEF: 3
                case 0xF0...0xF4: 4
                default: 1
                }
            guard length < wanted else { return 0 }
            return length == 1 || secondBytes(of: first).contains(bytes[start + 1]) ? length : 0
        }
        return 0
    }

    /// The second bytes that may follow a first one: not all may, for there would be overlong forms and surrogates.
    private static func secondBytes(of first: UInt8) -> ClosedRange<UInt8> {
        switch first {
        case 0xE0: 0xA0...0xBF
        case 0xED: 0x80...0x9F
        case 0xF0: 0x90...0xBF
        case 0xF4: 0x80...0x8F
        default: 0x80...0xBF
        }
    }
}

extension StreamDecoder {
    /// Adds a token's bytes; hidden tokens have none.
    package mutating func append(_ token: TokenID, of tokenizer: Tokenizer) -> String {
        tokenizer.isHidden(token) ? "" : append(tokenizer.bytes(of: token))
    }
}

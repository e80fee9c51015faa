/// What kind of token one is. A token may be of several kinds: control tokens that were not marked as such are mended.
struct TokenAttributes: OptionSet, Sendable {
    let rawValue: UInt8
    init(rawValue: UInt8) { self.rawValue = rawValue }

    static let unknown = TokenAttributes(rawValue: 1)
    static let unused = TokenAttributes(rawValue: 2)
    static let normal = TokenAttributes(rawValue: 4)
    /// Never made from plain text, and without text of its own in an answer.
    static let control = TokenAttributes(rawValue: 8)
    /// Recognised in any text before all else.
    static let userDefined = TokenAttributes(rawValue: 16)
    static let byte = TokenAttributes(rawValue: 32)
    /// Swallows the whitespace behind it.
    static let stripsRight = TokenAttributes(rawValue: 64)

    /// The kinds that are looked for in a text as they are spelled.
    static let special: TokenAttributes = [.control, .userDefined, .unknown]

    /// From a number in `tokenizer.ggml.token_type`.
    init(type: Int) {
        switch type {
        case 1: self = .normal
        case 2: self = .unknown
        case 3: self = .control
        case 4: self = .userDefined
        case 5: self = .unused
        case 6: self = .byte
        default: self = []
        }
    }
}

/// A character of a text as pre-tokenizers see it, packed in 32 bits: code point, class, and length in UTF-8.
struct CharacterUnit {
    private let bits: UInt32

    init(code: UInt32, classOf table: CharacterClassTable, byteCount: Int) {
        bits = code | table[code] << 21 | UInt32(byteCount - 1) << 24
    }

    /// What stands behind the end of the text: no code point and no class.
    static let end = CharacterUnit(bits: 0x1F_FFFF | 7 << 21)
    private init(bits: UInt32) { self.bits = bits }

    var code: UInt32 { bits & 0x1F_FFFF }
    var byteCount: Int { Int(bits >> 24) + 1 }
    var isEnd: Bool { bits == Self.end.bits }

    var isLetter: Bool { isOf(.letter) }
    var isNumber: Bool { isOf(.number) }
    var isWhitespace: Bool { isOf(.whitespace) }
    var isMark: Bool { isOf(.mark) }
    func isOf(_ wanted: CharacterClass) -> Bool { bits >> 21 & 7 == wanted.rawValue }

    /// Neither whitespace, letter nor number, nor the end.
    var isOther: Bool { 0b0111_0001 >> (bits >> 21 & 7) & 1 == 1 }
    var isLineBreak: Bool { code == 0x0A || code == 0x0D }
    func `is`(_ character: Unicode.Scalar) -> Bool { code == character.value }
    /// The code point with A-Z made lower case.
    var lowercasedASCII: UInt32 { (0x41...0x5A).contains(code) ? code + 32 : code }
}

/// A text as characters, for pre-tokenizing.
struct CharacterText {
    /// The text in UTF-8. Differs from what was given where that was malformed.
    private(set) var bytes: [UInt8] = []
    private(set) var units: [CharacterUnit] = []

    /// Decodes bytes that may be malformed in the way that llama.cpp does, which decides on the tokens: overlong forms
    /// mean their character, surrogates stay, and each byte that begins nothing becomes U+FFFD.
    ///
    /// There the process ends on code points beyond U+10FFFF; here their bytes become U+FFFD.
    init(decoding input: UnsafeBufferPointer<UInt8>) {
        let table = CharacterClassTable.shared
        bytes.reserveCapacity(input.count)
        units.reserveCapacity(input.count)
        var offset = 0
        while offset < input.count {
            let first = input[offset]
            if first < 0x80 {
                bytes.append(first)
                units.append(CharacterUnit(code: UInt32(first), classOf: table, byteCount: 1))
                offset += 1
                continue
            }
            let (code, length) = Self.decode(input, offset)
            let start = bytes.count
            Self.append(code, to: &bytes)
            units.append(CharacterUnit(code: code, classOf: table, byteCount: bytes.count - start))
            offset += length
        }
    }

    /// The code point that starts at a byte of 0x80 or more, and how many bytes it takes.
    private static func decode(_ input: UnsafeBufferPointer<UInt8>, _ offset: Int) -> (code: UInt32, length: Int) {
        let first = input[offset]
        let length =
            switch first {
            case 0xC0...0xDF: 2
            case 0xE0...0xEF: 3
            case 0xF0...0xF7: 4
            default: 1
            }
        guard length > 1, offset + length <= input.count else { return (0xFFFD, 1) }
        var code = UInt32(first) & (0x7F >> UInt32(length))
        for position in offset + 1..<offset + length {
            guard input[position] & 0xC0 == 0x80 else { return (0xFFFD, 1) }
            code = code << 6 | UInt32(input[position] & 0x3F)
        }
        return code < 0x110000 ? (code, length) : (0xFFFD, 1)
    }

    private static func append(_ code: UInt32, to bytes: inout [UInt8]) {
        func continuation(_ shift: UInt32) -> UInt8 { 0x80 | UInt8(code >> shift & 0x3F) }
        switch code {
        case 0..<0x80: bytes.append(UInt8(code))
        case 0x80..<0x800:
            bytes.append(0xC0 | UInt8(code >> 6))
            bytes.append(continuation(0))
        case 0x800..<0x10000:
            bytes.append(0xE0 | UInt8(code >> 12))
            bytes.append(continuation(6))
            bytes.append(continuation(0))
        default:
            bytes.append(0xF0 | UInt8(code >> 18))
            bytes.append(continuation(12))
            bytes.append(continuation(6))
            bytes.append(continuation(0))
        }
    }
}

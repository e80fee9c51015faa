/// The alphabet in which byte-level vocabularies spell bytes: printable characters of Latin-1 stand for themselves, the
/// others for U+0100 and up.
enum ByteLevel {
    /// The byte that a character stands for.
    static func byte(of code: UInt32) -> UInt8? {
        switch code {
        case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: UInt8(code)
        case 0x100...0x120: UInt8(code - 0x100)
        case 0x121...0x142: UInt8(code - 0x121 + 0x7F)
        case 0x143: 0xAD
        default: nil
        }
    }

    /// The bytes that a token's text stands for, or nil if it has a character outside of the alphabet or is not UTF-8.
    static func decode(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count)
        var offset = 0
        while offset < text.count {
            var code = UInt32(text[offset])
            if code >= 0x80 {
                guard code & 0xE0 == 0xC0, offset + 1 < text.count, text[offset + 1] & 0xC0 == 0x80 else { return nil }
                code = (code & 0x1F) << 6 | UInt32(text[offset + 1] & 0x3F)
                guard code >= 0x80 else { return nil }
                offset += 1
            }
            guard let byte = byte(of: code) else { return nil }
            bytes.append(byte)
            offset += 1
        }
        return bytes
    }
}

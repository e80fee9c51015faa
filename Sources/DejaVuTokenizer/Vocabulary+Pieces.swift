import DejaVuCore

extension Vocabulary {
    /// What each token stands for.
    func makePieces() -> ByteStrings {
        var pieces = ByteStrings()
        for index in 0..<count {
            let text = texts.strings[index]
            let kinds = attributes[index]
            if !kinds.isDisjoint(with: .special) {
                pieces.append(text)
            } else if kinds.contains(.normal) {
                pieces.append(model == .bytePairs ? Self.decodeByteLevel(text) : Self.unescapeSpaces(text))
            } else if kinds.contains(.byte) {
                pieces.append(Self.byte(named: text).map { [$0] } ?? [])
            } else {
                pieces.append([])
            }
        }
        return pieces
    }

    /// The bytes that a text stands for. A character outside of the alphabet stands for itself.
    private static func decodeByteLevel(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var bytes: [UInt8] = []
        for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
            if let byte = ByteLevel.byte(of: scalar.value) {
                bytes.append(byte)
            } else {
                bytes.append(contentsOf: String(scalar).utf8)
            }
        }
        return bytes
    }

    /// Puts spaces for U+2581.
    private static func unescapeSpaces(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = text
        while let first = rest.first {
            if rest.starts(with: [0xE2, 0x96, 0x81]) {
                bytes.append(0x20)
                rest.removeFirst(3)
            } else {
                bytes.append(first)
                rest.removeFirst()
            }
        }
        return bytes
    }

    /// The byte of a token that is spelled `<0x0A>`.
    private static func byte(named text: ArraySlice<UInt8>) -> UInt8? {
        guard text.count == 6, text.starts(with: "<0x".utf8), text.last == 0x3E else { return nil }
        return UInt8(String(decoding: text.dropFirst(3).prefix(2), as: UTF8.self), radix: 16)
    }
}

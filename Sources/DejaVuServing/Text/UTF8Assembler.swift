/// Makes whole UTF-8 of bytes that come in pieces.
///
/// A sequence cut by the end of a piece waits for the next; what can never become valid is replaced by U+FFFD, one for
/// each maximal subpart (Unicode Standard 3.9, table 3-8), as Python and browsers do.
package struct UTF8Assembler: Hashable, Sendable {
    /// The start of a scalar whose end has not come; at most three bytes.
    private var pending: [UInt8] = []

    package init() {}

    /// Whether bytes wait for the rest of their scalar.
    package var isWaiting: Bool { !pending.isEmpty }

    /// Appends all that is whole by now.
    package mutating func push(_ bytes: [UInt8], into output: inout [UInt8]) {
        if pending.isEmpty, bytes.allSatisfy({ $0 < 0x80 }) {
            output += bytes
            return
        }
        let input = pending + bytes
        pending.removeAll(keepingCapacity: true)
        var index = 0
        while index < input.count {
            let (length, status) = Self.scan(input[index...])
            switch status {
            case .valid: output += input[index..<index + length]
            case .invalid: output += replacement
            case .cut: pending = Array(input[index...])
            }
            index += length
        }
    }

    /// Appends a replacement for a scalar whose end never came.
    package mutating func finish(into output: inout [UInt8]) {
        if !pending.isEmpty { output += replacement }
        pending.removeAll()
    }

    private enum Status { case valid, invalid, cut }

    /// The length of the scalar, of the maximal invalid subpart, or of the cut start at the head of some bytes.
    private static func scan(_ bytes: ArraySlice<UInt8>) -> (length: Int, status: Status) {
        guard let lead = bytes.first else { return (0, .valid) }
        let length: Int
        // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch lead {
        case 0..<0x80: return (1, .valid)
        case 0xC2...0xDF: length = 2
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: length = 3
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: length = 4
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        default: return (1, .invalid)
        }
        for offset in 1..<length {
            guard offset < bytes.count else { return (offset, .cut) }
            let range = offset == 1 ? second : 0x80...0xBF
            guard range.contains(bytes[bytes.startIndex + offset]) else { return (offset, .invalid) }
        }
        return (length, .valid)
    }
}

private let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]

import DejaVuCore

/// `"...".format(...)`
extension Renderer {
    /// Numbering of `{}` fields: automatic or by hand, not both.
    private enum Numbering {
        case undecided
        case automatic(Int)
        case manual
    }

    func braceFormat(_ format: TemplateString, _ arguments: Arguments) throws(DejaVuError) -> TemplateString {
        var numbering = Numbering.undecided
        return try braceFormat(format, 0..<format.count, arguments, &numbering, depth: 2)
    }

    private func braceFormat(
        _ format: TemplateString, _ range: Range<Int>, _ arguments: Arguments, _ numbering: inout Numbering, depth: Int
    ) throws(DejaVuError) -> TemplateString {
        guard depth > 0 else { throw valueError("Max string recursion exceeded") }
        let bytes = format.bytes
        let (open, close) = (UInt8(ascii: "{"), UInt8(ascii: "}"))
        var result = TemplateString()
        var offset = range.lowerBound
        while offset < range.upperBound {
            let byte = bytes[offset]
            let isDouble = offset + 1 < range.upperBound && bytes[offset + 1] == byte
            if (byte == open || byte == close) && isDouble {
                result.append(format, offset..<offset + 1)
                offset += 2
            } else if byte == close {
                throw valueError("Single '}' encountered in format string")
            } else if byte == open {
                let end = try fieldEnd(bytes, offset + 1..<range.upperBound)
                let piece = try field(format, offset + 1..<end, arguments, &numbering, depth: depth)
                try charge(bytes: result.count + piece.count)
                result.append(format.isMarkup ? escapedForMarkup(piece) : piece)
                offset = end + 1
            } else {
                var end = offset
                while end < range.upperBound, bytes[end] != open, bytes[end] != close { end += 1 }
                result.append(format, offset..<end)
                offset = end
            }
        }
        return result
    }

    /// Where the brace closes that was opened before `range`.
    private func fieldEnd(_ bytes: [UInt8], _ range: Range<Int>) throws(DejaVuError) -> Int {
        var depth = 1
        for offset in range {
            if bytes[offset] == UInt8(ascii: "{") { depth += 1 }
            if bytes[offset] == UInt8(ascii: "}") { depth -= 1 }
            if depth == 0 { return offset }
        }
        throw valueError("expected '}' before end of string")
    }

    private func field(
        _ format: TemplateString, _ range: Range<Int>, _ arguments: Arguments, _ numbering: inout Numbering, depth: Int
    ) throws(DejaVuError) -> TemplateString {
        let bytes = format.bytes
        var nameEnd = range.lowerBound
        var inBrackets = false
        while nameEnd < range.upperBound {
            let byte = bytes[nameEnd]
            if byte == UInt8(ascii: "[") { inBrackets = true }
            if byte == UInt8(ascii: "]") { inBrackets = false }
            if !inBrackets, byte == UInt8(ascii: ":") || byte == UInt8(ascii: "!") { break }
            nameEnd += 1
        }
        var value = try lookUp(Array(bytes[range.lowerBound..<nameEnd]), arguments, &numbering)
        var offset = nameEnd
        if offset < range.upperBound, bytes[offset] == UInt8(ascii: "!") {
            guard offset + 1 < range.upperBound else { throw valueError("end of string while looking for conversion") }
            switch bytes[offset + 1] {
            case UInt8(ascii: "s"): value = .string(try text(of: value))
            case UInt8(ascii: "r"): value = .string(try representation(of: value))
            default: throw valueError("Unknown conversion specifier")
            }
            offset += 2
            guard offset == range.upperBound || bytes[offset] == UInt8(ascii: ":") else {
                throw valueError("expected ':' after conversion specifier")
            }
        }
        guard offset < range.upperBound else { return try formatted(value, "") }
        let spec = try braceFormat(format, offset + 1..<range.upperBound, arguments, &numbering, depth: depth - 1)
        return try formatted(value, spec.text)
    }

    /// `name`, `0`, or nothing, followed by `.attribute` and `[item]` parts.
    private func lookUp(
        _ field: [UInt8], _ arguments: Arguments, _ numbering: inout Numbering
    ) throws(DejaVuError) -> TemplateValue {
        let dot = UInt8(ascii: ".")
        let bracket = UInt8(ascii: "[")
        var offset = field.firstIndex { $0 == dot || $0 == bracket } ?? field.count
        var value = try first(Array(field[..<offset]), arguments, &numbering)
        while offset < field.count {
            if field[offset] == dot {
                let end = field[(offset + 1)...].firstIndex { $0 == dot || $0 == bracket } ?? field.count
                guard end > offset + 1 else { throw valueError("Empty attribute in format string") }
                value = try attribute(
                    TemplateString(bytes: Array(field[offset + 1..<end]), isTemplate: true), of: value)
                offset = end
            } else if field[offset] == bracket {
                guard let end = field[(offset + 1)...].firstIndex(of: UInt8(ascii: "]")), end > offset + 1 else {
                    throw valueError("Missing ']' in format string")
                }
                let key = TemplateString(bytes: Array(field[offset + 1..<end]), isTemplate: true)
                let index = key.bytes.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } ? Int(key.text) : nil
                value = try item(index.map { .int($0) } ?? .string(key), of: value)
                offset = end + 1
            } else {
                throw valueError("Only '.' or '[' may follow ']' in format field specifier")
            }
        }
        return value
    }

    private func first(
        _ name: [UInt8], _ arguments: Arguments, _ numbering: inout Numbering
    ) throws(DejaVuError) -> TemplateValue {
        let index: Int
        if name.isEmpty {
            switch numbering {
            case .manual: throw valueError("cannot switch from manual field specification to automatic field numbering")
            case .undecided: index = 0
            case .automatic(let next): index = next
            }
            numbering = .automatic(index + 1)
        } else if name.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
            if case .automatic = numbering {
                throw valueError("cannot switch from automatic field numbering to manual field specification")
            }
            numbering = .manual
            index = Int(String(decoding: name, as: UTF8.self)) ?? .max
        } else {
            let text = String(decoding: name, as: UTF8.self)
            guard let value = arguments.named.first(where: { $0.name == text })?.value else {
                throw failure("KeyError", "'\(text)'")
            }
            return value
        }
        guard index < arguments.positional.count else {
            throw failure("IndexError", "Replacement index \(index) out of range for positional args tuple")
        }
        return arguments.positional[index]
    }
}

package import DejaVuCore

/// Reads JSON text into template values. All strings in it count as data.
///
/// Objects keep their order; of two equal keys the last wins, as in Python. An integer that needs more than 64 bits
/// is an error, as is nesting deeper than `depthMax`.
package struct JSONReader {
    private let bytes: [UInt8]
    private var offset = 0
    private static let depthMax = 64

    /// The value that `text` consists of. Throws `.invalidArgument` with the offset of what is wrong.
    package static func value(of text: String) throws(DejaVuError) -> TemplateValue {
        var reader = JSONReader(bytes: Array(text.utf8))
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.offset == reader.bytes.count else { throw reader.failure }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var failure: DejaVuError { DejaVuError(.invalidArgument, "JSON: unexpected byte at offset \(offset)") }

    private mutating func skipSpace() {
        while offset < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[offset]) { offset += 1 }
    }

    private mutating func skip(_ byte: Unicode.Scalar) -> Bool {
        skipSpace()
        guard offset < bytes.count, bytes[offset] == UInt8(ascii: byte) else { return false }
        offset += 1
        return true
    }

    private mutating func skip(word: StaticString) -> Bool {
        let matches = word.withUTF8Buffer { bytes[offset...].starts(with: $0) }
        if matches { offset += word.utf8CodeUnitCount }
        return matches
    }

    private mutating func value(depth: Int) throws(DejaVuError) -> TemplateValue {
        guard depth < Self.depthMax else { throw failure }
        skipSpace()
        guard offset < bytes.count else { throw failure }
        switch bytes[offset] {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        default: break
        }
        if skip(word: "true") { return .bool(true) }
        if skip(word: "false") { return .bool(false) }
        if skip(word: "null") { return .none }
        return try number()
    }

    private mutating func object(depth: Int) throws(DejaVuError) -> TemplateValue {
        offset += 1
        var builder = DictBuilder()
        if skip("}") { return .dict(builder.finish()) }
        repeat {
            skipSpace()
            let key = try string()
            guard skip(":") else { throw failure }
            builder.set(.string(key.bytes), .string(key), try value(depth: depth + 1))
        } while skip(",")
        guard skip("}") else { throw failure }
        return .dict(builder.finish())
    }

    private mutating func array(depth: Int) throws(DejaVuError) -> TemplateValue {
        offset += 1
        var items: [TemplateValue] = []
        if skip("]") { return .list(of: items) }
        repeat { items.append(try value(depth: depth + 1)) } while skip(",")
        guard skip("]") else { throw failure }
        return .list(of: items)
    }

    private mutating func number() throws(DejaVuError) -> TemplateValue {
        let start = offset
        while offset < bytes.count, "+-.eE0123456789".utf8.contains(bytes[offset]) { offset += 1 }
        let text = String(decoding: bytes[start..<offset], as: UTF8.self)
        if let int = Int(text) { return .int(int) }
        guard text.utf8.contains(where: { [0x2E, 0x45, 0x65].contains($0) }), let double = Double(text) else {
            throw failure
        }
        return .double(double)
    }

    private mutating func string() throws(DejaVuError) -> TemplateString {
        guard offset < bytes.count, bytes[offset] == UInt8(ascii: "\"") else { throw failure }
        offset += 1
        var result: [UInt8] = []
        while offset < bytes.count {
            let byte = bytes[offset]
            offset += 1
            switch byte {
            case UInt8(ascii: "\""): return TemplateString(bytes: result, isTemplate: false)
            case UInt8(ascii: "\\"): result += try escape()
            case 0..<0x20: throw failure
            default: result.append(byte)
            }
        }
        throw failure
    }

    private mutating func escape() throws(DejaVuError) -> [UInt8] {
        guard offset < bytes.count else { throw failure }
        let kind = bytes[offset]
        offset += 1
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [kind]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): break
        default: throw failure
        }
        var value = UInt32(try unit())
        if value >= 0xD800, value < 0xDC00, skip(word: "\\u") {
            let low = UInt32(try unit())
            guard low >= 0xDC00, low < 0xE000 else { throw failure }
            value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(value) else { throw failure }
        return Array(String(scalar).utf8)
    }

    private mutating func unit() throws(DejaVuError) -> UInt16 {
        guard offset + 4 <= bytes.count else { throw failure }
        var value: UInt16 = 0
        for byte in bytes[offset..<offset + 4] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { throw failure }
            value = value << 4 | UInt16(digit)
        }
        offset += 4
        return value
    }
}

/// Why a text is not JSON that we take, and where.
package struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    package let problem: String
    /// Bytes before the place.
    package let offset: Int
    /// Both from 1; columns count bytes.
    package let line: Int
    package let column: Int

    package var description: String { "\(problem) at line \(line) column \(column) (byte \(offset))" }
}

/// A strict JSON parser for texts from strangers.
///
/// It takes RFC 8259 and nothing more, refuses what parsers are known to disagree about (duplicate keys, lone
/// surrogates, numbers that no double holds, bytes behind the value) and bounds depth and the number of values, so
/// that a small body cannot grow into a large tree.
package struct JSONParser {
    /// What a text may ask for.
    package struct Limits: Hashable, Sendable {
        /// Arrays and objects inside each other.
        package var depthMax = 32
        /// Values in all, keys included.
        package var valueCountMax = 400_000
        package init() {}
    }

    private let bytes: [UInt8]
    private let limits: Limits
    private var position = 0
    private var valueCount = 0

    private init(_ bytes: [UInt8], _ limits: Limits) {
        self.bytes = bytes
        self.limits = limits
    }

    /// Parses one value that fills the whole text, white space aside.
    package static func parse(_ bytes: [UInt8], limits: Limits = Limits()) throws(JSONError) -> JSONValue {
        var parser = JSONParser(bytes, limits)
        parser.skipSpace()
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.position == bytes.count else { throw parser.error("unexpected data behind the JSON value") }
        return value
    }

    private func error(_ problem: String, at offset: Int? = nil) -> JSONError {
        let offset = offset ?? position
        let before = bytes.prefix(offset)
        let lineStart = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
        let line = before.reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
        return JSONError(problem: problem, offset: offset, line: line, column: offset - lineStart + 1)
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func countValue() throws(JSONError) {
        valueCount += 1
        guard valueCount <= limits.valueCountMax else {
            throw error("more than \(limits.valueCountMax) values")
        }
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        try countValue()
        guard let byte = current else { throw error("the text ends where a value should be") }
        switch byte {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try array(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw error("a value cannot start with this byte")
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let expected = "\(text)".utf8
        guard bytes[position...].starts(with: expected) else { throw error("not a JSON word; \(text) is one") }
        position += expected.count
        return value
    }

    private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
        guard depth <= limits.depthMax else { throw error("nested deeper than \(limits.depthMax) levels") }
        position += 1
        var elements: [JSONValue] = []
        skipSpace()
        if current == UInt8(ascii: "]") {
            position += 1
            return .array(elements)
        }
        while true {
            skipSpace()
            elements.append(try value(depth: depth))
            skipSpace()
            switch current {
            case UInt8(ascii: ","): position += 1
            case UInt8(ascii: "]"):
                position += 1
                return .array(elements)
            case nil: throw error("the text ends inside an array")
            default: throw error("expected , or ] in an array")
            }
        }
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
        guard depth <= limits.depthMax else { throw error("nested deeper than \(limits.depthMax) levels") }
        position += 1
        var members: [JSONMember] = []
        var keys: Set<[UInt8]> = []
        skipSpace()
        if current == UInt8(ascii: "}") {
            position += 1
            return .object(members)
        }
        while true {
            skipSpace()
            guard let byte = current else { throw error("the text ends inside an object") }
            guard byte == UInt8(ascii: "\"") else { throw error("expected a key in quotation marks") }
            let start = position
            try countValue()
            let key = try string()
            // Bytes, not String's equality, which takes composed and decomposed letters for the same.
            guard keys.insert(Array(key.utf8)).inserted else { throw error("duplicate key", at: start) }
            skipSpace()
            guard current == UInt8(ascii: ":") else { throw error("expected : behind a key") }
            position += 1
            skipSpace()
            members.append(JSONMember(key: key, value: try value(depth: depth)))
            skipSpace()
            switch current {
            case UInt8(ascii: ","): position += 1
            case UInt8(ascii: "}"):
                position += 1
                return .object(members)
            case nil: throw error("the text ends inside an object")
            default: throw error("expected , or } in an object")
            }
        }
    }

    private mutating func string() throws(JSONError) -> String {
        let start = position
        position += 1
        var text: [UInt8] = []
        var runStart = position
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                text += bytes[runStart..<position]
                position += 1
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw error("a string that is not valid UTF-8", at: start)
                }
                return string
            case UInt8(ascii: "\\"):
                text += bytes[runStart..<position]
                try escape(into: &text)
                runStart = position
            case 0..<0x20: throw error("a control character in a string; it must be escaped")
            default: position += 1
            }
        }
        throw error("the text ends inside a string")
    }

    private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
        let start = position
        position += 1
        guard let byte = current else { throw error("the text ends inside a string") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var code = try hexadecimal()
            if (0xD800..<0xDC00).contains(code), current == UInt8(ascii: "\\"),
                bytes[position...].dropFirst().first == UInt8(ascii: "u")
            {
                position += 2
                let low = try hexadecimal()
                guard (0xDC00..<0xE000).contains(low) else { throw error("a lone surrogate", at: start) }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw error("a lone surrogate", at: start) }
            text.append(contentsOf: String(scalar).utf8)
        default: throw error("unknown escape in a string", at: start)
        }
    }

    private mutating func hexadecimal() throws(JSONError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = current, let digit = hexadecimalDigit(byte) else {
                throw error("\\u needs four hexadecimal digits")
            }
            code = code << 4 | digit
            position += 1
        }
        return code
    }

    private mutating func number() throws(JSONError) -> JSONValue {
        let start = position
        if current == UInt8(ascii: "-") { position += 1 }
        if current == UInt8(ascii: "0") {
            position += 1
            if let byte = current, isDigit(byte) { throw error("a number must not start with 0", at: start) }
        } else {
            try digits(from: start)
        }
        var isWhole = true
        if current == UInt8(ascii: ".") {
            isWhole = false
            position += 1
            try digits(from: start)
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            isWhole = false
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            try digits(from: start)
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isWhole, let integer = Int64(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else { throw error("a number out of range", at: start) }
        return .number(number)
    }

    private mutating func digits(from start: Int) throws(JSONError) {
        let first = position
        while let byte = current, isDigit(byte) { position += 1 }
        guard position > first else { throw error("a number without digits", at: start) }
    }
}

private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

func hexadecimalDigit(_ byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a")) + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A")) + 10
    default: nil
    }
}

/// What the client needs to know of one chunk of a streamed completion.
package struct StreamChunk: Hashable, Sendable {
    /// `[DONE]`: the stream ended as it should.
    package var isDone = false
    /// Some choice brings text.
    package var hasText = false
    package var isFinished = false
    package var isError = false
    package var promptTokenCount: Int?
    package var outputTokenCount: Int?

    /// Reads an event's data in one pass without keeping any of it; nil if it is no JSON.
    ///
    /// Decoding each chunk in full would cost the generator more than all the rest it does for a token.
    package init?(parsing bytes: UnsafeRawBufferPointer) {
        if bytes.elementsEqual("[DONE]".utf8) {
            isDone = true
            return
        }
        var scanner = ChunkScanner(bytes)
        guard scanner.value(at: .root, depth: 0), scanner.isAtEnd else { return nil }
        self = scanner.chunk
    }

    package init() {}
}

/// Walks over a chunk's JSON and notes what stands at the places that matter.
private struct ChunkScanner {
    enum Place {
        case root, choices, choice, delta, text, finish, usage, promptTokens, outputTokens, error, other

        func member(_ key: Slice<UnsafeRawBufferPointer>) -> Place {
            func isKey(_ name: StaticString) -> Bool {
                name.utf8CodeUnitCount == key.count
                    && key.elementsEqual(UnsafeRawBufferPointer(start: name.utf8Start, count: key.count))
            }
            switch self {
            case .root:
                return isKey("choices") ? .choices : isKey("usage") ? .usage : isKey("error") ? .error : .other
            case .choice:
                return isKey("delta") ? .delta : isKey("text") ? .text : isKey("finish_reason") ? .finish : .other
            case .delta: return isKey("content") || isKey("reasoning_content") ? .text : .other
            case .usage:
                return isKey("prompt_tokens") ? .promptTokens : isKey("completion_tokens") ? .outputTokens : .other
            default: return .other
            }
        }
    }

    private static let depthMax = 64

    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    var chunk = StreamChunk()

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool {
        mutating get {
            skipSpace()
            return position == bytes.count
        }
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        skipSpace()
        guard current == byte else { return false }
        position += 1
        return true
    }

    /// Passes over one value; false if there is none.
    mutating func value(at place: Place, depth: Int) -> Bool {
        skipSpace()
        guard depth < Self.depthMax, let first = current else { return false }
        if place == .error, first != UInt8(ascii: "n") { chunk.isError = true }
        switch first {
        case UInt8(ascii: "{"): return object(at: place, depth: depth)
        case UInt8(ascii: "["): return array(at: place, depth: depth)
        case UInt8(ascii: "\""):
            guard let content = string() else { return false }
            if place == .text, !content.isEmpty { chunk.hasText = true }
            if place == .finish { chunk.isFinished = true }
            return true
        case UInt8(ascii: "t"): return literal("true")
        case UInt8(ascii: "f"): return literal("false")
        case UInt8(ascii: "n"): return literal("null")
        default: return number(at: place)
        }
    }

    private mutating func object(at place: Place, depth: Int) -> Bool {
        position += 1
        if take(UInt8(ascii: "}")) { return true }
        repeat {
            skipSpace()
            guard current == UInt8(ascii: "\""), let key = string(), take(UInt8(ascii: ":")) else { return false }
            guard value(at: place.member(key), depth: depth + 1) else { return false }
        } while take(UInt8(ascii: ","))
        return take(UInt8(ascii: "}"))
    }

    private mutating func array(at place: Place, depth: Int) -> Bool {
        position += 1
        if take(UInt8(ascii: "]")) { return true }
        repeat {
            guard value(at: place == .choices ? .choice : .other, depth: depth + 1) else { return false }
        } while take(UInt8(ascii: ","))
        return take(UInt8(ascii: "]"))
    }

    /// The content between the quotes, with its escapes.
    private mutating func string() -> Slice<UnsafeRawBufferPointer>? {
        position += 1
        let start = position
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                position += 1
                return bytes[start..<(position - 1)]
            case UInt8(ascii: "\\"): position += 2
            case 0..<0x20: return nil
            default: position += 1
            }
        }
        return nil
    }

    private mutating func literal(_ text: StaticString) -> Bool {
        let end = position + text.utf8CodeUnitCount
        guard end <= bytes.count,
            bytes[position..<end].elementsEqual(
                UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
        else { return false }
        position = end
        return true
    }

    private mutating func number(at place: Place) -> Bool {
        let start = position
        var whole: Int? = 0
        while let byte = current {
            switch byte {
            case 0x30...0x39:
                if let value = whole, value < 1_000_000_000_000 {
                    whole = value * 10 + Int(byte - 0x30)
                } else {
                    whole = nil
                }
            case UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
                whole = nil
            default:
                return finishNumber(whole, at: place, isEmpty: position == start)
            }
            position += 1
        }
        return finishNumber(whole, at: place, isEmpty: position == start)
    }

    private mutating func finishNumber(_ whole: Int?, at place: Place, isEmpty: Bool) -> Bool {
        if place == .promptTokens { chunk.promptTokenCount = whole }
        if place == .outputTokens { chunk.outputTokenCount = whole }
        return !isEmpty
    }
}

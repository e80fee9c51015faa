/// Appends JSON to a byte array, by hand: no reflection, no intermediate values.
///
/// The caller keeps the order of calls right; commas are put where they belong.
package struct JSONWriter {
    package private(set) var bytes: [UInt8]
    private var needsComma = false

    package init(capacity: Int = 256) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    package var text: String { String(decoding: bytes, as: UTF8.self) }

    package mutating func object(_ body: (inout JSONWriter) -> Void) {
        open(UInt8(ascii: "{"))
        body(&self)
        close(UInt8(ascii: "}"))
    }

    package mutating func array(_ body: (inout JSONWriter) -> Void) {
        open(UInt8(ascii: "["))
        body(&self)
        close(UInt8(ascii: "]"))
    }

    /// An array with one element for each of a sequence.
    package mutating func array<S: Sequence>(_ elements: S, _ body: (inout JSONWriter, S.Element) -> Void) {
        array { json in for element in elements { body(&json, element) } }
    }

    /// A key that is plain ASCII without anything to escape; its value must follow.
    package mutating func key(_ name: StaticString) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    /// A key of any text; its value must follow.
    package mutating func key(text: String) {
        string(text)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    package mutating func key(_ name: StaticString, _ value: String) {
        key(name)
        string(value)
    }
    package mutating func key(_ name: StaticString, _ value: Int) {
        key(name)
        integer(value)
    }
    package mutating func key(_ name: StaticString, _ value: Bool) {
        key(name)
        bool(value)
    }
    package mutating func key(_ name: StaticString, _ value: Double) {
        key(name)
        number(value)
    }
    /// null where there is nothing.
    package mutating func key(_ name: StaticString, _ value: String?) {
        key(name)
        if let value { string(value) } else { null() }
    }
    package mutating func keyNull(_ name: StaticString) {
        key(name)
        null()
    }

    package mutating func string(_ value: String) {
        separate()
        bytes.appendJSONString(value.utf8)
        needsComma = true
    }
    /// - Parameter utf8: must be valid UTF-8.
    package mutating func string(utf8: some Sequence<UInt8>) {
        separate()
        bytes.appendJSONString(utf8)
        needsComma = true
    }
    package mutating func integer(_ value: some BinaryInteger) { raw(String(value)) }
    package mutating func bool(_ value: Bool) { raw(value ? "true" : "false") }
    package mutating func null() { raw("null") }
    /// JSON has no infinities: they become the largest doubles, and what is not a number becomes null.
    package mutating func number(_ value: Double) {
        guard !value.isNaN else { return null() }
        raw(String(min(max(value, -Double.greatestFiniteMagnitude), Double.greatestFiniteMagnitude)))
    }
    package mutating func number(_ value: Float) {
        guard !value.isNaN else { return null() }
        raw(String(min(max(value, -Float.greatestFiniteMagnitude), Float.greatestFiniteMagnitude)))
    }

    private mutating func raw(_ text: String) {
        separate()
        bytes.append(contentsOf: text.utf8)
        needsComma = true
    }
    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = false
    }
    private mutating func open(_ byte: UInt8) {
        separate()
        bytes.append(byte)
    }
    private mutating func close(_ byte: UInt8) {
        bytes.append(byte)
        needsComma = true
    }
}

extension [UInt8] {
    /// Appends UTF-8 as a JSON string with its quotation marks.
    mutating func appendJSONString(_ utf8: some Sequence<UInt8>) {
        append(UInt8(ascii: "\""))
        appendJSONEscaped(utf8)
        append(UInt8(ascii: "\""))
    }

    /// Appends UTF-8 with what JSON demands escaped; without quotation marks.
    mutating func appendJSONEscaped(_ utf8: some Sequence<UInt8>) {
        for byte in utf8 {
            if byte >= 0x20, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
                append(byte)
                continue
            }
            append(UInt8(ascii: "\\"))
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): append(byte)
            case 0x0A: append(UInt8(ascii: "n"))
            case 0x0D: append(UInt8(ascii: "r"))
            case 0x09: append(UInt8(ascii: "t"))
            default:
                append(contentsOf: [UInt8(ascii: "u"), UInt8(ascii: "0"), UInt8(ascii: "0")])
                append(hexadecimalDigits[Int(byte >> 4)])
                append(hexadecimalDigits[Int(byte & 15)])
            }
        }
    }
}

private let hexadecimalDigits = Array("0123456789abcdef".utf8)

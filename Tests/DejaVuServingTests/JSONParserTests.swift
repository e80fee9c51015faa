import DejaVuCore
import DejaVuServing
import Foundation
import Testing

private func parse(_ text: String, limits: JSONParser.Limits = .init()) throws(JSONError) -> JSONValue {
    try JSONParser.parse(Array(text.utf8), limits: limits)
}

@Test func json_everyKindOfValue_isRead() throws {
    let value = try parse(#" {"a":[1,-0,2.5,1e3,-7E-2,true,false,null],"b":{"":"x\n\u00e9\ud83d\ude00é\/"} } "#)
    #expect(
        value["a"]
            == .array([
                .integer(1), .integer(0), .number(2.5), .number(1000), .number(-0.07), .bool(true), .bool(false), .null,
            ]))
    #expect(value["b"]?[""] == .string("x\né😀é/"))
    #expect(try parse("9223372036854775807") == .integer(.max))
    #expect(try parse("9223372036854775808") == .number(9223372036854775808))
}

@Test(arguments: [
    ("", 0), ("{", 1), ("[1,]", 3), ("[1 2]", 3), ("{\"a\"}", 4), ("{\"a\":1,}", 7), ("{a:1}", 1), ("01", 0), ("1.", 0),
    ("-", 0), ("+1", 0), (".5", 0), ("1e", 0), ("1e999", 0), ("tru", 0), ("nul", 0), ("\"a", 2), ("\"\u{1}\"", 1),
    ("\"\\x\"", 1), ("\"\\u12g4\"", 5), ("\"\\ud800\"", 1), ("\"\\ud800\\u0041\"", 1), ("\"\\udc00\"", 1), ("1 1", 2),
    ("{\"a\":1,\"b\":2,\"a\":3}", 13), ("{\"a\":1,\"\\u0061\":3}", 7), ("NaN", 0), ("Infinity", 0), ("[", 1),
    ("'a'", 0),
    ("// x\n1", 0), ("\u{FEFF}1", 0),
])
func json_malformed_isRefusedAtItsPlace(text: String, offset: Int) {
    let error = #expect(throws: JSONError.self) { try parse(text) }
    #expect(error?.offset == offset, "\(error?.description ?? "")")
}

@Test func json_everyCutOfAText_isRefused() {
    let text = Array(#"{"k":[true,{"a":"\u00e9b"},-1.5e3,null]}"#.utf8)
    for count in 0..<text.count {
        #expect(throws: JSONError.self) { try JSONParser.parse(Array(text.prefix(count))) }
    }
}

@Test func json_errorPosition_countsLinesAndColumns() {
    let error = #expect(throws: JSONError.self) { try parse("{\n  \"a\": 1,\n  \"a\": 2\n}") }
    #expect(error?.description == "duplicate key at line 3 column 3 (byte 14)")
}

@Test func json_invalidUTF8_isRefused() {
    for bytes: [UInt8] in [[0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xC0, 0x80]] {
        let quote = UInt8(ascii: "\"")
        #expect(throws: JSONError.self) { try JSONParser.parse([quote] + bytes + [quote]) }
    }
}

@Test func json_limits_holdForDepthAndCount() throws {
    var limits = JSONParser.Limits()
    limits.depthMax = 3
    limits.valueCountMax = 5
    _ = try parse("[[[1]]]", limits: limits)
    #expect(throws: JSONError.self) { try parse("[[[[]]]]", limits: limits) }
    _ = try parse("[1,2,3,4]", limits: limits)
    #expect(throws: JSONError.self) { try parse("[1,2,3,4,5]", limits: limits) }
    #expect(throws: JSONError.self) { try parse(String(repeating: "[", count: 2_000_000)) }
    #expect(throws: JSONError.self) { try parse(String(repeating: "{\"a\":", count: 500_000)) }
}

@Test func json_canonicallyEqualKeys_areDifferentKeys() throws {
    _ = try parse("{\"\u{E9}\":1,\"e\u{301}\":2}")
}

@Test func json_randomTexts_agreeWithFoundation() throws {
    var generator = SeededGenerator(seed: 20)
    let pieces = [
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\\n\"", "1", "-2.5e1", "true", "null", " ", "\"\\u00e9\"", "0",
    ]
    var accepted = 0
    for _ in 0..<20_000 {
        let text = (0..<generator.next(in: 1...9)).map { _ in pieces[generator.next(below: pieces.count)] }.joined()
        let ours = try? parse(text)
        let theirs = try? JSONSerialization.jsonObject(with: Data(text.utf8), options: [.fragmentsAllowed])
        if ours != nil { accepted += 1 }
        // Only what both refuse or both take; duplicate keys are the one thing that we alone refuse.
        if (ours != nil) != (theirs != nil) {
            let error = #expect(throws: JSONError.self) { try parse(text) }
            #expect(error?.problem == "duplicate key", "\(text)")
        }
    }
    #expect(accepted > 1000)
}

@Test func jsonWriter_everyScalar_survivesARoundTrip() throws {
    let text = String(String.UnicodeScalarView((0..<0x3000).compactMap { Unicode.Scalar($0) })) + "🙂\u{10FFFF}"
    var json = JSONWriter()
    json.object {
        $0.key("text", text)
        $0.key("none", String?.none)
        $0.key("list")
        $0.array([1, 2]) { $0.integer($1) }
        $0.key(text: "odd \"key\"\n")
        $0.number(Double.infinity)
    }
    let value = try JSONParser.parse(json.bytes)
    #expect(value["text"] == .string(text))
    #expect(value["none"] == .null)
    #expect(value["list"] == .array([.integer(1), .integer(2)]))
    #expect(value["odd \"key\"\n"] == .number(.greatestFiniteMagnitude))
}

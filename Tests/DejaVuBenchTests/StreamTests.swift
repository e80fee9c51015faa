import DejaVuBench
import Testing

struct StreamTests {
    private func events(_ text: String, pieceSize: Int) -> [String]? {
        var parser = EventStreamParser()
        var events: [String] = []
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let piece = Array(rest.prefix(pieceSize))
            rest = rest.dropFirst(pieceSize)
            let isWhole = piece.withUnsafeBytes { bytes in
                parser.feed(bytes) { events.append(String(decoding: $0, as: UTF8.self)) }
            }
            if !isWhole { return nil }
        }
        return events
    }

    private func chunk(_ text: String) -> StreamChunk? {
        Array(text.utf8).withUnsafeBytes { StreamChunk(parsing: $0) }
    }

    @Test(arguments: [1, 2, 3, 7, 1000])
    func eventStream_anyPieces_givesTheSameEvents(pieceSize: Int) {
        let text =
            ": comment\r\ndata: {\"a\":1}\r\n\r\nevent: x\nid: 3\ndata:é\n\ndata: \n\ndata: [DONE]\n\ndata: cut off"
        #expect(events(text, pieceSize: pieceSize) == ["{\"a\":1}", "é", "[DONE]"])
    }

    @Test(arguments: [1, 2, 5, 1000])
    func eventStream_ids_countOnceTheirDataHasCome(pieceSize: Int) {
        var parser = EventStreamParser()
        var ids: [String?] = []
        for piece in ["data: a\n\n", "id: x:1\n", "data: b\n\nid: x:2\ndata: c\n\n", ": wait\n\nid: x:3\nda"] {
            var rest = Array(piece.utf8)[...]
            while !rest.isEmpty {
                let some = Array(rest.prefix(pieceSize))
                rest = rest.dropFirst(pieceSize)
                #expect(some.withUnsafeBytes { parser.feed($0) { _ in } })
            }
            ids.append(parser.lastEventID)
        }
        #expect(ids == [nil, nil, "x:2", "x:2"])
    }

    @Test func eventStream_endlessLine_isRefused() {
        let size = EventStreamParser.lineBytesMax
        #expect(events("data: " + String(repeating: "x", count: size), pieceSize: 100_000) == nil)
        #expect(events("data: " + String(repeating: "x", count: size - 100) + "\n", pieceSize: 100_000)?.count == 1)
    }

    @Test func chunk_completionText_isSeen() {
        #expect(chunk(#"{"choices":[{"text":"a","index":0,"finish_reason":null}]}"#)?.hasText == true)
        #expect(chunk(#"{"choices":[{"text":"","index":0}]}"#)?.hasText == false)
        #expect(chunk(#"{"choices":[{"index":0},{"text":"\""}]}"#)?.hasText == true)
        // Text elsewhere is none.
        #expect(chunk(#"{"text":"a","choices":[],"x":{"choices":[{"text":"b"}]}}"#)?.hasText == false)
    }

    @Test func chunk_chatDelta_isSeen() {
        #expect(chunk(#"{"choices":[{"delta":{"content":"a"}}]}"#)?.hasText == true)
        #expect(chunk(#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#)?.hasText == false)
        #expect(chunk(#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#)?.hasText == true)
        let last = chunk(#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#)
        #expect(last?.isFinished == true && last?.hasText == false)
    }

    @Test func chunk_usageAndError_areSeen() {
        let usage = chunk(#" { "usage" : { "completion_tokens" : 12 , "prompt_tokens" : 3, "x": -1.5e3 } } "#)
        #expect(usage?.outputTokenCount == 12 && usage?.promptTokenCount == 3 && usage?.isError == false)
        #expect(chunk(#"{"error":{"message":"no"}}"#)?.isError == true)
        #expect(chunk(#"{"error":null}"#)?.isError == false)
        #expect(chunk("[DONE]")?.isDone == true)
        #expect(chunk(#"{"usage":{"completion_tokens":99999999999999999999999}}"#)?.outputTokenCount == nil)
    }

    @Test(arguments: [
        "", "{", "}", "{]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,", "\"abc", "\"a\\", "tru", "{\"a\":1}x", "nul",
        "{\"choices\":[{\"text\":\"a", "{\"a\":\u{1}\"\"}", "{1:2}", "\"line\nfeed\"", "x",
    ])
    func chunk_malformed_isNil(text: String) {
        #expect(chunk(text) == nil)
    }

    @Test func chunk_deepNesting_isNilAndNoCrash() {
        #expect(chunk(String(repeating: "[", count: 100_000)) == nil)
        #expect(chunk(String(repeating: "{\"a\":", count: 100_000)) == nil)
        #expect(chunk(String(repeating: "[", count: 60) + String(repeating: "]", count: 60)) != nil)
    }
}

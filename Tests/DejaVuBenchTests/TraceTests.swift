import DejaVuBench
import DejaVuCore
import Foundation
import Testing

struct TraceTests {
    private static let header = "TIMESTAMP,ContextTokens,GeneratedTokens"

    private func parse(_ lines: [String], limits: TraceParser.Limits = .init()) throws -> [TraceRow] {
        var parser = TraceParser(limits: limits)
        for line in lines { try parser.feed(line: Array(line.utf8)) }
        return try parser.finished()
    }

    @Test func azureForm_rows_haveOffsetsFromTheFirst() throws {
        let rows = try parse([
            Self.header, "2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:15:50.9951690,396,109",
            "2023-11-17 00:00:00.0000000,0,0",
        ])
        #expect(rows.map(\.promptTokenCount) == [374, 396, 0] && rows.map(\.outputTokenCount) == [44, 109, 0])
        #expect(rows.map(\.offset.nanoseconds) == [0, 4_314_579_000, 20_653_319_410_000])
    }

    @Test func variants_zonesBomCarriageReturnsAndOtherColumns_areRead() throws {
        let rows = try parse([
            "\u{FEFF}extra, ContextTokens ,TIMESTAMP,GeneratedTokens\r", "x,1,2024-02-28T23:59:59.5Z,2\r", "",
            "y,3,2024-02-29 02:00:00.5+02:00,4\r", "z,5,2024-02-28 19:00:02.5-05:00,6",
        ])
        #expect(rows.map(\.promptTokenCount) == [1, 3, 5])
        #expect(rows.map(\.offset.seconds) == [0, 1, 3])
    }

    @Test(arguments: [
        ([], "empty"), ([header], "no requests"), (["a,b,c"], "line 1"), ([header, "2023-11-16 18:15:46,1"], "line 2"),
        ([header, "2023-11-16 18:15:46,1,2,3"], "line 2"), ([header, "2023-13-16 18:15:46,1,2"], "TIMESTAMP"),
        ([header, "2023-11-16 18:15:46.,1,2"], "TIMESTAMP"), ([header, "99999-11-16 18:15:46,1,2"], "TIMESTAMP"),
        ([header, "2023-11-16 18:15:46,-1,2"], "ContextTokens"), ([header, "2023-11-16 18:15:46,1,2.5"], "Generated"),
        ([header, "2023-11-16 18:15:46,99999999999999999999999,2"], "ContextTokens"),
        ([header, "2023-11-16 18:15:46,1,"], "GeneratedTokens"), ([header, ",,"], "TIMESTAMP"),
        ([header, "2023-11-16 18:15:46+25:00,1,2"], "TIMESTAMP"),
        ([header, "2023-11-16 18:15:46,1,2", "2023-11-16 18:15:45,1,2"], "line 3"),
        ([header, String(repeating: "9", count: 5000)], "longer"),
    ])
    func hostileTrace_anyDefect_namesTheLine(lines: [String], words: String) {
        #expect { try parse(lines) } throws: { error in
            guard let error = error as? DejaVuError else { return false }
            return error.code == .invalidFile && error.message.contains(words)
        }
    }

    @Test func invalidUTF8_inARow_isRefused() {
        var parser = TraceParser()
        #expect(throws: DejaVuError.self) {
            try parser.feed(line: Array(Self.header.utf8))
            try parser.feed(line: [0x32, 0xFF, 0xFE, 0x2C])
        }
    }

    @Test func limits_rowsAndTime_endTheReading() throws {
        let lines = [Self.header] + (0..<50).map { "2023-11-16 18:15:\($0 / 10)\($0 % 10),1,2" }
        #expect(try parse(lines, limits: .init(rowCountMax: 7)).count == 7)
        #expect(try parse(lines, limits: .init(offsetMax: .seconds(9))).count == 10)
    }

    @Test func file_readInPieces_isTheSame() async throws {
        let path = NSTemporaryDirectory() + "trace-\(UUID().uuidString).csv"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let rows = (0..<9000).map { "2023-11-16 \(10 + $0 / 3600):\(10 + $0 / 60 % 50):\(10 + $0 % 50),\($0),2" }
            .sorted()
        let text = ([Self.header] + rows).joined(separator: "\r\n")
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        let loaded = try await TraceParser.load(path: path, limits: .init())
        #expect(loaded == (try parse([Self.header] + rows)))
        #expect(loaded.count == 9000)
        await #expect { _ = try await TraceParser.load(path: path + "x", limits: .init()) } throws: {
            ($0 as? DejaVuError)?.code == .notFound
        }
    }

    @Test func file_withoutLineFeeds_isRefusedWithoutReadingItWhole() async throws {
        let path = NSTemporaryDirectory() + "trace-\(UUID().uuidString).csv"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try String(repeating: "x", count: 1 << 20).write(toFile: path, atomically: true, encoding: .utf8)
        await #expect { _ = try await TraceParser.load(path: path, limits: .init()) } throws: {
            ($0 as? DejaVuError)?.message.contains("longer") == true
        }
    }
}

import DejaVuCore
import DejaVuTemplate
import Foundation
import Testing

/// What Python's jinja2 made of a template, recorded by Tools/template-oracle/make_fixtures.py.
struct OracleCase: CustomTestStringConvertible {
    let source: String
    let context: [String: TemplateValue]
    /// Nil if jinja2 raised.
    let text: String?
    let line: Int

    var testDescription: String { "cases.jsonl:\(line)" }

    static let clock = CivilTime(year: 2025, month: 1, day: 31, hour: 12)

    static func fixture(_ name: String) throws -> String {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        return try String(contentsOf: tests.appendingPathComponent("Fixtures/\(name)"), encoding: .utf8)
    }

    static func all() throws -> [OracleCase] {
        let lines = try fixture("cases.jsonl").split(separator: "\n")
        let shared = try JSONReader.value(of: String(lines[0]))["context"]
        var cases: [OracleCase] = []
        for (number, line) in lines.enumerated().dropFirst() {
            let recorded = try JSONReader.value(of: String(line))
            let source = try #require(recorded["source"]?.string)
            let context = try #require(recorded["context"] ?? shared).dictionary
            cases.append(
                OracleCase(source: source, context: context, text: recorded["text"]?.string, line: number + 1))
        }
        return cases
    }
}

@Test func template_ofEveryRecordedCase_rendersAsJinja2Does() throws {
    let cases = try OracleCase.all()
    #expect(cases.count > 400)
    #expect(cases.filter { $0.text == nil }.count > 40)
    for recorded in cases {
        do throws(DejaVuError) {
            let pieces = try Template(recorded.source).render(recorded.context, clock: OracleCase.clock)
            #expect(pieces.map(\.text).joined() == recorded.text, "\(recorded.testDescription)")
        } catch {
            #expect(recorded.text == nil, "\(recorded.testDescription): \(error)")
            let isLimit = error.code == .resourceExhausted
            #expect(!isLimit || recorded.source.contains("range("), "\(recorded.testDescription): \(error)")
            #expect(error.code != .unsupported, "\(recorded.testDescription): \(error)")
        }
    }
}

@Test(arguments: [
    ("{% include 'x' %}", "include"), ("{% import 'x' as y %}", "import"), ("{% from 'x' import y %}", "from"),
    ("{% extends 'x' %}", "extends"), ("{% block x %}{% endblock %}", "block"),
    ("{% autoescape true %}{% endautoescape %}", "autoescape"), ("{{ [1] | random }}", "random"),
    ("{{ x | pprint }}", "pprint"), ("{{ 'x' | urlize }}", "urlize"),
])
func template_withAnUnsupportedFeature_namesItAtParse(source: String, feature: String) {
    let error = #expect(throws: DejaVuError.self) { try Template("\n" + source) }
    #expect(error?.code == .unsupported)
    #expect(error?.message.contains("'\(feature)'") ?? false)
    #expect(error?.message.contains("line 2") ?? false)
}

@Test func template_withErrorOnThirdLine_namesTheLine() throws {
    let syntax = #expect(throws: DejaVuError.self) { try Template("a\nb\n{{ 1 + }}") }
    #expect(syntax?.code == .invalidFile)
    #expect(syntax?.message.contains("line 3") ?? false)
    let template = try Template("a\n{% if true %}\n{{ missing.x }}{% endif %}")
    let runtime = #expect(throws: DejaVuError.self) { try template.render([:], clock: OracleCase.clock) }
    #expect(runtime?.message == "chat template, line 3: UndefinedError: 'missing' is undefined")
    #expect(runtime?.code == .invalidArgument)
}

import DejaVuCore
import DejaVuTemplate
import Testing

private func renderError(_ source: String, _ limits: TemplateLimits = TemplateLimits()) -> DejaVuError? {
    do throws(DejaVuError) {
        let context: [String: TemplateValue] = ["messages": .list(of: [.dict(of: [("content", .data("x"))])])]
        _ = try Template(source, limits: limits).render(context, limits: limits, clock: OracleCase.clock)
        return nil
    } catch {
        return error
    }
}

/// A text with many of something on either side, which shows itself briefly in a test's log.
struct Nested: CustomTestStringConvertible {
    let open: String
    let middle: String
    let close: String
    let count: Int

    var text: String { String(repeating: open, count: count) + middle + String(repeating: close, count: count) }
    var testDescription: String { "\(count) times \(open)…\(close)" }
}

private func nested(_ open: String, _ middle: String, _ close: String, _ count: Int) -> Nested {
    Nested(open: open, middle: middle, close: close, count: count)
}

@Test(arguments: [
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{{ range(100000) | list | length }}{% endfor %}",
    "{% for i in range(100000) %}{{ range(1000) | sum }}{% endfor %}",
    "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
    "{{ ([0] * 9223372036854775807) | length }}",
    "{{ [1] | batch(9223372036854775807, 'x') | list }}",
])
func template_thatNeverEnds_passesTheLimitOfSteps(source: String) {
    var limits = TemplateLimits()
    limits.steps = 500_000
    let error = renderError(source, limits)
    #expect(error?.subject == "steps")
    #expect(error?.code == .resourceExhausted)
}

@Test(arguments: [
    "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "{{ 'x' * 9223372036854775807 }}", "{{ 'x'.center(9223372036854775807) }}", "{{ 'x' | indent(99999999999, true) }}",
    "{{ 'x'.zfill(9223372036854775807) }}", "{{ ('a\\t' * 100).expandtabs(9223372036854775807) }}",
    "{{ ('a' * 5000).replace('', 'a' * 5000) }}", "{{ [1] | tojson(indent=9223372036854775807) }}",
    "{{ ('%' ~ '9' * 30 ~ 'd') % 5 }}", "{{ '%*d' % (9223372036854775807, 1) }}",
])
func template_thatMakesHugeText_passesTheLimitOfStrings(source: String) {
    #expect(renderError(source)?.subject == "stringBytes")
}

@Test func template_thatKeepsCopyingText_passesTheLimitOfCopies() {
    let source = "{% set s = 'x' * 1000000 %}{% for i in range(100000) %}{% set t = s ~ 'y' %}{% endfor %}"
    #expect(renderError(source)?.subject == "copiedBytes")
}

@Test func template_thatPrintsWithoutEnd_passesTheLimitOfOutput() {
    #expect(renderError("{% for i in range(1000) %}{{ 'x' * 1000000 }}{% endfor %}")?.subject == "outputBytes")
}

@Test(arguments: [
    "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "{% macro f() %}{{ caller }}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}",
    "{% for x in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "{% macro f() %}{% set x %}{% if true %}{{ [[f()]] }}{% endif %}{% endset %}{% endmacro %}{{ f() }}",
    "{% set ns = namespace() %}{% set ns.n = [ns] %}{{ ns }}",
    "{% set ns = namespace() %}{% set ns.n = ns %}{{ ns | string }}",
])
func template_thatRecurses_passesTheLimitOfEvaluationDepth(source: String) {
    #expect(renderError(source)?.subject == "evaluationDepth")
}

@Test(arguments: [
    "{% set ns = namespace(x=[]) %}{% for i in range(10000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x={}) %}{% for i in range(10000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(10000) %}{% set ns.x = ns.x | map('upper') %}{% endfor %}",
    "{% set ns = namespace(x={}) %}{% for i in range(10000) %}{% set ns.x = dict(a=ns.x).items() %}{% endfor %}",
])
func template_thatNestsValues_passesTheLimitOfValueDepth(source: String) {
    #expect(renderError(source)?.subject == "valueDepth")
}

@Test func template_thatChainsObjects_isFreedWithoutRecursion() {
    let limits = TemplateLimits()
    for made in ["namespace(x=ns.x)", "cycler(ns.x)", "joiner(ns.x)"] {
        let source = "{% set ns = namespace(x=1) %}{% for i in range(90000) %}{% set ns.x = \(made) %}{% endfor %}ok"
        #expect(renderError(source, limits) == nil)
    }
    let tooMany = "{% for i in range(100000) %}{% set x = namespace() %}{% set y = namespace() %}{% endfor %}"
    #expect(renderError(tooMany)?.subject == "objects")
}

@Test(arguments: [
    nested("(", "1", ")", 100_000), nested("[", "1", "]", 100_000), nested("{1:", "1", "}", 100_000),
    nested("-", "1", "", 100_000), nested("x[", "1", "]", 100_000), nested("f(", "1", ")", 100_000),
    nested("1 if 1 else ", "1", "", 50_000), nested("1 is odd(", "1", ")", 100_000),
])
func template_withDeepBrackets_passesTheLimitOfParsing(expression: Nested) {
    #expect(renderError("{{ \(expression.text) }}")?.subject == "parseDepth")
}

@Test(arguments: [
    nested("", "1", " + 1", 100_000), nested("not ", "1", "", 100_000), nested("", "x", ".y", 100_000),
    nested("", "x", "|upper", 50_000), nested("", "x", "()", 100_000), nested("", "1", " if 1", 100_000),
    nested("", "1", " or 1", 100_000), nested("", "x", "[0]", 100_000),
])
func template_withLongChains_passesTheLimitOfExpressions(expression: Nested) {
    #expect(renderError("{{ \(expression.text) }}")?.subject == "expressionDepth")
}

@Test(arguments: ["if 1", "for x in y", "macro f()", "filter upper", "with", "set x", "generation", "call f()"])
func template_withDeepBlocks_passesTheLimitOfParsing(tag: String) {
    #expect(renderError(String(repeating: "{% \(tag) %}", count: 10_000))?.subject == "parseDepth")
}

@Test func template_withDeepTargets_passesTheLimitOfParsing() {
    let source = "{% set " + nested("(", "x", ",)", 10_000).text + " = 1 %}"
    #expect(renderError(source)?.subject == "parseDepth")
}

@Test func template_thatIsTooLong_passesTheLimitOfSource() {
    #expect(renderError(String(repeating: "x", count: 2 << 20))?.subject == "sourceBytes")
}

@Test(arguments: [
    "{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}", "{{ 9223372036854775807 * 2 }}",
    "{{ 2 ** 64 }}", "{{ -(-9223372036854775807 - 1) }}", "{{ (-9223372036854775807 - 1) // -1 }}",
    "{{ (-9223372036854775807 - 1) | abs }}", "{{ '99999999999999999999' | int }}", "{{ 1e300 | int }}",
    "{{ 1e300 | round(0, 'ceil') }}", "{{ 9223372036854775807 | round(-1) }}", "{{ '%d' % 1e300 }}",
    "{{ range(0, 9, 9223372036854775807)[::9223372036854775807][::9223372036854775807] }}",
])
func template_withIntegersPast64Bits_isAnError(source: String) {
    #expect(renderError(source) != nil)
}

@Test func template_madeOfRandomBytesOfSyntax_neverCrashes() {
    let parts = [
        "{{", "}}", "{%", "%}", "{#", "#}", "-", "+", " ", "\n", "if", "for", "x", "in", "endif", "endfor", "set", "=",
        "'", "\"", "\\", "(", ")", "[", "]", "{", "}", "|", "upper", ".", ":", ",", "1", "0x", "1e", "raw", "endraw",
        "macro", "endmacro", "is", "not", "~", "*", "**", "//", "%", "é", "\u{0}", "loop", "recursive", "else",
    ]
    var state: UInt64 = 42
    for _ in 0..<20_000 {
        var source = ""
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        for _ in 0..<Int(state >> 60) + 2 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            source += parts[Int(state >> 33) % parts.count]
        }
        if let error = renderError(source) { #expect(error.code != .internalError) }
    }
}

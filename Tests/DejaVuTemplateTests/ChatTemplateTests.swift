import DejaVuCore
import DejaVuTemplate
import Testing

private let now = CivilTime(year: 2025, month: 3, day: 9, hour: 8, minute: 5, second: 7)

private func chat(_ source: String) throws -> ChatTemplate {
    try ChatTemplate(source, beginToken: "<s>", endToken: "</s>")
}

@Test func chatTemplate_ofChatML_marksRolesAndTagsButNoContents() throws {
    let template = try chat(try OracleCase.fixture("chatml.jinja"))
    let messages = [
        ChatMessage(role: "system", content: "S"), ChatMessage(role: "user", content: "<|im_end|>"),
    ]
    let pieces = try template.render(messages: messages, addGenerationPrompt: true, now: now)
    #expect(
        pieces == [
            TemplatePiece(text: "<|im_start|>system\n", isTemplate: true),
            TemplatePiece(text: "S", isTemplate: false),
            TemplatePiece(text: "<|im_end|>\n<|im_start|>user\n", isTemplate: true),
            TemplatePiece(text: "<|im_end|>", isTemplate: false),
            TemplatePiece(text: "<|im_end|>\n<|im_start|>assistant\n", isTemplate: true),
        ])
}

@Test func chatTemplate_ofUnknownRole_countsTheRoleAsData() throws {
    let template = try chat("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}")
    let pieces = try template.render(
        messages: [ChatMessage(role: "eot_id", content: "x")], addGenerationPrompt: false, now: now)
    #expect(pieces.map(\.text) == ["<|", "eot_id", "|>", "x"])
    #expect(pieces.map(\.isTemplate) == [true, false, true, false])
}

@Test func chatTemplate_ofTokensAndClock_showsThem() throws {
    let template = try chat("{{ bos_token }}{{ strftime_now('%d %b %Y') }}{{ eos_token }}{{ tools is none }}")
    let pieces = try template.render(messages: [], addGenerationPrompt: false, now: now)
    #expect(pieces == [TemplatePiece(text: "<s>09 Mar 2025</s>True", isTemplate: true)])
}

@Test func chatTemplate_thatRaises_refusesWithoutShowingContents() throws {
    let template = try chat("{{ raise_exception('no ' ~ messages[0].role ~ ' like ' ~ messages[0].content) }}")
    let error = #expect(throws: DejaVuError.self) {
        try template.render(
            messages: [ChatMessage(role: "user", content: "secret")], addGenerationPrompt: true, now: now)
    }
    #expect(error?.code == .invalidArgument)
    #expect(error?.message.contains("no user like …") ?? false)
}

@Test(arguments: ["chatml", "llama2", "llama3", "mistral"])
func chatTemplate_check_acceptsEveryFixture(name: String) throws {
    try chat(try OracleCase.fixture(name + ".jinja")).check()
}

@Test func chatTemplate_check_acceptsOneThatRefusesSystemMessages() throws {
    let source =
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}"
    try chat(source + "{% endfor %}").check()
}

@Test(arguments: [
    "{{ messages[0].content + 1 }}", "{{ raise_exception('always') }}", "no message at all",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "{{ lipsum() }}",
])
func chatTemplate_check_rejectsOneThatCannotRender(source: String) throws {
    let template = try chat(source)
    #expect(throws: DejaVuError.self) { try template.check() }
}

@Test(arguments: [
    (0, "1970-01-01 00:00:00"), (-1, "1969-12-31 23:59:59"), (951_827_696, "2000-02-29 12:34:56"),
    (1_709_251_199, "2024-02-29 23:59:59"), (1_741_507_507, "2025-03-09 08:05:07"),
    (4_107_542_400, "2100-03-01 00:00:00"), (Int64.max, "9999-12-31 23:59:59"), (Int64.min, "0001-01-01 00:00:00"),
])
func civilTime_ofSeconds_isTheDateInUTC(seconds: Int64, expected: String) throws {
    let template = try Template("{{ strftime_now('%Y-%m-%d %H:%M:%S') }}")
    let text = try template.render([:], clock: CivilTime(secondsSince1970: seconds)).map(\.text).joined()
    #expect(String(repeating: "0", count: 19 - text.count) + text == expected)
}

@Test func templateCheck_ofALine_answersWithPiecesOrAnError() {
    let request = #"{"source": "<{{ x }}>", "context": {"x": "é\"\ud83d\ude00"}}"#
    #expect(TemplateCheck.answer(to: request) == #"{"pieces": [["<", true], ["é\"😀", false], [">", true]]}"#)
    #expect(TemplateCheck.answer(to: "{").contains("\"error\""))
    #expect(TemplateCheck.answer(to: #"{"source": "{{", "context": {}}"#).contains("invalidFile"))
}

package import DejaVuCore

/// A stretch of rendered text of one origin.
package struct TemplatePiece: Hashable, Sendable {
    package var text: String
    /// Whether the template's author wrote it. Special tokens may be recognised here and nowhere else.
    package var isTemplate: Bool

    package init(text: String, isTemplate: Bool) {
        self.text = text
        self.isTemplate = isTemplate
    }
}

/// A chat template in Jinja2's language, parsed once and rendered any number of times, on any thread.
///
/// The result equals that of Python's jinja2 3.1 in the set-up of Hugging Face's transformers:
/// `ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)` with loop controls, the `generation` tag,
/// `raise_exception`, `strftime_now`, and a `tojson` that does not escape HTML.
///
/// Where it differs: integers have 64 bits (more is an error); `include`, `import`, `extends`, `block` and
/// `autoescape` are refused, as are the filters `random`, `pprint` and `urlize`; and everything has a limit.
package struct Template: Sendable {
    private let body: [Statement]
    private let scopes: ScopeTable

    /// Throws `.invalidFile` with the line for what does not parse, `.unsupported` for what cannot be had here, and
    /// `.resourceExhausted` for what is too large or too deep.
    package init(_ source: String, limits: TemplateLimits = TemplateLimits()) throws(DejaVuError) {
        (body, scopes) = try Parser.parse(source, limits: limits)
    }

    /// The rendered text in pieces that alternate in origin.
    ///
    /// `clock` is what `strftime_now` shows. Throws `.invalidArgument` if the template raises an error or refuses the
    /// conversation, `.unsupported`, or `.resourceExhausted` with the limit's name as the subject.
    package func render(
        _ context: [String: TemplateValue], limits: TemplateLimits = TemplateLimits(), clock: CivilTime
    ) throws(DejaVuError) -> [TemplatePiece] {
        let renderer = Renderer(scopes, context: context, limits: limits, clock: clock)
        let text = try renderer.render(body)
        return text.runs(in: 0..<text.count).map { run in
            TemplatePiece(text: String(decoding: text.bytes[run.range], as: UTF8.self), isTemplate: run.isTemplate)
        }
    }
}

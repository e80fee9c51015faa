package import DejaVuCore

/// One message of a conversation.
package struct ChatMessage: Hashable, Sendable {
    package var role: String
    package var content: String

    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

/// A model's chat template with the texts of its tokens: makes the prompt of a conversation.
package struct ChatTemplate: Sendable {
    /// Roles that a client cannot choose freely: templates put them between the halves of special tokens.
    private static let knownRoles: Set<String> = ["system", "developer", "user", "assistant", "tool", "function"]

    private let template: Template
    private let beginToken: String?
    private let endToken: String?
    private let limits: TemplateLimits

    /// Parses `source`, the GGUF's `tokenizer.chat_template`. The tokens are the texts of the beginning and the end
    /// of a sequence, nil where the model has none. Throws as `Template.init` does.
    package init(
        _ source: String, beginToken: String?, endToken: String?, limits: TemplateLimits = TemplateLimits()
    ) throws(DejaVuError) {
        template = try Template(source, limits: limits)
        self.beginToken = beginToken
        self.endToken = endToken
        self.limits = limits
    }

    /// The prompt. With `addGenerationPrompt` it ends where the assistant's answer begins.
    ///
    /// What comes from a message is never marked as the template's. A role is, if it is one of those that the
    /// protocol knows. `now` is what `strftime_now` shows. Throws as `Template.render` does.
    package func render(
        messages: [ChatMessage], addGenerationPrompt: Bool, now: CivilTime
    ) throws(DejaVuError) -> [TemplatePiece] {
        let list = messages.map { message in
            TemplateValue.dict(of: [
                ("role", .string(TemplateString(message.role, isTemplate: Self.knownRoles.contains(message.role)))),
                ("content", .data(message.content)),
            ])
        }
        var context: [String: TemplateValue] = [
            "messages": .list(of: list), "add_generation_prompt": .bool(addGenerationPrompt), "tools": .none,
            "documents": .none,
        ]
        if let beginToken { context["bos_token"] = .trusted(beginToken) }
        if let endToken { context["eos_token"] = .trusted(endToken) }
        return try template.render(context, limits: limits, clock: now)
    }

    /// Renders sample conversations, so that a template that we cannot render is an error at start.
    ///
    /// A template may refuse a conversation (no system messages, say); it must accept one of the samples. Throws what
    /// the simplest one threw if it accepts none, and at once what is unsupported or over a limit.
    package func check() throws(DejaVuError) {
        let now = CivilTime(year: 2025, month: 1, day: 31, hour: 12)
        let user = ChatMessage(role: "user", content: "Hello")
        let samples = [
            [user], [ChatMessage(role: "system", content: "Be brief."), user],
            [user, ChatMessage(role: "assistant", content: "Hi"), ChatMessage(role: "user", content: "Bye")],
        ]
        var refusal: DejaVuError?
        var isAccepted = false
        for messages in samples {
            do {
                let pieces = try render(messages: messages, addGenerationPrompt: true, now: now)
                if pieces.contains(where: { $0.text.contains("Hello") }) { isAccepted = true }
            } catch {
                guard error.code == .invalidArgument else { throw error }
                refusal = refusal ?? error
            }
        }
        guard isAccepted else {
            throw refusal
                ?? DejaVuError(
                    .unsupported, "chat template: the messages' contents do not appear in the prompt",
                    subject: "chat_template")
        }
    }
}

import DejaVuCore

/// What a template may use up. A template comes out of a model file, so it is as little trusted as the messages are.
///
/// Passing a limit throws `.resourceExhausted` with the limit's name as the subject.
package struct TemplateLimits: Sendable {
    /// Bytes of template source.
    package var sourceBytes = 1 << 20
    /// How deeply statements and expressions may be nested in the source.
    package var parseDepth = 64
    /// How many nodes deep an expression may be: a chain of `+` counts as well as brackets do.
    package var expressionDepth = 200
    /// Expressions and statements evaluated in one rendering; long strings and lists count in proportion.
    package var steps = 5_000_000
    /// Evaluations inside one another, including the calls of macros and recursive loops. An optimised build needs
    /// less than 1 MiB of stack for the default, and for the default of `parseDepth`.
    package var evaluationDepth = 500
    /// Bytes of the rendered text.
    package var outputBytes = 16 << 20
    /// Bytes of a single string while rendering.
    package var stringBytes = 16 << 20
    /// Bytes written to strings in one rendering, all told.
    package var copiedBytes = 1 << 30
    /// How deeply lists, dicts and iterators may be nested.
    package var valueDepth = 100
    /// Namespaces, macros, loops and other things with an identity that one rendering may make.
    package var objects = 100_000
    /// Items of one `range`; the same bound as Jinja2's sandbox has.
    package var rangeItems = 100_000

    package init() {}
}

extension DejaVuError {
    /// A limit of `TemplateLimits` is passed.
    static func templateLimit(_ name: String, _ limit: Int, line: Int) -> DejaVuError {
        DejaVuError(
            .resourceExhausted, "chat template, line \(line): over the limit \(name) of \(limit)", subject: name)
    }
}

import DejaVuCore

/// The evaluated arguments of a call.
struct Arguments {
    var positional: [TemplateValue] = []
    var named: [(name: String, value: TemplateValue)] = []

    /// The arguments in the order of `parameters`, nil where none is given.
    ///
    /// Throws like Python does for too many, unknown, double and, among the first `required`, missing arguments.
    func bind(
        _ parameters: [String], required: Int = 0, in function: String, _ renderer: Renderer
    ) throws(DejaVuError) -> [TemplateValue?] {
        guard positional.count <= parameters.count else {
            throw renderer.typeError("\(function) takes at most \(parameters.count) arguments")
        }
        var result: [TemplateValue?] = positional
        result += Array(repeating: nil, count: parameters.count - positional.count)
        for (name, value) in named {
            guard let index = parameters.firstIndex(of: name) else {
                throw renderer.typeError("\(function) has no argument '\(name)'")
            }
            guard result[index] == nil else { throw renderer.typeError("\(function) got '\(name)' twice") }
            result[index] = value
        }
        for index in 0..<required where result[index] == nil {
            throw renderer.typeError("\(function) needs the argument '\(parameters[index])'")
        }
        return result
    }
}

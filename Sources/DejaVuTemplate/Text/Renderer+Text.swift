import DejaVuCore

/// Python's `str` and `repr`.
extension Renderer {
    /// What a value prints as.
    func text(of value: TemplateValue) throws(DejaVuError) -> TemplateString {
        switch value {
        case .string(let string): return string.plain
        case .undefined: return TemplateString()
        default: return try representation(of: value)
        }
    }

    func representation(of value: TemplateValue) throws(DejaVuError) -> TemplateString {
        var result = TemplateString()
        try writeRepresentation(of: value, into: &result)
        try charge(bytes: result.count)
        return result
    }

    private func writeRepresentation(of value: TemplateValue, into text: inout TemplateString) throws(DejaVuError) {
        switch value {
        case .undefined: text.append(literal: "Undefined")
        case .none: text.append(literal: "None")
        case .bool(let bool): text.append(bool ? "True" : "False", isTemplate: true)
        case .int(let int): text.append(String(int), isTemplate: true)
        case .double(let double): text.append(FloatText.shortest(double), isTemplate: true)
        case .string(let string):
            if string.isMarkup { text.append(literal: "Markup(") }
            TextTools.writeQuoted(string, into: &text)
            if string.isMarkup { text.append(literal: ")") }
        default:
            if text.count > limits.stringBytes { throw limit("stringBytes", limits.stringBytes) }
            try deeper { () throws(DejaVuError) in try writeContainer(value, into: &text) }
        }
    }

    private func writeContainer(_ value: TemplateValue, into text: inout TemplateString) throws(DejaVuError) {
        switch value {
        case .list(let list):
            text.append(literal: "[")
            try write(list.items, into: &text)
            text.append(literal: "]")
        case .tuple(let list):
            text.append(literal: "(")
            try write(list.items, into: &text)
            text.append(list.items.count == 1 ? ",)" : ")", isTemplate: true)
        case .dict(let dict): try write(dict.keys, dict.values, into: &text)
        case .object(let namespace as NamespaceObject):
            text.append(literal: "<Namespace ")
            let keys = namespace.attributes.map {
                TemplateValue.string(TemplateString(bytes: $0.name, isTemplate: true))
            }
            try write(keys, namespace.attributes.map(\.value), into: &text)
            text.append(literal: ">")
        case .object(let view as DictViewObject):
            text.append(view.part.rawValue + "([", isTemplate: true)
            try write((0..<view.dict.count).map { view.item($0) }, into: &text)
            text.append(literal: "])")
        case .object(let object): text.append(object.shown, isTemplate: true)
        default: preconditionFailure("not a container")
        }
    }

    private func write(_ items: [TemplateValue], into text: inout TemplateString) throws(DejaVuError) {
        try charge(items: items.count)
        for (index, item) in items.enumerated() {
            if index > 0 { text.append(literal: ", ") }
            try writeRepresentation(of: item, into: &text)
        }
    }

    private func write(
        _ keys: [TemplateValue], _ values: [TemplateValue], into text: inout TemplateString
    ) throws(DejaVuError) {
        try charge(items: keys.count)
        text.append(literal: "{")
        for (index, (key, value)) in zip(keys, values).enumerated() {
            if index > 0 { text.append(literal: ", ") }
            try writeRepresentation(of: key, into: &text)
            text.append(literal: ": ")
            try writeRepresentation(of: value, into: &text)
        }
        text.append(literal: "}")
    }
}

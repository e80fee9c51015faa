/// How wide text will be, estimated: a picture carries no font, so nobody knows before it is shown.
///
/// The widths are those of a roomy sans-serif face in units of the font size, and err to the wide side.
enum TextMetrics {
    /// How much wider bold text is.
    static let boldness = 1.14

    static func width(_ text: String, size: Double) -> Double {
        text.unicodeScalars.reduce(0) { $0 + emWidth($1) } * size
    }

    /// The text, or as much of its beginning as fits with an ellipsis after it.
    static func truncated(_ text: String, size: Double, width limit: Double) -> String {
        guard width(text, size: size) > limit else { return text }
        var kept = ""
        var used = emWidth("…") * size
        for character in text {
            used += character.unicodeScalars.reduce(0) { $0 + emWidth($1) } * size
            if used > limit { break }
            kept.append(character)
        }
        while kept.last == " " { kept.removeLast() }
        return kept + "…"
    }

    /// The text cut at spaces into at most `lines` lines; what does not fit is truncated.
    static func wrapped(_ text: String, size: Double, width limit: Double, lines: Int) -> [String] {
        var result: [String] = []
        for word in text.split(separator: " ", omittingEmptySubsequences: true) {
            if let last = result.last, width(last + " " + word, size: size) <= limit || result.count == lines {
                result[result.count - 1] = last + " " + word
            } else {
                result.append(String(word))
            }
        }
        return result.map { truncated($0, size: size, width: limit) }
    }

    private static func emWidth(_ scalar: Unicode.Scalar) -> Double {
        switch scalar {
        case "i", "l", "j", "I", "'", "|", "!", ".", ",", ":", ";": 0.29
        case " ", "f", "t", "r", "(", ")", "[", "]", "/", "\\", "-": 0.36
        case "m", "w", "M", "W", "@", "%", "…", "—": 0.92
        case "A"..."Z", "&", "+", "=", "<", ">", "×", "≤", "≥": 0.70
        case "0"..."9", "a"..."z", "µ": 0.58
        default: scalar.value < 0x300 ? 0.62 : (scalar.value < 0x1100 ? 0.70 : 1.05)
        }
    }
}

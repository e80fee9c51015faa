/// The colours of all pictures: told apart by people who see red and green alike (after Okabe and Ito, darkened until
/// each reaches a contrast of 3 to 1 on its background), in a light and a dark set.
enum Theme {
    /// A style class and what it looks like on light and on dark ground.
    private struct Rule {
        let name: String
        let property: String
        let light: String
        let dark: String
    }

    /// Series beyond this many repeat the colours, with another dash.
    static let colourCount = series.count

    private static let series: [(light: String, dark: String)] = [
        ("#0068b5", "#5aaef2"), ("#d55e00", "#ff8f45"), ("#00846a", "#35cfa4"), ("#b5478f", "#e993cb"),
        ("#b07c00", "#e8bb30"), ("#3794d0", "#a5dcff"), ("#6b7280", "#a3abb6"), ("#5b3fa0", "#b9a3f5"),
    ]

    private static let rules: [Rule] =
        [
            Rule(name: "bg", property: "fill", light: "#ffffff", dark: "#12161b"),
            Rule(name: "ink", property: "fill", light: "#1f2328", dark: "#e8edf3"),
            Rule(name: "soft", property: "fill", light: "#57606a", dark: "#9da7b3"),
            Rule(name: "on", property: "fill", light: "#ffffff", dark: "#0d1117"),
            Rule(name: "lane", property: "fill", light: "#f0f3f6", dark: "#1d232b"),
            Rule(name: "grid", property: "stroke", light: "#e3e8ed", dark: "#272e37"),
            Rule(name: "axis", property: "stroke", light: "#8b949e", dark: "#6e7681"),
            Rule(name: "ref", property: "stroke", light: "#57606a", dark: "#9da7b3"),
            Rule(name: "halo", property: "stroke", light: "#ffffff", dark: "#12161b"),
        ]
        + series.enumerated().flatMap { index, colour in
            [
                Rule(name: "s\(index)", property: "stroke", light: colour.light, dark: colour.dark),
                Rule(name: "f\(index)", property: "fill", light: colour.light, dark: colour.dark),
            ]
        }

    static let styleSheet: String = {
        let light = rules.map { ".dj-\($0.name){\($0.property):\($0.light)}" }.joined()
        let dark = rules.map { ".dj-\($0.name){\($0.property):\($0.dark)}" }.joined()
        return light + "\n@media (prefers-color-scheme:dark){" + dark + "}"
    }()

    static let fontFamily = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"

    /// The class that strokes with a series' colour.
    static func stroke(_ series: Int) -> String { "dj-s\(series % colourCount)" }
    /// The class that fills with a series' colour.
    static func fill(_ series: Int) -> String { "dj-f\(series % colourCount)" }

    /// The dash of a line: solid for the first round of colours.
    static func dash(_ series: Int) -> String? {
        [nil, "7 3", "2 3", "9 3 2 3"][series / colourCount % 4]
    }
}

package import DejaVuCore

/// Turns a configuration file and the environment into command-line options, so that the three name and check the
/// same things in one place: the option parser.
///
/// The file has one `name = value` a line, where `name` is an option without its dashes; `#` begins a comment, quotes
/// around a value are dropped, and `true` or `false` switches a flag. `DEJAVU_NAME` in the environment is `--name`.
/// The command line wins over the environment, and that over the file.
package enum ConfigurationFile {
    package static let fileBytesMax = 1 << 20

    /// An option's name and value, with the place that a message can point at.
    package struct Setting: Equatable {
        package let name: String
        package let value: String
        package let place: String
    }

    package static func parse(_ text: String, file: String) throws(DejaVuError) -> [Setting] {
        var settings: [Setting] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let place = "\(file):\(index + 1)"
            let content = trim(stripComment(line))
            if content.isEmpty { continue }
            guard let equals = content.firstIndex(of: "=") else {
                throw DejaVuError(.invalidArgument, "\(place): expected `name = value`")
            }
            let name = trim(content[..<equals])
            let value = unquote(trim(content[content.index(after: equals)...]))
            guard !name.isEmpty, name.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "-" }) else {
                throw DejaVuError(.invalidArgument, "\(place): `\(name)` is not a name of an option")
            }
            if settings.contains(where: { $0.name == name }) {
                throw DejaVuError(.invalidArgument, "\(place): `\(name)` is set twice")
            }
            settings.append(Setting(name: String(name), value: String(value), place: place))
        }
        return settings
    }

    /// The settings that the environment makes: `DEJAVU_API_KEY_FILE=x` is `api-key-file = x`.
    package static func settings(inEnvironment environment: [String: String]) -> [Setting] {
        environment.keys.sorted().compactMap { key in
            guard key.hasPrefix("DEJAVU_"), let value = environment[key] else { return nil }
            let name = key.dropFirst("DEJAVU_".count).lowercased().map { $0 == "_" ? "-" : $0 }
            return Setting(name: String(name), value: value, place: "environment variable \(key)")
        }
    }

    /// The options as arguments.
    ///
    /// - Parameters:
    ///   - options: names of options that take a value.
    ///   - flags: names of options that take none.
    /// - Throws: `.invalidArgument` that names the place and the nearest known name.
    package static func arguments(
        from settings: [Setting], options: [String], flags: [String]
    ) throws(DejaVuError) -> [String] {
        var arguments: [String] = []
        for setting in settings {
            if options.contains(setting.name) {
                arguments.append("--\(setting.name)=\(setting.value)")
            } else if flags.contains(setting.name) {
                switch setting.value {
                case "true", "1", "": arguments.append("--\(setting.name)")
                case "false", "0": break
                default:
                    throw DejaVuError(
                        .invalidArgument, "\(setting.place): `\(setting.name)` is true or false, not `\(setting.value)`"
                    )
                }
            } else {
                let hint = nearest(to: setting.name, among: options + flags).map { "; did you mean `\($0)`?" } ?? ""
                throw DejaVuError(.invalidArgument, "\(setting.place): unknown setting `\(setting.name)`\(hint)")
            }
        }
        return arguments
    }

    private static func stripComment(_ line: Substring) -> Substring {
        var quoted = false
        for index in line.indices {
            if line[index] == "\"" { quoted.toggle() }
            if line[index] == "#" && !quoted { return line[..<index] }
        }
        return line
    }

    private static func trim(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return text
    }

    private static func unquote(_ text: Substring) -> Substring {
        text.count >= 2 && text.first == "\"" && text.last == "\"" ? text.dropFirst().dropLast() : text
    }

    /// The known name with the smallest edit distance, if that is small enough to be a slip.
    private static func nearest(to name: String, among known: [String]) -> String? {
        let best = known.map { ($0, editDistance(Array($0), Array(name))) }.min { $0.1 < $1.1 }
        guard let best, best.1 <= max(2, name.count / 3) else { return nil }
        return best.0
    }

    private static func editDistance(_ left: [Character], _ right: [Character]) -> Int {
        var row = Array(0...right.count)
        for (i, a) in left.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, b) in right.enumerated() {
                let substituted = diagonal + (a == b ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(substituted, diagonal + 1, row[j] + 1)
            }
        }
        return row[right.count]
    }
}

package import DejaVuCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Renders templates that come in as lines of JSON: how tools compare this interpreter with another one.
package enum TemplateCheck {
    /// Answers every line of the standard input with one on the standard output until the input ends.
    package static func run() {
        while let line = readLine() {
            print(answer(to: line))
            // Whoever asks waits for the answer; a pipe would keep it back.
            fflush(nil)
        }
    }

    /// A line `{"source": text, "context": object, "now": [year, month, day, hour, minute, second]}` gives
    /// `{"pieces": [[text, isTemplate], ...]}` or `{"error": message, "code": code}`.
    package static func answer(to line: String) -> String {
        let result: TemplateValue
        do throws(DejaVuError) {
            let pieces = try render(line).map { piece in
                TemplateValue.list(of: [.data(piece.text), .bool(piece.isTemplate)])
            }
            result = .dict(of: [("pieces", .list(of: pieces))])
        } catch {
            result = .dict(of: [("error", .data(error.message)), ("code", .data(error.code.description))])
        }
        return (try? text(of: result)) ?? #"{"error": "the result is too large", "code": "resourceExhausted"}"#
    }

    /// What the line asks for.
    package static func render(_ line: String) throws(DejaVuError) -> [TemplatePiece] {
        let request = try JSONReader.value(of: line)
        guard let source = request["source"]?.string, let context = request["context"] else {
            throw DejaVuError(.invalidArgument, "a request needs a source and a context")
        }
        return try Template(source).render(context.dictionary, clock: try clock(request["now"]))
    }

    private static func clock(_ value: TemplateValue?) throws(DejaVuError) -> CivilTime {
        guard case .list(let list)? = value else { return CivilTime(year: 2025, month: 1, day: 31, hour: 12) }
        let fields = list.items.compactMap { Renderer.integer($0) }
        guard fields.count == 6, (1...9999).contains(fields[0]), (1...12).contains(fields[1]),
            (1...CivilTime.days(in: fields[1], of: fields[0])).contains(fields[2]), (0..<24).contains(fields[3]),
            (0..<60).contains(fields[4]), (0..<60).contains(fields[5])
        else { throw DejaVuError(.invalidArgument, "now must be year, month, day, hour, minute, second") }
        return CivilTime(
            year: fields[0], month: fields[1], day: fields[2], hour: fields[3], minute: fields[4], second: fields[5])
    }

    private static func text(of value: TemplateValue) throws(DejaVuError) -> String {
        let template = try Template("{{ value | tojson }}")
        let pieces = try template.render(["value": value], clock: CivilTime(year: 1970, month: 1, day: 1))
        return pieces.map(\.text).joined()
    }
}

import DejaVuCore
import FoundationEssentials

/// Files that a command writes or reads as a whole.
enum OutputFile {
    /// Writes the text to a file, or to standard output for `-`.
    static func write(_ text: String, to path: String) throws {
        guard path != "-" else { return print(text, terminator: "") }
        do {
            try Data(text.utf8).write(to: URL(filePath: path), options: .atomic)
        } catch {
            throw DejaVuError(.invalidArgument, "cannot write \(path)", subject: path)
        }
    }

    /// The first line of a small file such as one that holds a key.
    static func firstLine(_ path: String) throws -> String {
        guard let text = try? String(contentsOf: URL(filePath: path), encoding: .utf8),
            let line = text.split(whereSeparator: \.isNewline).first
        else { throw DejaVuError(.notFound, "cannot read a line from \(path)", subject: path) }
        return String(line)
    }
}

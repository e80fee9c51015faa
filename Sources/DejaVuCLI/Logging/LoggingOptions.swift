import ArgumentParser
import DejaVuCore
import Glibc
import Logging
import Synchronization

/// How a long-running command logs: to standard error, as text or JSON.
struct LoggingOptions: ParsableArguments {
    enum Format: String, ExpressibleByArgument, CaseIterable { case text, json }

    @Option(help: "trace, debug, info, notice, warning, error or critical.", transform: level)
    var logLevel = Logger.Level.info
    @Option(help: "Log lines as `text` or `json`.")
    var logFormat: Format = .text

    private static func level(_ text: String) throws -> Logger.Level {
        guard let level = Logger.Level(rawValue: text) else {
            throw ValidationError("there is no log level '\(text)'")
        }
        return level
    }

    /// Sets the process's logging up. Once.
    func bootstrap(label: String) -> Logger {
        let format = logFormat
        let level = logLevel
        LoggingSystem.bootstrap { StandardErrorLog(label: $0, format: format, logLevel: level) }
        return Logger(label: label)
    }

    var arguments: [String] { ["--log-level", logLevel.rawValue, "--log-format", logFormat.rawValue] }
}

/// One line for each message, written whole.
struct StandardErrorLog: LogHandler {
    let label: String
    let format: LoggingOptions.Format
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(label: String, format: LoggingOptions.Format, logLevel: Logger.Level) {
        self.label = label
        self.format = format
        self.logLevel = logLevel
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = event.metadata.map { metadata.merging($0) { $1 } } ?? metadata
        var line = ""
        switch format {
        case .text:
            line = "\(Self.timestamp()) \(event.level.rawValue) \(label): \(event.message)"
            for (key, value) in all.sorted(by: { $0.key < $1.key }) { line += " \(key)=\(Self.quoted("\(value)"))" }
        case .json:
            line =
                "{\"time\":\"\(Self.timestamp())\",\"level\":\"\(event.level.rawValue)\",\"label\":\(Self.json(label)),"
            line += "\"message\":\(Self.json("\(event.message)"))"
            for (key, value) in all.sorted(by: { $0.key < $1.key }) {
                line += ",\(Self.json(key)):\(Self.json("\(value)"))"
            }
            line += "}"
        }
        Diagnostics.write(line + "\n", to: STDERR_FILENO)
    }

    /// ISO 8601 in UTC, to the millisecond.
    private static func timestamp() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        func digits(_ value: some BinaryInteger, _ width: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        let date = "\(digits(parts.tm_year + 1900, 4))-\(digits(parts.tm_mon + 1, 2))-\(digits(parts.tm_mday, 2))"
        let time = "\(digits(parts.tm_hour, 2)):\(digits(parts.tm_min, 2)):\(digits(parts.tm_sec, 2))"
        return "\(date)T\(time).\(digits(now.tv_nsec / 1_000_000, 3))Z"
    }

    private static func quoted(_ text: String) -> String {
        text.allSatisfy { $0 > " " && $0 != "\"" && $0 != "=" } && !text.isEmpty ? text : json(text)
    }

    /// A JSON string: nothing that a message holds can break the line.
    private static func json(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let hex = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

/// What commands say to people besides their result.
enum Diagnostics {
    static func complain(_ message: String) { write("dejavu: \(message)\n", to: STDERR_FILENO) }

    /// Writes all of it; gives up if nobody can read it.
    static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }
}

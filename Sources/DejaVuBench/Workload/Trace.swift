package import DejaVuCore

/// One request of a recorded trace.
package struct TraceRow: Hashable, Sendable {
    /// Since the trace's first request; never negative, ascending.
    package let offset: TimeSpan
    package let promptTokenCount: Int
    package let outputTokenCount: Int
}

/// Reads traces in the form of the Azure LLM inference dataset (Splitwise, ISCA 2024; DynamoLLM, HPCA 2025):
///
///     TIMESTAMP,ContextTokens,GeneratedTokens
///     2023-11-16 18:15:46.6805900,374,44
///
/// Columns are found by their names and may be more than these. Timestamps are dates with or without a fraction and an
/// offset from UTC. Feed it lines until it is full.
package struct TraceParser: Sendable {
    /// What a trace may hold.
    package struct Limits: Sendable {
        package var lineBytesMax = 4096
        package var rowCountMax: Int
        /// Rows later than this after the first are not wanted.
        package var offsetMax: TimeSpan

        package init(rowCountMax: Int = 1_000_000, offsetMax: TimeSpan = TimeSpan(nanoseconds: .max)) {
            self.rowCountMax = rowCountMax
            self.offsetMax = offsetMax
        }
    }

    private struct Columns {
        let timestamp: Int
        let prompt: Int
        let output: Int
        let count: Int
    }

    package private(set) var rows: [TraceRow] = []
    /// Nothing more is wanted: a limit is reached.
    package private(set) var isFull = false
    private let limits: Limits
    private var columns: Columns?
    private var lineNumber = 0
    private var origin: Int64?

    package init(limits: Limits = Limits()) { self.limits = limits }

    /// Takes the next line, without its line feed.
    ///
    /// - Throws: `DejaVuError.invalidFile` that names the line and the column.
    package mutating func feed(line: some Collection<UInt8>) throws {
        lineNumber += 1
        guard !isFull else { return }
        guard line.count <= limits.lineBytesMax else { throw bad("is longer than \(limits.lineBytesMax) bytes") }
        guard var text = String(validating: line, as: UTF8.self) else { throw bad("is not UTF-8") }
        if text.last == "\r" || text.last == "\r\n" { text.removeLast() }
        if text.allSatisfy(\.isWhitespace) { return }
        var fields = text.split(separator: ",", omittingEmptySubsequences: false)
        guard let columns else { return try readHeader(fields) }
        guard fields.count == columns.count else {
            throw bad("has \(fields.count) fields where the header has \(columns.count)")
        }
        for index in fields.indices { fields[index] = trimmed(fields[index]) }
        guard let time = Timestamp.nanoseconds(fields[columns.timestamp]) else { throw bad("TIMESTAMP is no date") }
        let prompt = try count(fields[columns.prompt], "ContextTokens")
        let output = try count(fields[columns.output], "GeneratedTokens")
        let start = origin ?? time
        origin = start
        let (offset, overflow) = time.subtractingReportingOverflow(start)
        let previous = rows.last?.offset ?? .zero
        guard !overflow, offset >= previous.nanoseconds else { throw bad("TIMESTAMP goes back in time") }
        guard TimeSpan(nanoseconds: offset) <= limits.offsetMax else {
            isFull = true
            return
        }
        rows.append(
            TraceRow(offset: TimeSpan(nanoseconds: offset), promptTokenCount: prompt, outputTokenCount: output))
        isFull = rows.count >= limits.rowCountMax
    }

    /// The rows, once all lines were given.
    ///
    /// - Throws: `DejaVuError.invalidFile` if there are none.
    package func finished() throws -> [TraceRow] {
        guard columns != nil else { throw DejaVuError(.invalidFile, "the trace is empty") }
        guard !rows.isEmpty else { throw DejaVuError(.invalidFile, "the trace has a header but no requests") }
        return rows
    }

    private mutating func readHeader(_ fields: [Substring]) throws {
        var names = fields.map { String(trimmed($0)).lowercased() }
        if let first = names.first, first.unicodeScalars.first == "\u{FEFF}" {
            names[0] = String(String.UnicodeScalarView(first.unicodeScalars.dropFirst()))
        }
        guard let timestamp = names.firstIndex(of: "timestamp"), let prompt = names.firstIndex(of: "contexttokens"),
            let output = names.firstIndex(of: "generatedtokens")
        else { throw bad("is no header with TIMESTAMP, ContextTokens and GeneratedTokens") }
        columns = Columns(timestamp: timestamp, prompt: prompt, output: output, count: fields.count)
    }

    private func count(_ field: Substring, _ name: String) throws -> Int {
        guard let value = Int(field), (0...LengthDistribution.lengthMax).contains(value) else {
            throw bad("\(name) is no count of tokens")
        }
        return value
    }

    private func trimmed(_ field: Substring) -> Substring {
        var field = field
        while let first = field.first, first.isWhitespace { field = field.dropFirst() }
        while let last = field.last, last.isWhitespace { field = field.dropLast() }
        return field
    }

    private func bad(_ problem: String) -> DejaVuError {
        DejaVuError(.invalidFile, "line \(lineNumber) of the trace: \(problem)", subject: "line \(lineNumber)")
    }
}

/// Dates as they stand in traces and logs.
enum Timestamp {
    /// Nanoseconds since 1970 of `YYYY-MM-DD HH:MM:SS[.fraction][Z|+HH:MM]` (a T may stand for the space); nil if it is
    /// none, or before 1970 or after 2199, so that no arithmetic on it can overflow.
    static func nanoseconds(_ text: Substring) -> Int64? {
        var rest = Array(text.utf8)[...]
        func number(_ digits: Int) -> Int? {
            guard rest.count >= digits else { return nil }
            var value = 0
            for byte in rest.prefix(digits) {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
                value = value * 10 + Int(byte - UInt8(ascii: "0"))
            }
            rest = rest.dropFirst(digits)
            return value
        }
        func separator(_ allowed: String) -> Bool {
            guard let byte = rest.first, allowed.utf8.contains(byte) else { return false }
            rest = rest.dropFirst()
            return true
        }
        guard let year = number(4), separator("-"), let month = number(2), separator("-"), let day = number(2),
            separator(" T"), let hour = number(2), separator(":"), let minute = number(2), separator(":"),
            let second = number(2), (1970...2199).contains(year), (1...12).contains(month), (1...31).contains(day),
            hour < 24, minute < 60, second <= 60
        else { return nil }
        var fraction: Int64 = 0
        if separator(".") {
            var unit: Int64 = 100_000_000
            guard let first = rest.first, (0x30...0x39).contains(first) else { return nil }
            while let byte = rest.first, (0x30...0x39).contains(byte) {
                fraction += Int64(byte - 0x30) * unit
                unit /= 10
                rest = rest.dropFirst()
            }
        }
        var offsetMinutes = 0
        if let sign = rest.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") {
            rest = rest.dropFirst()
            guard let hours = number(2), hours < 24 else { return nil }
            _ = separator(":")
            guard let minutes = number(2), minutes < 60 else { return nil }
            offsetMinutes = (hours * 60 + minutes) * (sign == UInt8(ascii: "+") ? 1 : -1)
        } else if rest.first == UInt8(ascii: "Z") {
            rest = rest.dropFirst()
        }
        guard rest.isEmpty else { return nil }
        let minutes = days(year, month, day) * 1440 + hour * 60 + minute - offsetMinutes
        return Int64(minutes * 60 + second) * 1_000_000_000 + fraction
    }

    /// Days since 1970-01-01 in the Gregorian calendar, counting years from March so that the leap day is the last.
    private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let shifted = month > 2 ? year : year - 1
        let monthFromMarch = (month + 9) % 12
        let dayOfYear = (153 * monthFromMarch + 2) / 5 + day - 1
        return shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + dayOfYear - 719_468
    }
}

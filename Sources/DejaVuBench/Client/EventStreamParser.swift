/// Cuts a `text/event-stream` into the data of its events, as the bytes come (HTML Living Standard, 9.2.6).
///
/// Fields other than `data` and `id` and comments are skipped. OpenAI's streams have one data line for each event, and
/// each line is given by itself.
package struct EventStreamParser {
    /// Longer lines break the stream.
    package static let lineBytesMax = 1 << 20

    private var pending: [UInt8] = []
    private var nextID: [UInt8] = []
    private var lastID: [UInt8] = []

    /// The id of the last event that was given, as the server named it; nil if it names none.
    package var lastEventID: String? { lastID.isEmpty ? nil : String(validating: lastID, as: UTF8.self) }

    package init() {}

    /// Reads the next bytes and calls `event` with the data of each line that they complete.
    ///
    /// - Returns: false if a line is too long; the stream is then of no use.
    package mutating func feed(_ bytes: UnsafeRawBufferPointer, event: (UnsafeRawBufferPointer) -> Void) -> Bool {
        var rest = bytes[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let piece = rest[rest.startIndex..<end]
            rest = rest[(end + 1)...]
            if pending.isEmpty {
                line(UnsafeRawBufferPointer(rebasing: piece), event)
            } else {
                guard pending.count + piece.count <= Self.lineBytesMax else { return false }
                pending.append(contentsOf: piece)
                var whole: [UInt8] = []
                swap(&whole, &pending)
                whole.withUnsafeBytes { line($0, event) }
                whole.removeAll(keepingCapacity: true)
                pending = whole
            }
        }
        guard pending.count + rest.count <= Self.lineBytesMax else { return false }
        pending.append(contentsOf: rest)
        return true
    }

    private mutating func line(_ bytes: UnsafeRawBufferPointer, _ event: (UnsafeRawBufferPointer) -> Void) {
        var line = bytes[...]
        if line.last == UInt8(ascii: "\r") { line = line.dropLast() }
        let isID = line.starts(with: "id:".utf8)
        guard isID || line.starts(with: "data:".utf8) else { return }
        line = line.dropFirst(isID ? 3 : 5)
        if line.first == UInt8(ascii: " ") { line = line.dropFirst() }
        if isID {
            nextID.removeAll(keepingCapacity: true)
            nextID.append(contentsOf: line)
            return
        }
        // The id stands before the data; what was cut between them has not come.
        if !nextID.isEmpty {
            swap(&nextID, &lastID)
            nextID.removeAll(keepingCapacity: true)
        }
        if !line.isEmpty { event(UnsafeRawBufferPointer(rebasing: line)) }
    }
}

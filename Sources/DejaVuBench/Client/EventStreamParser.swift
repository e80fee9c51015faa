/// Cuts a `text/event-stream` into the data of its events, as the bytes come (HTML Living Standard, 9.2.6).
///
/// Fields other than `data` and comments are skipped. OpenAI's streams have one data line for each event, and each line
/// is given by itself.
package struct EventStreamParser {
    /// Longer lines break the stream.
    package static let lineBytesMax = 1 << 20

    private var pending: [UInt8] = []

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
                pending.withUnsafeBytes { line($0, event) }
                pending.removeAll(keepingCapacity: true)
            }
        }
        guard pending.count + rest.count <= Self.lineBytesMax else { return false }
        pending.append(contentsOf: rest)
        return true
    }

    private func line(_ bytes: UnsafeRawBufferPointer, _ event: (UnsafeRawBufferPointer) -> Void) {
        var line = bytes[...]
        if line.last == UInt8(ascii: "\r") { line = line.dropLast() }
        guard line.starts(with: "data:".utf8) else { return }
        line = line.dropFirst(5)
        if line.first == UInt8(ascii: " ") { line = line.dropFirst() }
        if !line.isEmpty { event(UnsafeRawBufferPointer(rebasing: line)) }
    }
}

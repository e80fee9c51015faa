import DejaVuCore
import NIOCore
import NIOPosix

extension TraceParser {
    /// Reads a trace from a file, in pieces and only as far as the limits want, on a thread that may block.
    ///
    /// - Throws: `DejaVuError.notFound` if it cannot be opened, `.invalidFile` as `feed(line:)` does.
    package static func load(path: String, limits: Limits) async throws -> [TraceRow] {
        try await NIOThreadPool.singleton.runIfActive {
            let file = try BlockingFile(path: path)
            var parser = TraceParser(limits: limits)
            var pending: [UInt8] = []
            while !parser.isFull, let piece = try file.read(byteCount: 1 << 16) {
                pending += piece
                var start = pending.startIndex
                while let end = pending[start...].firstIndex(of: UInt8(ascii: "\n")) {
                    try parser.feed(line: pending[start..<end])
                    start = end + 1
                }
                pending.removeSubrange(..<start)
                // A file without line feeds must not fill the memory.
                if pending.count > limits.lineBytesMax { try parser.feed(line: pending) }
            }
            if !pending.isEmpty { try parser.feed(line: pending) }
            return try parser.finished()
        }
    }
}

public import DejaVuCore
public import DejaVuKV
import NIOCore

/// For engines that have their rows in plain arrays.
extension KVStore {
    /// The packed rows of a committed span.
    public func rows(of span: Span) async throws(DejaVuError) -> [UInt8] {
        Array(try await read(span).readableBytesView)
    }

    /// Lands rows that this process has computed: one frame under its own ticket.
    ///
    /// - Parameters:
    ///   - rows: packed: `[layer][position][K row, V row]`.
    ///   - tokens: must know the sequence's text up to the span's end.
    /// - Returns: the watermark over the span's layers.
    /// - Throws: as `begin` and `FrameLanding.finish`; `.invalidArgument` if rows are missing, or those before the
    ///   span; `.notFound` if the tokens are not known.
    @discardableResult
    public func commit(
        _ rows: [UInt8], _ span: Span, ticket: Ticket, tokens: TokenBook
    ) async throws(DejaVuError) -> Int {
        guard rows.count == span.rowCount * rowBytes else {
            throw DejaVuError(.invalidArgument, "\(rows.count) bytes are not the rows of \(span)")
        }
        guard let text = tokens.text(of: span.sequence, in: span.positions) else {
            throw DejaVuError(.notFound, "the tokens of \(span) are not known")
        }
        let header = FrameHeader(
            ticket: ticket.number, writer: ticket.writer, span: span, tokens: text.tokens, tokensHash: text.hash,
            numericClass: numericClass, payloadBytes: rows.count)
        switch try await begin(header) {
        case .known(let watermark): return watermark
        case .gap(let watermark):
            throw DejaVuError(.invalidArgument, "\(name) holds \(watermark) positions: \(span) leaves a gap")
        case .land(let landing):
            do throws(DejaVuError) {
                try await landing.write(ByteBuffer(bytes: rows))
                return try await landing.finish(checksum: Checksum.of(rows))
            } catch {
                landing.abandon()
                throw error
            }
        }
    }
}

package import DejaVuCore
package import DejaVuLib

/// Numbers that a peer may name.
private let numberMax = 1 << 40

extension Instant {
    /// One that can be compared with any other.
    fileprivate init(traced reader: inout ByteReader) throws(DejaVuError) {
        let nanoseconds = try reader.read(Int64.self)
        guard (0...Int64.max / 2).contains(nanoseconds) else {
            throw DejaVuError(.network, "malformed message: no moment of a trace")
        }
        self.init(nanoseconds: nanoseconds)
    }
}

extension TraceBatch: WireValue {
    package static let wireBytesMin = 20
    package func write(to writer: inout ByteWriter) {
        writer.write(sentAt.nanoseconds)
        writer.write(dropped)
        writer.write(records)
    }
    package init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            sentAt: try Instant(traced: &reader), dropped: try reader.readInt(max: numberMax),
            records: try reader.readArray())
    }
}

extension TraceRecord: WireValue {
    package static let wireBytesMin = 17
    package func write(to writer: inout ByteWriter) {
        switch self {
        case .pass(let pass):
            writer.write(0 as UInt8)
            writer.write(pass.pass)
            writer.write(pass.pipeline)
            writer.write(pass.epoch)
            writer.write(pass.stageIndex)
            writer.write(pass.start.nanoseconds)
            writer.write(pass.span)
            writer.write(pass.rows)
            writer.write(pass.steps)
            writer.write(pass.chunks)
        case .bubble(let start, let span):
            writer.write(1 as UInt8)
            writer.write(start.nanoseconds)
            writer.write(span)
        case .transfer(let transfer):
            writer.write(2 as UInt8)
            writer.write(transfer.kind.rawValue)
            writer.write(transfer.sequence)
            writer.write(transfer.layers)
            writer.write(transfer.positions.lowerBound)
            writer.write(transfer.positions.upperBound)
            writer.write(transfer.bytes)
            writer.write(transfer.writer)
            writer.write(transfer.start.nanoseconds)
            writer.write(transfer.span)
        }
    }
    package init(from reader: inout ByteReader) throws(DejaVuError) {
        switch try reader.read(UInt8.self) {
        case 0:
            self = .pass(
                TracedPass(
                    pass: try reader.read(), pipeline: try reader.read(), epoch: try reader.read(),
                    stageIndex: try reader.readInt(max: numberMax),
                    start: try Instant(traced: &reader), span: try TimeSpan(from: &reader),
                    rows: try reader.readInt(max: numberMax), steps: try reader.readInt(max: numberMax),
                    chunks: try reader.readInt(max: numberMax)))
        case 1:
            self = .bubble(
                start: try Instant(traced: &reader), span: try TimeSpan(from: &reader))
        case 2:
            guard let kind = TracedTransfer.Kind(rawValue: try reader.read(UInt8.self)) else {
                throw DejaVuError(.network, "malformed message: an unknown kind of transfer")
            }
            let (sequence, layers) = (try reader.read(SequenceID.self), try LayerRange(from: &reader))
            let (first, end) = (try reader.readInt(max: numberMax), try reader.readInt(max: numberMax))
            guard first <= end else { throw DejaVuError(.network, "malformed message: positions \(first)..<\(end)") }
            self = .transfer(
                TracedTransfer(
                    kind: kind, sequence: sequence, layers: layers, positions: first..<end,
                    bytes: try reader.readInt(max: numberMax), writer: try reader.read(),
                    start: try Instant(traced: &reader),
                    span: try TimeSpan(from: &reader)))
        default: throw DejaVuError(.network, "malformed message: an unknown kind of trace record")
        }
    }
}

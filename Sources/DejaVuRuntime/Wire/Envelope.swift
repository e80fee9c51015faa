package import DejaVuControl
package import DejaVuCore
package import DejaVuLib
package import NIOCore

/// What travels over the links between our processes, with what fences it. The sender's incarnation is in the link's
/// handshake.
package enum Envelope: Hashable, Sendable {
    /// A worker's first message to its controller.
    case hello(WorkerHello)
    case control(Term, ControllerMessage)
    case report(Term, WorkerMessage)
    /// Hidden rows of a pass for a stage, from the one before. The rows are the payload as they are.
    case hidden(Term, Pass, stageIndex: Int, rows: ByteBuffer)
    /// Where the controller hears heartbeats: its first message to a worker that has joined.
    case heartbeats(at: String)
    /// From the controller: write down what you do.
    case traceWanted
    /// What a worker has written down.
    case trace(TraceBatch)

    private enum Kind {
        static let hello: UInt8 = 16
        static let control: UInt8 = 17
        static let report: UInt8 = 18
        static let hidden: UInt8 = 19
        static let heartbeats: UInt8 = 20
        static let traceWanted: UInt8 = 21
        static let trace: UInt8 = 22
    }

    package var message: LinkMessage {
        var writer = ByteWriter()
        switch self {
        case .hello(let hello):
            writer.write(hello)
            return LinkMessage(kind: Kind.hello, header: writer.buffer)
        case .control(let term, let message):
            writer.write(term)
            writer.write(message)
            return LinkMessage(kind: Kind.control, header: writer.buffer)
        case .report(let term, let message):
            writer.write(term)
            writer.write(message)
            return LinkMessage(kind: Kind.report, header: writer.buffer)
        case .hidden(let term, let pass, let stage, let rows):
            writer.write(term)
            writer.write(pass)
            writer.write(stage)
            return LinkMessage(kind: Kind.hidden, header: writer.buffer, payload: rows)
        case .heartbeats(let address):
            writer.write(address)
            return LinkMessage(kind: Kind.heartbeats, header: writer.buffer)
        case .traceWanted: return LinkMessage(kind: Kind.traceWanted, header: writer.buffer)
        case .trace(let batch):
            writer.write(batch)
            return LinkMessage(kind: Kind.trace, header: writer.buffer)
        }
    }

    /// - Throws: `.network` for anything that `message` does not make.
    package init(_ message: LinkMessage) throws(DejaVuError) {
        var reader = ByteReader(message.header)
        switch message.kind {
        case Kind.hello: self = .hello(try WorkerHello(from: &reader))
        case Kind.control: self = .control(try Term(from: &reader), try ControllerMessage(from: &reader))
        case Kind.report: self = .report(try Term(from: &reader), try WorkerMessage(from: &reader))
        case Kind.hidden:
            self = .hidden(
                try Term(from: &reader), try Pass(from: &reader), stageIndex: try reader.readInt(max: 1 << 20),
                rows: message.payload)
        case Kind.heartbeats: self = .heartbeats(at: try reader.readString())
        case Kind.traceWanted: self = .traceWanted
        case Kind.trace: self = .trace(try TraceBatch(from: &reader))
        default: throw DejaVuError(.network, "malformed message: kind \(message.kind) is unknown")
        }
        try reader.finish()
        guard message.kind == Kind.hidden || message.payload.readableBytes == 0 else {
            throw DejaVuError(.network, "malformed message: kind \(message.kind) has no payload")
        }
    }
}

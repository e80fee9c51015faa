public import DejaVuControl
public import DejaVuCore
import DejaVuKV
public import DejaVuLib

// The wire form of what a worker says to a controller that takes it over.

extension FinishReason: WireValue {
    public static let wireBytesMin = 4
    public func write(to writer: inout ByteWriter) { writer.write(rawValue) }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        let name = try reader.readString()
        guard let reason = FinishReason(rawValue: name) else {
            throw DejaVuError(.network, "malformed message: unknown end of a sequence")
        }
        self = reason
    }
}

extension ControllerMessage {
    /// How long something is to be kept: not for ever.
    static func time(from reader: inout ByteReader) throws(DejaVuError) -> TimeSpan {
        let time = try TimeSpan(from: &reader)
        guard (TimeSpan.zero ... .seconds(1_000_000)).contains(time) else {
            throw DejaVuError(.network, "malformed message: nothing is kept for \(time)")
        }
        return time
    }
}

extension WorkerReport.Place: WireValue {
    public static let wireBytesMin = 8 + CellRun.wireBytesMin + 8 + 1
    public func write(to writer: inout ByteWriter) {
        writer.write(sequence)
        writer.write(cells)
        writer.write(watermark)
        writer.write(ticket)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            sequence: try reader.read(), cells: try CellRun(from: &reader),
            watermark: try reader.readInt(max: 1 << 40), ticket: try reader.readOptional())
    }
}

extension WorkerReport.Stage: WireValue {
    public static let wireBytesMin = StageAssignment.wireBytesMin + 8
    public func write(to writer: inout ByteWriter) {
        writer.write(assignment)
        writer.write(sequences)
        writer.write(targets)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            assignment: try StageAssignment(from: &reader), sequences: try reader.readArray(),
            targets: try reader.readArray())
    }
}

extension WorkerReport.Replica: WireValue {
    public static let wireBytesMin = ReplicaAssignment.wireBytesMin + 1 + 4
    public func write(to writer: inout ByteWriter) {
        writer.write(assignment)
        writer.write(isReady)
        writer.write(sequences)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            assignment: try ReplicaAssignment(from: &reader), isReady: try reader.readBool(),
            sequences: try reader.readArray())
    }
}

extension WorkerReport: WireValue {
    public static let wireBytesMin = 8
    public func write(to writer: inout ByteWriter) {
        writer.write(stages)
        writer.write(replicas)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(stages: try reader.readArray(), replicas: try reader.readArray())
    }
}

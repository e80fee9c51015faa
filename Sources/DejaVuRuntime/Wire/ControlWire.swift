public import DejaVuControl
public import DejaVuCore
import DejaVuKV
public import DejaVuLib

// The wire form of what controller and workers say to each other.

extension WorkerHello: WireValue {
    public static let wireBytesMin = 8 + 1 + 4 + 4 + 4 + 8 + 8 + 8 + 8 + 8 + 8 + 4 + 8 + 4
    public func write(to writer: inout ByteWriter) {
        writer.write(incarnation)
        writer.write(term)
        writer.write(model.digest)
        writer.write(peerAddress)
        writer.write(bulkAddress)
        writer.write(layerCount)
        writer.write(kvBytesPerPositionAndLayer)
        writer.write(kvBytesMax)
        writer.write(deviceBytesMax)
        writer.write(replicaBytesMax)
        writer.write(numericClass.hash)
        writer.write(processID)
        writer.write(processStart)
        writer.write(name)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            incarnation: try reader.read(), term: try reader.readOptional(),
            model: ModelID(digest: try reader.readString()), peerAddress: try reader.readString(),
            bulkAddress: try reader.readString(),
            layerCount: try reader.readInt(max: 1 << 20), kvBytesPerPositionAndLayer: try reader.readInt(max: 1 << 40),
            kvBytesMax: try reader.readInt(max: 1 << 50), deviceBytesMax: try reader.readInt(max: 1 << 50),
            replicaBytesMax: try reader.readInt(max: 1 << 50), numericClass: NumericClass(hash: try reader.read()),
            processID: try reader.read(), processStart: try reader.read(), name: try reader.readString())
    }
}

extension PeerAddress: WireValue {
    public static let wireBytesMin = 20
    public func write(to writer: inout ByteWriter) {
        writer.write(worker)
        writer.write(incarnation)
        writer.write(address)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(worker: try reader.read(), incarnation: try reader.read(), address: try reader.readString())
    }
}

extension StoreAddress: WireValue {
    public static let wireBytesMin = PeerAddress.wireBytesMin + 8 + 16
    public func write(to writer: inout ByteWriter) {
        writer.write(peer)
        writer.write(pipeline)
        writer.write(layers)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            peer: try PeerAddress(from: &reader), pipeline: try reader.read(), layers: try LayerRange(from: &reader))
    }
}

extension StageAssignment: WireValue {
    public static let wireBytesMin = 2 * 8 + 2 * 8 + 16 + 8 + 8 + 1 + 1
    public func write(to writer: inout ByteWriter) {
        writer.write(pipeline)
        writer.write(epoch)
        writer.write(stageIndex)
        writer.write(stageCount)
        writer.write(layers)
        writer.write(cellCount)
        writer.write(residentCellCount)
        writer.write(next)
        writer.write(replica != nil)
        if let replica { writer.write(replica) }
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            pipeline: try reader.read(), epoch: try reader.read(), stageIndex: try reader.readInt(max: 1 << 20),
            stageCount: try reader.readInt(max: 1 << 20), layers: try LayerRange(from: &reader),
            cellCount: try reader.readInt(max: 1 << 40), residentCellCount: try reader.readInt(max: 1 << 40),
            next: try reader.readOptional(),
            replica: try reader.readBool() ? try reader.read() : nil)
    }
}

extension ReplicaAssignment: WireValue {
    public static let wireBytesMin = 2 * 8 + 2 * 8 + 16 + 8 + 8
    public func write(to writer: inout ByteWriter) {
        writer.write(id)
        writer.write(pipeline)
        writer.write(stageIndex)
        writer.write(stageCount)
        writer.write(layers)
        writer.write(cellCount)
        writer.write(residentCellCount)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            id: try reader.read(), pipeline: try reader.read(), stageIndex: try reader.readInt(max: 1 << 20),
            stageCount: try reader.readInt(max: 1 << 20), layers: try LayerRange(from: &reader),
            cellCount: try reader.readInt(max: 1 << 40), residentCellCount: try reader.readInt(max: 1 << 40))
    }
}

extension SequenceMark: WireValue {
    public static let wireBytesMin = 16
    public func write(to writer: inout ByteWriter) {
        writer.write(sequence)
        writer.write(watermark)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(sequence: try reader.read(), watermark: try reader.readInt(max: 1 << 40))
    }
}

extension ControllerMessage: WireValue {
    public static let wireBytesMin = 1
    public func write(to writer: inout ByteWriter) {
        switch self {
        case .welcome(let worker):
            writer.write(1 as UInt8)
            writer.write(worker)
        case .refused(let error):
            writer.write(2 as UInt8)
            writer.write(error)
        case .assign(let assignment):
            writer.write(3 as UInt8)
            writer.write(assignment)
        case .open(let record, let cells, let ticket):
            writer.write(4 as UInt8)
            writer.write(record)
            writer.write(cells)
            writer.write(ticket)
        case .release(let sequence, let pipeline):
            writer.write(5 as UInt8)
            writer.write(sequence)
            writer.write(pipeline)
        case .run(let pass):
            writer.write(6 as UInt8)
            writer.write(pass)
        case .shutdown: writer.write(7 as UInt8)
        case .hold(let assignment):
            writer.write(8 as UInt8)
            writer.write(assignment)
        case .discard(let replica):
            writer.write(9 as UInt8)
            writer.write(replica)
        case .openReplica(let replica, let record, let cells, let ticket):
            writer.write(10 as UInt8)
            writer.write(replica)
            writer.write(record)
            writer.write(cells)
            writer.write(ticket)
        case .replicate(let sequence, let ticket, let holder):
            writer.write(11 as UInt8)
            writer.write(sequence)
            writer.write(ticket)
            writer.write(holder)
        case .endReplication(let stage, let holder):
            writer.write(12 as UInt8)
            writer.write(stage)
            writer.write(holder)
        case .retire(let pipeline, let stage):
            writer.write(13 as UInt8)
            writer.write(pipeline)
            writer.write(stage)
        case .share(let sequence, let ticket):
            writer.write(14 as UInt8)
            writer.write(sequence)
            writer.write(ticket)
        case .adopt(let worker):
            writer.write(15 as UInt8)
            writer.write(worker)
        case .ended(let sequence, let outputs, let reason, let keep):
            writer.write(16 as UInt8)
            writer.write(sequence)
            writer.write(outputs)
            writer.write(reason)
            writer.write(keep)
        case .announce(let pipeline, let epoch, let stage, let pass, let sequences):
            writer.write(17 as UInt8)
            writer.write(pipeline)
            writer.write(epoch)
            writer.write(stage)
            writer.write(pass)
            writer.write(sequences.count)
            for sequence in sequences { writer.write(sequence) }
        }
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        switch try reader.read(UInt8.self) {
        case 1: self = .welcome(try reader.read())
        case 2: self = .refused(try DejaVuError(from: &reader))
        case 3: self = .assign(try StageAssignment(from: &reader))
        case 4:
            self = .open(
                try SequenceRecord(from: &reader), cells: try CellRun(from: &reader), ticket: try Ticket(from: &reader))
        case 5: self = .release(try reader.read(), of: try reader.read())
        case 6: self = .run(try Pass(from: &reader))
        case 7: self = .shutdown
        case 8: self = .hold(try ReplicaAssignment(from: &reader))
        case 9: self = .discard(try reader.read())
        case 10:
            self = .openReplica(
                try reader.read(), try SequenceRecord(from: &reader), cells: try CellRun(from: &reader),
                ticket: try Ticket(from: &reader))
        case 11:
            self = .replicate(try reader.read(), try Ticket(from: &reader), to: try StoreAddress(from: &reader))
        case 12:
            self = .endReplication(
                stageIndex: try reader.readInt(max: 1 << 20), to: try StoreAddress(from: &reader))
        case 13: self = .retire(try reader.read(), stageIndex: try reader.readInt(max: 1 << 20))
        case 14: self = .share(try reader.read(), try Ticket(from: &reader))
        case 15: self = .adopt(try reader.read())
        case 16:
            self = .ended(
                try reader.read(), outputs: try reader.readTokens(), try FinishReason(from: &reader),
                keep: try Self.time(from: &reader))
        case 17:
            let (pipeline, epoch): (PipelineID, Epoch) = (try reader.read(), try reader.read())
            let stage = try reader.readInt(max: 1 << 20)
            let pass: PassID = try reader.read()
            var sequences: [SequenceID] = []
            // Ended by the first that is not there, before much memory is taken.
            for _ in 0..<(try reader.readInt(max: 1 << 16)) { sequences.append(try reader.read()) }
            self = .announce(pipeline, epoch, stageIndex: stage, pass, sequences)
        default: throw DejaVuError(.network, "malformed message: unknown controller message")
        }
    }
}

extension PassTiming: WireValue {
    public static let wireBytesMin = 6 * 8
    public func write(to writer: inout ByteWriter) {
        writer.write(pass)
        writer.write(pipeline)
        writer.write(epoch)
        writer.write(stageIndex)
        writer.write(computed)
        writer.write(idleBefore)
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        self.init(
            pass: try reader.read(), pipeline: try reader.read(), epoch: try reader.read(),
            stageIndex: try reader.readInt(max: 1 << 20), computed: try Self.span(from: &reader),
            idleBefore: try Self.span(from: &reader))
    }

    /// What a worker measured: not negative, and small enough to calculate with.
    private static func span(from reader: inout ByteReader) throws(DejaVuError) -> TimeSpan {
        let span = try TimeSpan(from: &reader)
        guard (TimeSpan.zero ... .seconds(1_000_000)).contains(span) else {
            throw DejaVuError(.network, "malformed message: nobody computes or waits for \(span)")
        }
        return span
    }
}

extension WorkerMessage: WireValue {
    public static let wireBytesMin = 1
    public func write(to writer: inout ByteWriter) {
        switch self {
        case .assigned(let pipeline, let epoch, let stageIndex, let marks):
            writer.write(1 as UInt8)
            writer.write(pipeline)
            writer.write(epoch)
            writer.write(stageIndex)
            writer.write(marks)
        case .assignFailed(let pipeline, let epoch, let stage, let error):
            writer.write(2 as UInt8)
            writer.write(pipeline)
            writer.write(epoch)
            writer.write(stage)
            writer.write(error)
        case .released(let sequence, let pipeline):
            writer.write(3 as UInt8)
            writer.write(sequence)
            writer.write(pipeline)
        case .passed(let timing):
            writer.write(4 as UInt8)
            writer.write(timing)
        case .sampled(let pass, let pipeline, let epoch, let tokens):
            writer.write(5 as UInt8)
            writer.write(pass)
            writer.write(pipeline)
            writer.write(epoch)
            writer.write(tokens)
        case .passFailed(let pass, let pipeline, let epoch, let error):
            writer.write(6 as UInt8)
            writer.write(pass)
            writer.write(pipeline)
            writer.write(epoch)
            writer.write(error)
        case .heartbeat(let heartbeat):
            writer.write(7 as UInt8)
            writer.write(heartbeat)
        case .peerLost(let worker):
            writer.write(8 as UInt8)
            writer.write(worker)
        case .held(let replica):
            writer.write(9 as UInt8)
            writer.write(replica)
        case .holdFailed(let replica, let error):
            writer.write(10 as UInt8)
            writer.write(replica)
            writer.write(error)
        case .replicated(let replica, let marks):
            writer.write(11 as UInt8)
            writer.write(replica)
            writer.write(marks)
        case .leaving: writer.write(12 as UInt8)
        case .shared(let sequence, let ticket, let watermark):
            writer.write(13 as UInt8)
            writer.write(sequence)
            writer.write(ticket)
            writer.write(watermark)
        case .landed(let pipeline, let stage, let marks):
            writer.write(14 as UInt8)
            writer.write(pipeline)
            writer.write(stage)
            writer.write(marks)
        case .record(let record, let ended):
            writer.write(15 as UInt8)
            writer.write(record)
            writer.write(ended)
        case .report(let report):
            writer.write(16 as UInt8)
            writer.write(report)
        }
    }
    public init(from reader: inout ByteReader) throws(DejaVuError) {
        switch try reader.read(UInt8.self) {
        case 1:
            self = .assigned(
                try reader.read(), try reader.read(), stageIndex: try reader.readInt(max: 1 << 20),
                try reader.readArray())
        case 2:
            self = .assignFailed(
                try reader.read(), try reader.read(), stageIndex: try reader.readInt(max: 1 << 20),
                try DejaVuError(from: &reader))
        case 3: self = .released(try reader.read(), of: try reader.read())
        case 4: self = .passed(try PassTiming(from: &reader))
        case 5: self = .sampled(try reader.read(), try reader.read(), try reader.read(), try reader.readArray())
        case 6:
            self = .passFailed(
                try reader.read(), try reader.read(), try reader.read(), try DejaVuError(from: &reader))
        case 7: self = .heartbeat(try WorkerHeartbeat(from: &reader))
        case 8: self = .peerLost(try reader.read())
        case 9: self = .held(try reader.read())
        case 10: self = .holdFailed(try reader.read(), try DejaVuError(from: &reader))
        case 11: self = .replicated(try reader.read(), try reader.readArray())
        case 12: self = .leaving
        case 13:
            self = .shared(
                try reader.read(), ticket: try reader.read(), watermark: try reader.readInt(max: 1 << 40))
        case 14:
            self = .landed(
                try reader.read(), stageIndex: try reader.readInt(max: 1 << 20), try reader.readArray())
        case 15: self = .record(try SequenceRecord(from: &reader), ended: try reader.readOptional())
        case 16: self = .report(try WorkerReport(from: &reader))
        default: throw DejaVuError(.network, "malformed message: unknown worker message")
        }
    }
}

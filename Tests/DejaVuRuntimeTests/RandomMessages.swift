import DejaVuControl
import DejaVuCore
import DejaVuKV
import DejaVuRuntime
import NIOCore

/// Random values of everything that travels on a link.
struct RandomMessages {
    var generator: SeededGenerator
    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    mutating func number(_ bound: Int = 1 << 40) -> Int { generator.next(below: bound) }
    mutating func maybe<Value>(_ make: (inout RandomMessages) -> Value) -> Value? {
        generator.chance(0.5) ? make(&self) : nil
    }
    mutating func id<ID: Identifier>() -> ID { ID(rawValue: generator.next()) }
    mutating func text() -> String {
        String((0..<number(20)).map { _ in "aß→😀\u{0}\n \"".randomElement(using: &generator) ?? "x" })
    }
    mutating func tokens(min: Int = 0) -> [TokenID] {
        (0..<(min + number(40))).map { _ in TokenID(truncatingIfNeeded: generator.next()) }
    }
    mutating func float() -> Float { Float(generator.nextUnit() * 100 - 50) }
    mutating func weights() -> [TokenWeight] {
        (0..<number(5)).map { _ in TokenWeight(token: TokenID(number(1000)), weight: float()) }
    }
    mutating func span() -> TimeSpan { TimeSpan(nanoseconds: Int64(number(1_000_000_000_000_001))) }
    mutating func layers() -> LayerRange {
        let first = number(1000)
        return LayerRange(first, first + number(1000))
    }
    mutating func cells() -> CellRun { CellRun(start: number(), count: number()) }
    mutating func term() -> Term { Term(number: generator.next(), nonce: generator.next()) }

    mutating func error() -> DejaVuError {
        let codes: [DejaVuError.Code] = [
            .invalidArgument, .invalidFile, .unsupported, .notFound, .resourceExhausted, .unavailable,
            .deadlineExceeded, .cancelled, .refused, .mismatch, .network, .poisoned, .internalError,
        ]
        return DejaVuError(codes[number(codes.count)], text(), subject: maybe { $0.text() })
    }

    mutating func pass() -> Pass {
        let entries = (0..<number(9)).map { index in
            PassEntry(
                sequence: SequenceID(generator.next() << 8 | UInt64(index)), first: number(), tokens: tokens(min: 1),
                samples: generator.chance(0.5))
        }
        return Pass(id: id(), pipeline: id(), epoch: id(), entries: entries)
    }

    mutating func sampling() -> SamplingParameters {
        var sampling = SamplingParameters()
        sampling.temperature = float()
        sampling.topK = number()
        sampling.topP = float()
        sampling.minP = float()
        sampling.typicalP = float()
        sampling.repetitionPenalty = float()
        sampling.presencePenalty = float()
        sampling.frequencyPenalty = float()
        sampling.repetitionWindow = number()
        sampling.logitBias = weights()
        sampling.seed = generator.next()
        sampling.topLogprobs = maybe { $0.number() }
        return sampling
    }

    mutating func record() -> SequenceRecord {
        SequenceRecord(
            id: id(), request: id(), choice: number(), prompt: tokens(min: 1), outputs: tokens(), sampling: sampling(),
            outputCountMax: 1 + number(1000), stopTokens: tokens(), choiceCount: number(),
            origin: (0..<number(40)).map { UInt8($0) })
    }

    mutating func sampled() -> SampledToken {
        SampledToken(
            sequence: id(), position: number(), token: TokenID(number(1000)), logprob: maybe { $0.float() },
            alternatives: weights())
    }

    mutating func hello() -> WorkerHello {
        WorkerHello(
            incarnation: id(), term: maybe { $0.term() }, model: ModelID(digest: text()), peerAddress: text(),
            bulkAddress: text(),
            layerCount: number(1000), kvBytesPerPositionAndLayer: number(), kvBytesMax: number(),
            replicaBytesMax: number(), numericClass: NumericClass(hash: generator.next()),
            processID: Int32(number(1 << 30)), processStart: generator.next(), name: text())
    }

    mutating func controllerMessage() -> ControllerMessage {
        switch number(16) {
        case 0: return .welcome(id())
        case 1: return .refused(error())
        case 2:
            return .assign(
                StageAssignment(
                    pipeline: id(), epoch: id(), stageIndex: number(100), stageCount: number(100), layers: layers(),
                    cellCount: number(),
                    next: maybe { $0.peer() }, replica: maybe { $0.id() }))
        case 3: return .open(record(), cells: cells(), ticket: ticket())
        case 4: return .release(id(), of: id())
        case 5: return .run(pass())
        case 6:
            return .hold(
                ReplicaAssignment(
                    id: id(), pipeline: id(), stageIndex: number(100), stageCount: number(100), layers: layers(),
                    cellCount: number()))
        case 7: return .discard(id())
        case 8: return .openReplica(id(), record(), cells: cells(), ticket: ticket())
        case 9: return .replicate(id(), ticket(), to: store())
        case 10: return .endReplication(stageIndex: number(100), to: store())
        case 11: return .retire(id(), stageIndex: number(100))
        case 14: return .share(id(), ticket())
        case 12: return .adopt(id())
        case 13: return .ended(id(), outputs: tokens(), .length, keep: .milliseconds(Int64(number(1000))))
        default: return .shutdown
        }
    }

    mutating func store() -> StoreAddress { StoreAddress(peer: peer(), pipeline: id(), layers: layers()) }

    mutating func peer() -> PeerAddress { PeerAddress(worker: id(), incarnation: id(), address: text()) }

    mutating func ticket() -> Ticket {
        Ticket(number: generator.next(), sequence: id(), layers: layers(), positionLimit: number(), writer: id())
    }

    mutating func marks() -> [SequenceMark] {
        (0..<number(6)).map { _ in SequenceMark(sequence: id(), watermark: number()) }
    }

    mutating func workerMessage() -> WorkerMessage {
        switch number(16) {
        case 0: return .assigned(id(), id(), stageIndex: number(100), marks())
        case 1: return .assignFailed(id(), id(), stageIndex: number(100), error())
        case 2: return .released(id(), of: id())
        case 13: return .shared(id(), ticket: generator.next(), watermark: number())
        case 14: return .landed(id(), stageIndex: number(100), marks())
        case 3:
            return .passed(
                PassTiming(
                    pass: id(), pipeline: id(), epoch: id(), stageIndex: number(100), computed: span(),
                    idleBefore: span()))
        case 4: return .sampled(id(), id(), id(), (0..<number(6)).map { _ in sampled() })
        case 5: return .passFailed(id(), id(), id(), error())
        case 6:
            return .heartbeat(
                WorkerHeartbeat(
                    progress: generator.next(), loading: generator.next(), busy: generator.chance(0.5),
                    rewriteMismatches: generator.next(),
                    emulation: generator.chance(0.5) ? usage() : nil))
        case 7: return .held(id())
        case 8: return .holdFailed(id(), error())
        case 9: return .replicated(id(), marks())
        case 10: return .leaving
        case 11: return .record(record(), ended: maybe { _ in .stop })
        case 12: return .report(report())
        default: return .peerLost(id())
        }
    }

    mutating func report() -> WorkerReport {
        func places(_ random: inout RandomMessages) -> [WorkerReport.Place] {
            (0..<random.number(4)).map { _ in
                WorkerReport.Place(
                    sequence: random.id(), cells: random.cells(), watermark: random.number(),
                    ticket: random.maybe { $0.ticket() })
            }
        }
        return WorkerReport(
            stages: (0..<number(3)).map { _ in
                WorkerReport.Stage(
                    assignment: StageAssignment(
                        pipeline: id(), epoch: id(), stageIndex: number(100), stageCount: number(100),
                        layers: layers(), cellCount: number(), next: maybe { $0.peer() }), sequences: places(&self),
                    targets: (0..<number(3)).map { _ in store() })
            },
            replicas: (0..<number(3)).map { _ in
                WorkerReport.Replica(
                    assignment: ReplicaAssignment(
                        id: id(), pipeline: id(), stageIndex: number(100), stageCount: number(100), layers: layers(),
                        cellCount: number()), isReady: generator.chance(0.5), sequences: places(&self))
            })
    }

    mutating func usage() -> EmulationUsage {
        var usage = EmulationUsage()
        usage.passes = number(1000)
        usage.latePasses = number(1000)
        usage.emulated = .microseconds(Int64(number(1_000_000)))
        usage.processor = .microseconds(Int64(number(1_000_000)))
        usage.rewriteMismatches = number(2)
        return usage
    }

    mutating func instant() -> Instant { Instant(nanoseconds: Int64(generator.next() >> 2)) }

    mutating func traceRecord() -> TraceRecord {
        switch number(3) {
        case 0:
            return .pass(
                TracedPass(
                    pass: id(), pipeline: id(), epoch: id(), stageIndex: number(100), start: instant(), span: span(),
                    rows: number(1000), steps: number(1000), chunks: number(1000)))
        case 1: return .bubble(start: instant(), span: span())
        default:
            let first = number(1000)
            return .transfer(
                TracedTransfer(
                    kind: number(2) == 0 ? .replica : .feed,
                    sequence: id(), layers: layers(), positions: first..<first + number(1000), bytes: number(),
                    writer: id(), start: instant(), span: span()))
        }
    }

    mutating func envelope() -> Envelope {
        switch number(7) {
        case 0: return .hello(hello())
        case 1: return .control(term(), controllerMessage())
        case 2: return .report(term(), workerMessage())
        case 3: return .heartbeats(at: text())
        case 4: return .traceWanted
        case 5:
            return .trace(
                TraceBatch(
                    sentAt: instant(), dropped: number(), records: (0..<number(6)).map { _ in traceRecord() }))
        default:
            return .hidden(
                term(), pass(), stageIndex: number(100),
                rows: ByteBuffer(bytes: (0..<number(500)).map { UInt8(truncatingIfNeeded: $0) }))
        }
    }
}

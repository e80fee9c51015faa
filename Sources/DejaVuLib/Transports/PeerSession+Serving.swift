import DejaVuCore
import DejaVuKV
import NIOCore

/// What the peer has asked of this end.
struct ServerPart {
    var frames: [UInt64: ServedFrame] = [:]
    /// Frames of one (store, sequence), in order; the first of each is landing.
    var lanes: [FrameLane: CircularBuffer<UInt64>] = [:]
    var framesByPriority = [Int](repeating: 0, count: StreamPriority.allCases.count)
    var calls: [UInt64: ServedCall] = [:]
}

/// A frame that the peer sends.
final class ServedFrame {
    let frame: IncomingFrame
    let lane: FrameLane
    let priority: StreamPriority
    /// nil if the frame was refused at once.
    let store: (any KVStore)?
    var task: Task<Void, Never>?
    /// What the peer may still send.
    var credit = PeerProtocol.windowFirst
    var received = 0
    /// What the store has taken on this loop since the last grant.
    var taken = 0
    /// `end` has come.
    var isEnded = false
    /// `end` or `abandon` has come.
    var isClosed = false
    var isReplied = false

    init(frame: IncomingFrame, lane: FrameLane, priority: StreamPriority, store: (any KVStore)?) {
        self.frame = frame
        self.lane = lane
        self.priority = priority
        self.store = store
    }
}

extension PeerSession {
    func began(
        _ number: UInt64, store name: String, _ priority: StreamPriority, asks: Bool, _ header: FrameHeader
    ) throws(DejaVuError) {
        guard number % 2 == 0, serving.frames[number] == nil else { throw .malformed("a frame's number is in use") }
        let rank = Int(priority.rawValue)
        guard serving.framesByPriority[rank] < PeerProtocol.framesMax else {
            throw DejaVuError(.resourceExhausted, "more than \(PeerProtocol.framesMax) frames at once")
        }
        let lane = FrameLane(store: name, sequence: header.span.sequence)
        let frame = IncomingFrame(header: header, asks: asks)
        let admitted: Result<any KVStore, DejaVuError>
        do throws(DejaVuError) { admitted = .success(try store(named: name, for: header)) } catch {
            admitted = .failure(error)
        }
        let served = ServedFrame(frame: frame, lane: lane, priority: priority, store: try? admitted.get())
        serving.frames[number] = served
        serving.framesByPriority[rank] += 1
        if case .failure(let error) = admitted { return reply(number, .failure(error)) }
        serving.lanes[lane, default: []].append(number)
        if serving.lanes[lane]?.first == number { land(number, served) }
    }

    private func store(named name: String, for header: FrameHeader) throws(DejaVuError) -> any KVStore {
        guard let server else { throw DejaVuError(.notFound, "this process offers no stores") }
        let store = try server.store(named: name)
        guard header.writer == wire.peer.incarnation else {
            throw DejaVuError(.refused, "\(wire.peer) sends a frame of writer \(header.writer)", subject: "writer")
        }
        let (bytes, overflow) = header.span.rowCount.multipliedReportingOverflow(by: store.rowBytes)
        guard !overflow, bytes == header.payloadBytes else {
            throw DejaVuError(
                .mismatch,
                "a frame of \(header.payloadBytes) bytes for \(header.span.rowCount) rows of "
                    + "\(store.rowBytes) bytes", subject: "payload")
        }
        return store
    }

    private func land(_ number: UInt64, _ served: ServedFrame) {
        guard let store = served.store else { preconditionFailure("a refused frame does not land") }
        let bound = self.bound
        let loop = eventLoop
        let frame = served.frame
        served.task = Task {
            let result = await frame.land(in: store) { bytes in
                loop.execute { bound.value.grant(number, bytes) }
            }
            loop.execute { bound.value.landed(number, result) }
        }
    }

    private func grant(_ number: UInt64, _ bytes: Int) {
        // A frame that is whole needs no credit, but its sender may still wait to hear that it was taken.
        guard end == nil, let served = serving.frames[number], !served.isReplied, !served.isEnded || bytes == 0
        else { return }
        served.credit += bytes
        send(.credit(number, bytes: bytes))
        wire.flush()
    }

    private func landed(_ number: UInt64, _ result: Result<FrameReceipt, DejaVuError>) {
        guard end == nil, let served = serving.frames[number] else { return }
        served.task = nil
        reply(number, result)
        if var lane = serving.lanes[served.lane] {
            precondition(lane.removeFirst() == number, "frames of a sequence land in order")
            serving.lanes[served.lane] = lane.isEmpty ? nil : lane
            if let next = lane.first, let waiting = serving.frames[next] { land(next, waiting) }
        }
        pump()
    }

    private func reply(_ number: UInt64, _ result: Result<FrameReceipt, DejaVuError>) {
        guard let served = serving.frames[number], !served.isReplied else { return }
        served.isReplied = true
        switch result {
        case .success(let receipt): send(.receipt(number, receipt))
        case .failure(let error): send(.failed(number, error))
        }
        forgetIfDone(number, served)
    }

    private func forgetIfDone(_ number: UInt64, _ served: ServedFrame) {
        guard served.isClosed, served.isReplied else { return }
        serving.frames[number] = nil
        serving.framesByPriority[Int(served.priority.rawValue)] -= 1
    }

    // MARK: What the peer sends

    func framePiece(_ number: UInt64, _ bytes: ByteBuffer) throws(DejaVuError) {
        guard let served = serving.frames[number], !served.isClosed else { throw .malformed("bytes of no frame") }
        served.received += bytes.readableBytes
        served.credit -= bytes.readableBytes
        guard served.received <= served.frame.header.payloadBytes else {
            throw .malformed("more bytes than the frame's header says")
        }
        guard served.credit >= 0 else { throw .malformed("more bytes than were asked for") }
        // Known or refused already: the rest is swallowed.
        guard !served.isReplied, served.frame.put(bytes) else { return }
        served.taken += bytes.readableBytes
        if served.taken >= PeerProtocol.window / 4, served.received < served.frame.header.payloadBytes {
            grant(number, served.taken)
            served.taken = 0
        }
    }

    func frameEnded(_ number: UInt64, checksum: UInt32) throws(DejaVuError) {
        guard let served = serving.frames[number], !served.isClosed else { throw .malformed("the end of no frame") }
        guard served.received == served.frame.header.payloadBytes else { throw .malformed("a frame ends too early") }
        served.isEnded = true
        served.isClosed = true
        served.frame.end(checksum: checksum)
        forgetIfDone(number, served)
    }

    /// After an `end`, too, and it may cross the receipt.
    func frameAbandoned(_ number: UInt64) {
        guard let served = serving.frames[number] else { return }
        served.isClosed = true
        if !served.isReplied {
            served.frame.fail(DejaVuError(.cancelled, "the sender gave the frame up"))
            served.task?.cancel()
        }
        forgetIfDone(number, served)
    }

    func failServer(_ error: DejaVuError) {
        for served in serving.frames.sorted(by: { $0.key < $1.key }).map(\.value) {
            served.frame.fail(error)
            served.task?.cancel()
        }
        for call in serving.calls.sorted(by: { $0.key < $1.key }).map(\.value) {
            call.task?.cancel()
            call.rows?.release()
        }
        serving = ServerPart()
    }
}

import DejaVuCore
import DejaVuKV
import NIOCore

/// What this end has asked of the other.
struct ClientPart {
    var frames: [UInt64: SentFrame] = [:]
    /// Frames of one (store, sequence), in order; only the first of each is sent.
    var lanes: [FrameLane: CircularBuffer<UInt64>] = [:]
    /// Frames under way, by priority.
    var slotsUsed = [Int](repeating: 0, count: StreamPriority.allCases.count)
    /// Frames that wait for a slot, by priority.
    var slotWaiters = [CircularBuffer<UInt64>](repeating: [], count: StreamPriority.allCases.count)
    var calls: [UInt64: SentCall] = [:]
    var callWaiters = CircularBuffer<UInt64>()
    var callsUsed = 0
    private var lastNumber: UInt64 = 0

    /// Frames and calls that may wait here: a caller that goes on and on is told.
    static let waitingMax = 1 << 16

    mutating func nextFrameNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber * 2
    }
    mutating func nextCallNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber * 2 + 1
    }
}

struct FrameLane: Hashable {
    let store: String
    let sequence: SequenceID
}

/// A frame that this end sends.
final class SentFrame {
    /// Told once, if the receiver was asked whether it takes the frame, and it does.
    typealias Admitted = () -> Void
    typealias Completion = (Result<FrameReceipt, DejaVuError>) -> Void

    let lane: FrameLane
    let stream: OutgoingStream
    var admitted: Admitted?
    var completion: Completion?
    /// Called when there is room for more bytes, or none are wanted any more.
    var roomWaiter: (() -> Void)?
    var deadline: Scheduled<Void>?
    var hasSlot = false
    /// `begin` was sent.
    var hasBegun = false
    /// `end` or `abandon` was sent.
    var isClosed = false
    var isReplied = false

    init(lane: FrameLane, stream: OutgoingStream, admitted: Admitted?, completion: @escaping Completion) {
        self.lane = lane
        self.stream = stream
        self.admitted = admitted
        self.completion = completion
    }
}

extension PeerSession {
    /// Bytes of a frame that wait to be sent before its writer has to wait, too.
    static let pendingBytesMax = 2 * PeerProtocol.chunkBytesMax

    static func fits(_ message: LinkMessage) -> Bool {
        message.header.readableBytes <= PeerProtocol.headerBytesMax
    }

    /// Takes a frame to send.
    ///
    /// - Parameter rows: all bytes; nil if they come by `append`.
    /// - Returns: its number; nil if it has failed already.
    func post(
        _ post: FramePost, rows: ByteBuffer?, admitted: SentFrame.Admitted?,
        completion: @escaping SentFrame.Completion
    ) -> UInt64? {
        if let end {
            completion(.failure(DejaVuError(.network, "the link ended: \(end.error.message)")))
            return nil
        }
        guard client.frames.count < ClientPart.waitingMax else {
            completion(.failure(DejaVuError(.resourceExhausted, "too many frames wait for the link")))
            return nil
        }
        let number = client.nextFrameNumber()
        let stream = OutgoingStream(
            number, post.priority, chunkKind: PeerProtocol.Kind.chunk, credit: PeerProtocol.windowFirst,
            trailer: rows == nil ? .open : .computed)
        stream.front =
            PeerMessage.begin(
                number, store: post.store, post.priority, asks: admitted != nil, post.header
            ).message
        guard stream.front.map(Self.fits) ?? true else {
            completion(.failure(DejaVuError(.invalidArgument, "a frame's header is too long for a message")))
            return nil
        }
        if let rows { stream.append(rows) }
        let lane = FrameLane(store: post.store, sequence: post.header.span.sequence)
        let frame = SentFrame(lane: lane, stream: stream, admitted: admitted, completion: completion)
        client.frames[number] = frame
        let bound = self.bound
        frame.deadline = eventLoop.scheduleTask(in: .init(post.within)) {
            let late = DejaVuError(.deadlineExceeded, "a frame had no receipt after \(post.within)")
            bound.value.giveUp(number, late)
        }
        client.lanes[lane, default: []].append(number)
        if client.lanes[lane]?.first == number { claimSlot(frame) }
        pump()
        return number
    }

    /// The rest of a frame's bytes, or some of it. Calls back once more may come, or none are wanted.
    func append(_ bytes: ByteBuffer, to number: UInt64, room: @escaping () -> Void) {
        guard let frame = client.frames[number], !frame.isClosed, frame.completion != nil else { return room() }
        frame.stream.append(bytes)
        if frame.hasSlot { enqueue(frame.stream) }
        if frame.stream.pendingBytes <= Self.pendingBytesMax { room() } else { frame.roomWaiter = room }
        pump()
    }

    func finish(_ number: UInt64, checksum: UInt32) {
        guard let frame = client.frames[number], !frame.isClosed else { return }
        frame.stream.trailer = .given(checksum)
        if frame.hasSlot { enqueue(frame.stream) }
        pump()
    }

    /// Ends a frame before its time, here and at the receiver.
    func giveUp(_ number: UInt64, _ error: DejaVuError) {
        guard let frame = client.frames[number], frame.completion != nil else { return }
        complete(frame, .failure(error))
        close(frame)
        pump()
    }

    // MARK: A frame's course

    private func claimSlot(_ frame: SentFrame) {
        let rank = Int(frame.stream.priority.rawValue)
        guard client.slotsUsed[rank] < PeerProtocol.framesMax else {
            client.slotWaiters[rank].append(frame.stream.number)
            return
        }
        client.slotsUsed[rank] += 1
        frame.hasSlot = true
        streams[frame.stream.number] = frame.stream
        enqueue(frame.stream)
    }

    private func freeSlot(of frame: SentFrame) {
        guard frame.hasSlot else { return }
        frame.hasSlot = false
        let rank = Int(frame.stream.priority.rawValue)
        client.slotsUsed[rank] -= 1
        while let next = client.slotWaiters[rank].popFirst() {
            guard let waiter = client.frames[next], !waiter.isClosed else { continue }
            claimSlot(waiter)
            break
        }
    }

    func frameBegan(_ number: UInt64) { client.frames[number]?.hasBegun = true }

    /// A chunk has left.
    func frameAdvanced(_ stream: OutgoingStream) {
        guard stream.pendingBytes <= Self.pendingBytesMax, let frame = client.frames[stream.number] else { return }
        let waiter = frame.roomWaiter
        frame.roomWaiter = nil
        waiter?()
    }

    /// All bytes are sent.
    func frameDrained(_ stream: OutgoingStream) {
        guard let frame = client.frames[stream.number] else { return }
        send(.end(stream.number, checksum: stream.finalChecksum))
        frameAdvanced(stream)
        frame.isClosed = true
        leaveLane(frame)
    }

    /// No more of it will be sent: tells the receiver, and lets the next of its lane go.
    private func close(_ frame: SentFrame) {
        let number = frame.stream.number
        if frame.isClosed {
            // All was sent, but the receiver may still be at work on it.
            if !frame.isReplied { send(.abandon(number)) }
            return
        }
        frame.isClosed = true
        streams[number] = nil
        frame.stream.drop()
        frameAdvanced(frame.stream)
        leaveLane(frame)
        if frame.hasBegun {
            send(.abandon(number))
            forgetIfDone(frame)
        } else {
            client.frames[number] = nil
            freeSlot(of: frame)
        }
    }

    private func leaveLane(_ frame: SentFrame) {
        guard var lane = client.lanes[frame.lane] else { return }
        let wasFirst = lane.first == frame.stream.number
        if wasFirst { lane.removeFirst() } else { lane.removeAll { $0 == frame.stream.number } }
        client.lanes[frame.lane] = lane.isEmpty ? nil : lane
        if wasFirst, let next = lane.first, let frame = client.frames[next] { claimSlot(frame) }
    }

    private func forgetIfDone(_ frame: SentFrame) {
        guard frame.isClosed, frame.isReplied else { return }
        client.frames[frame.stream.number] = nil
        freeSlot(of: frame)
    }

    private func complete(_ frame: SentFrame, _ result: Result<FrameReceipt, DejaVuError>) {
        frame.deadline?.cancel()
        frame.admitted = nil
        let completion = frame.completion
        frame.completion = nil
        completion?(result)
    }

    // MARK: What the receiver says

    func credited(_ number: UInt64, _ bytes: Int) throws(DejaVuError) {
        guard let frame = client.frames[number], frame.hasBegun, !frame.isReplied else {
            throw .malformed("credit for a frame that is not under way")
        }
        let admitted = frame.admitted
        frame.admitted = nil
        admitted?()
        guard !frame.isClosed else { return }
        frame.stream.credit = min(frame.stream.credit + bytes, 1 << 40)
        enqueue(frame.stream)
    }

    func replied(_ number: UInt64, _ result: Result<FrameReceipt, DejaVuError>) throws(DejaVuError) {
        guard let frame = client.frames[number], frame.hasBegun, !frame.isReplied else {
            throw .malformed("a receipt for a frame that is not under way")
        }
        if case .success(.committed) = result, !frame.isClosed {
            throw .malformed("a receipt for bytes that were not sent")
        }
        frame.isReplied = true
        complete(frame, result)
        if frame.isClosed { forgetIfDone(frame) } else { close(frame) }
    }

    func failFrames(_ error: DejaVuError) {
        let frames = client.frames.sorted { $0.key < $1.key }.map(\.value)
        client.frames = [:]
        client.lanes = [:]
        for index in client.slotWaiters.indices { client.slotWaiters[index].removeAll() }
        for frame in frames {
            let waiter = frame.roomWaiter
            frame.roomWaiter = nil
            complete(frame, .failure(error))
            waiter?()
        }
    }
}

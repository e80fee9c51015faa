import DejaVuCore
import DejaVuKV
import NIOCore

/// A call that this end has made.
final class SentCall {
    typealias Completion = (Result<(PeerAnswer, ByteBuffer), DejaVuError>) -> Void

    let message: PeerMessage
    /// Bytes that a read is to bring.
    let byteCount: Int
    var completion: Completion?
    var deadline: Scheduled<Void>?
    var isSent = false
    var rows = ByteBuffer()
    var checksum = Checksum()

    init(message: PeerMessage, byteCount: Int, completion: @escaping Completion) {
        self.message = message
        self.byteCount = byteCount
        self.completion = completion
    }
}

extension PeerSession {
    /// Asks the peer.
    ///
    /// - Parameter byteCount: how many bytes a read brings.
    /// - Returns: the call's number; nil if it has failed already.
    func call(
        _ call: PeerCall, of store: String, byteCount: Int, within: TimeSpan, completion: @escaping SentCall.Completion
    ) -> UInt64? {
        if let end {
            completion(.failure(DejaVuError(.network, "the link ended: \(end.error.message)")))
            return nil
        }
        guard client.calls.count < ClientPart.waitingMax else {
            completion(.failure(DejaVuError(.resourceExhausted, "too many calls wait for the link")))
            return nil
        }
        let number = client.nextCallNumber()
        let sent = SentCall(
            message: .call(number, store: store, call), byteCount: byteCount, completion: completion)
        guard Self.fits(sent.message.message) else {
            completion(.failure(DejaVuError(.invalidArgument, "a call is too long for a message")))
            return nil
        }
        client.calls[number] = sent
        let bound = self.bound
        sent.deadline = eventLoop.scheduleTask(in: .init(within)) {
            bound.value.giveUpCall(number, DejaVuError(.deadlineExceeded, "a call had no answer after \(within)"))
        }
        client.callWaiters.append(number)
        sendCalls()
        pump()
        return number
    }

    private func sendCalls() {
        while client.callsUsed < PeerProtocol.callsMax, let number = client.callWaiters.popFirst() {
            guard let sent = client.calls[number], !sent.isSent else { continue }
            sent.isSent = true
            client.callsUsed += 1
            send(sent.message)
        }
    }

    /// Ends a call before its answer. Its place is free once the peer has answered all the same.
    func giveUpCall(_ number: UInt64, _ error: DejaVuError) {
        guard let sent = client.calls[number], sent.completion != nil else { return }
        complete(sent, .failure(error))
        sent.rows = ByteBuffer()
        if sent.isSent { send(.cancelCall(number)) } else { client.calls[number] = nil }
        pump()
    }

    private func complete(_ sent: SentCall, _ result: Result<(PeerAnswer, ByteBuffer), DejaVuError>) {
        sent.deadline?.cancel()
        let completion = sent.completion
        sent.completion = nil
        completion?(result)
    }

    func readPiece(_ number: UInt64, _ bytes: ByteBuffer) throws(DejaVuError) {
        guard let sent = client.calls[number], sent.isSent else {
            throw .malformed("rows that nobody has asked for")
        }
        guard sent.completion != nil else { return }
        guard sent.checksum.count + bytes.readableBytes <= sent.byteCount else {
            throw .malformed("more rows than were asked for")
        }
        // Memory for all of it only once there is something: the answer may be a refusal.
        if sent.checksum.count == 0 { sent.rows.reserveCapacity(sent.byteCount) }
        bytes.withUnsafeReadableBytes { source in
            _ = sent.rows.writeWithUnsafeMutableBytes(minimumWritableBytes: source.count) { target in
                sent.checksum.copy(source, to: target)
                return source.count
            }
        }
    }

    func answered(_ number: UInt64, _ result: Result<PeerAnswer, DejaVuError>) throws(DejaVuError) {
        guard let sent = client.calls[number], sent.isSent else { throw .malformed("an answer without a call") }
        client.calls[number] = nil
        client.callsUsed -= 1
        complete(sent, result.flatMap { Self.verified($0, sent) })
        sendCalls()
    }

    private static func verified(
        _ answer: PeerAnswer, _ sent: SentCall
    ) -> Result<(PeerAnswer, ByteBuffer), DejaVuError> {
        if case .rows(let checksum) = answer {
            guard sent.rows.readableBytes == sent.byteCount, sent.checksum.value == checksum else {
                return .failure(
                    DejaVuError(
                        .mismatch,
                        "rows that were read came damaged: \(sent.rows.readableBytes) bytes of "
                            + "\(sent.byteCount), checksum \(sent.checksum.value) for \(checksum)"))
            }
        }
        return .success((answer, sent.rows))
    }

    func failClient(_ error: DejaVuError) {
        failFrames(error)
        let calls = client.calls.sorted { $0.key < $1.key }.map(\.value)
        client.calls = [:]
        client.callWaiters.removeAll()
        for call in calls { complete(call, .failure(error)) }
    }
}

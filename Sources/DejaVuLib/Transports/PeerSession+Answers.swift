import DejaVuCore
import DejaVuKV
import NIOCore

/// A call that the peer has made.
final class ServedCall {
    var task: Task<Void, Never>?
    /// The rows that are being sent, counted against the server's bound.
    var rows: Staging?
    var isCancelled = false
}

extension PeerSession {
    func called(_ number: UInt64, store name: String, _ call: PeerCall) throws(DejaVuError) {
        guard number % 2 == 1, serving.calls[number] == nil else { throw .malformed("a call's number is in use") }
        guard serving.calls.count < PeerProtocol.callsMax else {
            throw DejaVuError(.resourceExhausted, "more than \(PeerProtocol.callsMax) calls at once")
        }
        let served = ServedCall()
        serving.calls[number] = served
        served.task = answer(number, store: name, call)
    }

    private func answer(_ number: UInt64, store name: String, _ call: PeerCall) -> Task<Void, Never> {
        let bound = self.bound
        let loop = eventLoop
        let server = self.server
        return Task {
            let outcome = await StoreServer.outcome(of: call, store: name, server)
            loop.execute { bound.value.done(number, outcome) }
        }
    }

    private func done(_ number: UInt64, _ outcome: Result<CallOutcome, DejaVuError>) {
        guard end == nil, let served = serving.calls[number] else {
            if case .success(.rows(let rows, _)) = outcome { rows.release() }
            return
        }
        served.task = nil
        switch outcome {
        case .failure(let error): finish(number, .callFailed(number, error))
        case .success(.answer(let answer)): finish(number, .answer(number, answer))
        case .success(.rows(let rows, let priority)):
            served.rows = rows
            if served.isCancelled {
                finish(number, .callFailed(number, DejaVuError(.cancelled, "the caller gave the read up")))
                break
            }
            let stream = OutgoingStream(
                number, priority, chunkKind: PeerProtocol.Kind.readChunk, credit: .max, trailer: .computed)
            stream.append(rows.contents)
            streams[number] = stream
            enqueue(stream)
        }
        pump()
    }

    private func finish(_ number: UInt64, _ message: PeerMessage) {
        serving.calls.removeValue(forKey: number)?.rows?.release()
        send(message)
    }

    /// All rows of a read are sent.
    func rowsDrained(_ stream: OutgoingStream) {
        finish(stream.number, .answer(stream.number, .rows(checksum: stream.finalChecksum)))
    }

    func callCancelled(_ number: UInt64) {
        guard let served = serving.calls[number] else { return }
        served.isCancelled = true
        served.task?.cancel()
        guard let stream = streams.removeValue(forKey: number) else { return }
        stream.drop()
        finish(number, .callFailed(number, DejaVuError(.cancelled, "the caller gave the read up")))
        pump()
    }
}

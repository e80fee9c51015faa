import DejaVuCore
import NIOCore
import Synchronization

/// A frame that lands at a peer, whose bytes come piece by piece. Everything may be called from any task.
final class PeerLanding: FrameLanding {
    private typealias Admission = Result<FrameAdmission, DejaVuError>

    private struct State {
        var number: UInt64?
        var isAbandoned = false
        var admission: CheckedContinuation<Result<FrameAdmission, DejaVuError>, Never>?
        var result: Result<FrameReceipt, DejaVuError>?
        var finishing: CheckedContinuation<Void, Never>?
    }

    let executor: (any TaskExecutor)?
    private let session: NIOLoopBound<PeerSession>
    /// Does not ask the receiver first: what it does not want is swallowed there.
    private let isEager: Bool
    private let state = Mutex(State())

    init(_ session: NIOLoopBound<PeerSession>, isEager: Bool) {
        self.session = session
        self.isEager = isEager
        executor = LoopExecutor(session.eventLoop)
    }

    /// Who waits to hear whether the store takes the frame. Before `begin`.
    func awaitAdmission(_ continuation: CheckedContinuation<Result<FrameAdmission, DejaVuError>, Never>) {
        state.withLock { $0.admission = continuation }
    }

    /// On the event loop.
    func begin(_ frame: FramePost) {
        guard !state.withLock({ $0.isAbandoned }) else {
            return admit(.failure(DejaVuError(.cancelled, "the frame was cancelled")))
        }
        let admitted: (() -> Void)? = isEager ? nil : { self.admit(.success(.land(self))) }
        let number = session.value.post(
            frame, rows: nil, admitted: admitted, completion: { self.completed($0) })
        guard let number else { return }
        let isAbandoned = state.withLock { state in
            state.number = number
            return state.isAbandoned
        }
        if isAbandoned { giveUp(number) }
        if isEager { admit(.success(.land(self))) }
    }

    private func admit(_ admission: Result<FrameAdmission, DejaVuError>) {
        let continuation = state.withLock { state in
            defer { state.admission = nil }
            return state.admission
        }
        continuation?.resume(returning: admission)
    }

    private func completed(_ result: Result<FrameReceipt, DejaVuError>) {
        let (admission, finishing) = state.withLock { state in
            state.result = result
            defer { (state.admission, state.finishing) = (nil, nil) }
            return (state.admission, state.finishing)
        }
        finishing?.resume()
        guard let admission else { return }
        switch result {
        case .success(.known(let watermark)): admission.resume(returning: .success(.known(watermark: watermark)))
        case .success(.gap(let watermark)): admission.resume(returning: .success(.gap(watermark: watermark)))
        case .success(.committed): admission.resume(returning: .failure(.malformed("a receipt for nothing")))
        case .failure(let error): admission.resume(returning: .failure(error))
        }
    }

    /// Throws if the frame has ended, which it may not have before `finish`.
    private func checkUnderWay() throws(DejaVuError) {
        guard let result = state.withLock({ $0.result }) else { return }
        // Whoever has not asked hears of what is known, or of a gap, in the middle; `finish` says so.
        if case .committed = try result.get() { throw .malformed("a receipt before the end") }
        guard isEager else { throw .malformed("a receipt before the end") }
    }

    func write(_ bytes: ByteBuffer) async throws(DejaVuError) {
        try checkUnderWay()
        let number = begun
        let session = self.session
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                session.eventLoop.execute { session.value.append(bytes, to: number) { continuation.resume() } }
            }
        } onCancel: {
            abandon()
        }
        try checkUnderWay()
    }

    func finish(checksum: UInt32) async throws(DejaVuError) -> Int {
        let number = begun
        let session = self.session
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isDone = state.withLock { state in
                    if state.result == nil { state.finishing = continuation }
                    return state.result != nil
                }
                if isDone { return continuation.resume() }
                session.eventLoop.execute { session.value.finish(number, checksum: checksum) }
            }
        } onCancel: {
            abandon()
        }
        guard let result = state.withLock({ $0.result }) else { preconditionFailure("nobody else resumes it") }
        switch try result.get() {
        case .committed(let watermark), .known(let watermark), .gap(let watermark): return watermark
        }
    }

    /// What the receiver has said; nil as long as it has not.
    var receipt: FrameReceipt? { state.withLock { try? $0.result?.get() } }

    func abandon() {
        let number = state.withLock { state in
            state.isAbandoned = true
            return state.number
        }
        guard let number else { return }
        session.eventLoop.execute { self.giveUp(number) }
    }

    private func giveUp(_ number: UInt64) {
        session.value.giveUp(number, DejaVuError(.cancelled, "the frame was given up"))
    }

    private var begun: UInt64 {
        guard let number = state.withLock({ $0.number }) else { preconditionFailure("a landing begins admitted") }
        return number
    }
}

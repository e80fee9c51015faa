import DejaVuControl
import DejaVuCore
import DejaVuServing
import Synchronization

/// Generates what a test tells it to.
final class FakeBackend: GenerationBackend {
    /// What happens to a request.
    enum Plan: Sendable {
        /// These tokens for each choice, at once; `.length` if there are more than the request wants, else `.stop`.
        case tokens(@Sendable (Request, Int) -> [TokenID])
        /// The same, one token of every choice at a time.
        case paced(Duration, @Sendable (Request, Int) -> [TokenID])
        case refuse(Refusal)
        /// Admitted, then these tokens for each choice, then this end.
        case end([TokenID], FinishReason)
        /// Nothing by itself: the test delivers.
        case manual
    }

    struct Submission: Sendable {
        let request: Request
        let mailbox: GenerationMailbox
    }

    private struct State {
        var plan: Plan
        var submissions: [Submission] = []
        var cancelled: Set<RequestID> = []
        var finished: [(RequestID, Int)] = []
        var status: ClusterStatus
        var killed: [Int32] = []
        var drained: [WorkerID] = []
        var followed: [RequestID: GenerationMailbox] = [:]
        var waiters: [(condition: @Sendable (FakeBackend.Snapshot) -> Bool, CheckedContinuation<Void, Never>)] = []
    }

    /// What has been asked of the backend so far.
    struct Snapshot: Sendable {
        let submissions: [Submission]
        let cancelled: Set<RequestID>
        let finished: [(RequestID, Int)]
    }

    private let state: Mutex<State>

    init(_ plan: Plan, status: ClusterStatus = fakeStatus()) {
        state = Mutex(State(plan: plan, status: status))
    }

    /// Echoes the prompt, upper-cased by nobody: what went in comes out, then the end.
    convenience init() {
        self.init(.tokens { request, _ in request.prompt + [FakeModel.end] })
    }

    var now: Instant { Instant(nanoseconds: 1_000) }
    var snapshot: Snapshot {
        state.withLock { Snapshot(submissions: $0.submissions, cancelled: $0.cancelled, finished: $0.finished) }
    }
    func set(_ status: ClusterStatus) { state.withLock { $0.status = status } }
    func set(_ plan: Plan) { state.withLock { $0.plan = plan } }
    /// Workers that were killed; there are those of the status.
    var killed: [Int32] { state.withLock { $0.killed } }
    func killWorker(_ process: Int32) -> Bool {
        state.withLock { state in
            guard state.status.workers.contains(where: { $0.processID == process }) else { return false }
            state.killed.append(process)
            return true
        }
    }
    func status() async -> ClusterStatus { state.withLock { $0.status } }

    /// Returns once the condition holds.
    func wait(until condition: @escaping @Sendable (Snapshot) -> Bool) async {
        await withCheckedContinuation { continuation in
            state.withLock { $0.waiters.append((condition, continuation)) }
            wake()
        }
    }

    private func wake() {
        let snapshot = snapshot
        let ready = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            let ready = state.waiters.filter { $0.condition(snapshot) }.map(\.1)
            state.waiters.removeAll { $0.condition(snapshot) }
            return ready
        }
        for continuation in ready { continuation.resume() }
    }

    func submit(_ request: Request, to mailbox: GenerationMailbox) {
        let plan = state.withLock { state in
            state.submissions.append(Submission(request: request, mailbox: mailbox))
            return state.plan
        }
        switch plan {
        case .manual: break
        case .refuse(let refusal): mailbox.deliver(.refused(request.id, refusal))
        case .tokens(let script): deliverAll(request, mailbox, script)
        case .paced(let pace, let script):
            Task { await deliver(request, mailbox, pace: pace, script) }
        case .end(let tokens, let reason):
            mailbox.deliver(.admitted(request.id))
            for choice in 0..<request.choiceCount {
                for (offset, token) in tokens.enumerated() {
                    mailbox.deliver(.token(request.id, choice: choice, sampled(request, choice, offset, token)))
                }
                mailbox.deliver(.finished(request.id, choice: choice, reason))
            }
        }
        wake()
    }

    func drainWorker(_ worker: WorkerID) { state.withLock { $0.drained.append(worker) } }
    /// Workers that were asked to leave.
    var drained: [WorkerID] { state.withLock { $0.drained } }

    func follow(_ request: RequestID, to mailbox: GenerationMailbox) {
        state.withLock { $0.followed[request] = mailbox }
    }

    /// Where what becomes of a restored request goes.
    func follower(of request: RequestID) -> GenerationMailbox? { state.withLock { $0.followed[request] } }

    func cancel(_ request: RequestID) {
        state.withLock { _ = $0.cancelled.insert(request) }
        wake()
    }

    func finish(_ request: RequestID, choice: Int) {
        state.withLock { $0.finished.append((request, choice)) }
        wake()
    }

    private func deliverAll(
        _ request: Request, _ mailbox: GenerationMailbox, _ script: (Request, Int) -> [TokenID]
    ) {
        mailbox.deliver(.admitted(request.id))
        let (texts, reasons) = outputs(request, script)
        for choice in 0..<request.choiceCount {
            for (offset, token) in texts[choice].enumerated() {
                mailbox.deliver(.token(request.id, choice: choice, sampled(request, choice, offset, token)))
            }
            mailbox.deliver(.finished(request.id, choice: choice, reasons[choice]))
        }
    }

    private func deliver(
        _ request: Request, _ mailbox: GenerationMailbox, pace: Duration,
        _ script: @Sendable (Request, Int) -> [TokenID]
    ) async {
        mailbox.deliver(.admitted(request.id))
        let (texts, reasons) = outputs(request, script)
        for offset in 0..<(texts.map(\.count).max() ?? 0) {
            try? await Task.sleep(for: pace)
            if state.withLock({ $0.cancelled.contains(request.id) }) { return }
            for choice in 0..<request.choiceCount where offset < texts[choice].count {
                let token = sampled(request, choice, offset, texts[choice][offset])
                mailbox.deliver(.token(request.id, choice: choice, token))
                if offset + 1 == texts[choice].count {
                    mailbox.deliver(.finished(request.id, choice: choice, reasons[choice]))
                }
            }
        }
    }

    private func outputs(
        _ request: Request, _ script: (Request, Int) -> [TokenID]
    ) -> (texts: [[TokenID]], reasons: [FinishReason]) {
        let all = (0..<request.choiceCount).map { script(request, $0) }
        let limit = request.outputCountMax ?? .max
        return (all.map { Array($0.prefix(limit)) }, all.map { $0.count > limit ? .length : .stop })
    }

    /// A token with log probabilities that a test can compute: -token/100, and the next ids as alternatives.
    func sampled(_ request: Request, _ choice: Int, _ offset: Int, _ token: TokenID) -> SampledToken {
        let top = request.sampling.topLogprobs
        return SampledToken(
            sequence: SequenceID(UInt64(choice)), position: request.prompt.count + offset, token: token,
            logprob: top.map { _ in -Float(token) / 100 },
            alternatives: (0..<(top ?? 0)).map {
                TokenWeight(token: (token + TokenID($0)) % 256, weight: -Float(token) / 100 - Float($0))
            })
    }
}

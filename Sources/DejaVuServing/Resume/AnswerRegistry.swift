import DejaVuCore
import DejaVuMetrics
import NIOCore
import Synchronization

/// Finds answers by id and by key, while they are made and for the resume grace after that.
///
/// It holds ended answers for so long and no more bytes than allowed: the oldest go first, and if those that are being
/// made are too many, what their readers have read. Of those that it dropped it remembers the names for a while.
final class AnswerRegistry: Sendable {
    private struct OwnedKey: Hashable {
        let owner: String
        let name: String
    }

    private struct State {
        var answers: [String: LiveAnswer] = [:]
        var keys: [OwnedKey: LiveAnswer] = [:]
        /// Those that have ended, oldest first.
        var ended: [(answer: LiveAnswer, until: NIODeadline)] = []
        var endedStart = 0
        var dropped: [String: (owner: String, error: APIError)] = [:]
        var droppedOrder: [String] = []
        var droppedNext = 0
        var isSweepScheduled = false
    }

    private static let droppedCountMax = 4096
    /// What an answer takes besides its log, roughly.
    private static let bytesPerAnswer = 2048

    private let grace: TimeSpan
    private let bytesMax: Int
    private let metrics: ServingMetrics
    private let eventLoop: any EventLoop
    private let bytes = Atomic<Int>(0)
    private let isShrinking = Atomic<Bool>(false)
    private let state = Mutex(State())

    init(_ configuration: ServingConfiguration, metrics: ServingMetrics, eventLoop: any EventLoop) {
        grace = configuration.resumeGrace
        bytesMax = configuration.resumeBytesMax
        self.metrics = metrics
        self.eventLoop = eventLoop
        metrics.resumeLimit.set(Double(bytesMax))
    }

    /// Bytes that are held.
    var byteCount: Int { bytes.load(ordering: .relaxed) }

    // MARK: Coming

    /// Takes an answer in.
    ///
    /// - Returns: the one that counts: another if that one's key is known already.
    /// - Throws: 422 if the key is known for another request.
    func register(_ answer: LiveAnswer) throws(APIError) -> LiveAnswer {
        let result: Result<LiveAnswer?, APIError> = state.withLock { state in
            if let key = answer.key {
                let owned = OwnedKey(owner: answer.owner, name: key.name)
                if let known = state.keys[owned] {
                    return known.key == key ? .success(known) : .failure(.reusedKey)
                }
                state.keys[owned] = answer
            }
            precondition(state.answers.updateValue(answer, forKey: answer.id) == nil, "ids are used once")
            return .success(nil)
        }
        if let known = try result.get() { return known }
        changed(byBytes: Self.bytesPerAnswer)
        return answer
    }

    /// The answer of a key, if there is one.
    ///
    /// - Throws: 422 if the key is known for another request.
    func find(_ key: IdempotencyKey, owner: String) throws(APIError) -> LiveAnswer? {
        guard let known = state.withLock({ $0.keys[OwnedKey(owner: owner, name: key.name)] }) else { return nil }
        guard known.key == key else { throw .reusedKey }
        return known
    }

    /// The answer of an id or of a key.
    ///
    /// - Throws: 404 with the reason. Another owner's answer is not there.
    func find(_ id: String, owner: String) throws(APIError) -> LiveAnswer {
        let result: Result<LiveAnswer, APIError> = state.withLock { state in
            if let answer = state.answers[id], answer.owner == owner { return .success(answer) }
            if let answer = state.keys[OwnedKey(owner: owner, name: id)] { return .success(answer) }
            if let dropped = state.dropped[id], dropped.owner == owner { return .failure(dropped.error) }
            return .failure(.unknownRequest)
        }
        return try result.get()
    }

    // MARK: Going

    /// An answer has ended: the grace begins.
    func ended(_ answer: LiveAnswer, _ outcome: Generation.Outcome) {
        let isSoon = state.withLock { state -> Bool in
            guard state.answers[answer.id] === answer else { return false }
            // Who asks again shall not get the refusal again, but another try.
            if outcome != .completed, outcome != .failed { removeKey(&state, answer) }
            guard outcome != .refused, outcome != .busy, grace > .zero else {
                remove(&state, answer)
                return false
            }
            state.ended.append((answer, .now() + .nanoseconds(grace.nanoseconds)))
            defer { state.isSweepScheduled = true }
            return !state.isSweepScheduled
        }
        if isSoon { scheduleSweep(in: .nanoseconds(grace.nanoseconds)) }
    }

    private func scheduleSweep(in delay: TimeAmount) {
        _ = eventLoop.scheduleTask(in: delay) { [weak self] in self?.sweep() }
    }

    /// Drops what is past its time.
    private func sweep() {
        let now = NIODeadline.now()
        let next = state.withLock { state -> TimeAmount? in
            while let first = Self.oldest(state), first.until <= now {
                drop(&state, first.answer, .expiredRequest(grace), cause: "time")
                state.endedStart += 1
            }
            Self.compact(&state)
            guard let first = Self.oldest(state) else {
                state.isSweepScheduled = false
                return nil
            }
            return first.until - now
        }
        if let next { scheduleSweep(in: max(next, .milliseconds(1))) }
    }

    private static func oldest(_ state: State) -> (answer: LiveAnswer, until: NIODeadline)? {
        state.endedStart < state.ended.count ? state.ended[state.endedStart] : nil
    }

    private static func compact(_ state: inout State) {
        guard state.endedStart > 64, state.endedStart * 2 > state.ended.count else { return }
        state.ended.removeFirst(state.endedStart)
        state.endedStart = 0
    }

    private func drop(_ state: inout State, _ answer: LiveAnswer, _ error: APIError, cause: String) {
        remove(&state, answer)
        metrics.countDropped(cause)
        state.dropped[answer.id] = (answer.owner, error)
        if state.droppedOrder.count < Self.droppedCountMax {
            state.droppedOrder.append(answer.id)
        } else {
            state.dropped[state.droppedOrder[state.droppedNext]] = nil
            state.droppedOrder[state.droppedNext] = answer.id
            state.droppedNext = (state.droppedNext + 1) % Self.droppedCountMax
        }
    }

    private func remove(_ state: inout State, _ answer: LiveAnswer) {
        removeKey(&state, answer)
        state.answers[answer.id] = nil
        let freed = answer.forgetAccounted() + Self.bytesPerAnswer
        metrics.resumeBytes.set(Double(bytes.wrappingSubtract(freed, ordering: .relaxed).newValue))
    }

    private func removeKey(_ state: inout State, _ answer: LiveAnswer) {
        guard let key = answer.key else { return }
        let owned = OwnedKey(owner: answer.owner, name: key.name)
        if state.keys[owned] === answer { state.keys[owned] = nil }
    }

    // MARK: Memory

    /// The answers have grown by so many bytes.
    func changed(byBytes count: Int) {
        let total = bytes.wrappingAdd(count, ordering: .relaxed).newValue
        metrics.resumeBytes.set(Double(total))
        if total > bytesMax { shrink() }
    }

    private func shrink() {
        // What is given up here comes back here.
        guard !isShrinking.exchange(true, ordering: .acquiringAndReleasing) else { return }
        defer { isShrinking.store(false, ordering: .releasing) }
        let running = state.withLock { state in
            dropEnded(&state)
            return byteCount > bytesMax ? Array(state.answers.values) : []
        }
        for answer in running where byteCount > bytesMax { answer.shrink(.droppedForMemory) }
        state.withLock { dropEnded(&$0) }
    }

    private func dropEnded(_ state: inout State) {
        while byteCount > bytesMax, let first = Self.oldest(state) {
            drop(&state, first.answer, .droppedForMemory, cause: "bytes")
            state.endedStart += 1
        }
        Self.compact(&state)
    }
}

extension APIError {
    fileprivate static let reusedKey = APIError(
        status: 422, code: "idempotency_key_reused", parameter: "Idempotency-Key",
        message: "The Idempotency-Key was used for another request; a new request needs a new key.")

    fileprivate static let unknownRequest = APIError(
        status: 404, code: "request_not_found",
        message: "There is no such request. It was never made here, it was made with another API key, or it was "
            + "forgotten long ago.")

    fileprivate static func expiredRequest(_ grace: TimeSpan) -> APIError {
        APIError(
            status: 404, code: "request_expired",
            message: "The request ended more than \(grace) ago and was forgotten (--resume-grace).")
    }

    /// A part of an answer that is there no more.
    static let droppedForMemory = APIError(
        status: 404, code: "request_dropped",
        message: "The answer was dropped, since more was to be kept than --resume-memory allows.")
}

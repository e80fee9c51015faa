import AsyncHTTPClient
import DejaVuCore
import NIOCore
import NIOHTTP1

/// Sends the requests of a source, each when it is due, and collects what comes back. Lives on one event loop.
final class LoadRun: Sendable {
    enum Pacing: Sendable {
        /// Each request when its offset says.
        case scheduled
        case concurrency(Int)
    }

    struct Result: Sendable {
        var samples: [RequestSample]
        /// One line about the first failure of each kind.
        var details: [String: String]
        /// From the start to the end of the last request.
        var seconds: Double
        /// Why fewer requests were sent than wanted; nil if they were not.
        var stoppedEarly: String?
    }

    private struct State {
        var source: RequestSource
        var samples: [RequestSample] = []
        var details: [String: String] = [:]
        var sentCount = 0
        var inFlightCount = 0
        var failedCount = 0
        var failuresInARow = 0
        var outputTokenCount = 0
        var isExhausted = false
        var isEnded = false
        var stoppedEarly: String?
    }

    /// A closed loop against a server that refuses everything would only spin.
    private static let failuresInARowMax = 100

    private let http: HTTPClient
    private let loop: any EventLoop
    private let url: String
    private let apiKey: String?
    private let body: RequestBody
    private let prompts: PromptMaker
    private let pacing: Pacing
    private let inFlightMax: Int
    private let timeout: TimeAmount
    private let durationMax: TimeAmount?
    private let start: NIODeadline
    private let state: NIOLoopBoundBox<State>
    private let promise: EventLoopPromise<Result>

    init(
        _ server: ServerClient, _ configuration: LoadConfiguration, body: RequestBody, prompts: PromptMaker,
        source: RequestSource, pacing: Pacing, on loop: any EventLoop
    ) {
        http = server.http
        self.loop = loop
        url = server.base + body.endpoint.path
        apiKey = server.apiKey
        self.body = body
        self.prompts = prompts
        self.pacing = pacing
        inFlightMax = configuration.inFlightMax
        timeout = .nanoseconds(TimeSpan.seconds(configuration.requestTimeoutSeconds).nanoseconds)
        durationMax = configuration.durationSeconds.map { .nanoseconds(TimeSpan.seconds($0).nanoseconds) }
        // A moment for the first requests to be made, so that they are not late.
        start = .now() + .milliseconds(20)
        state = .makeBoxSendingValue(State(source: source), eventLoop: loop)
        promise = loop.makePromise(of: Result.self)
    }

    /// Runs to the end of the last request.
    ///
    /// - Throws: `CancellationError` if the task is cancelled; requests then end with the client.
    func run(onProgress: (@Sendable (LoadProgress) -> Void)?, progress: LoadProgress) async throws -> Result {
        let ticker = onProgress.map { report in
            loop.scheduleRepeatedTask(initialDelay: .milliseconds(500), delay: .milliseconds(500)) { [self] _ in
                report(snapshot(progress))
            }
        }
        defer { ticker?.cancel() }
        loop.scheduleTask(deadline: start) { [self] in begin() }
        return try await withTaskCancellationHandler {
            try await promise.futureResult.get()
        } onCancel: {
            loop.execute { [self] in end(with: .failure(CancellationError())) }
        }
    }

    private func begin() {
        switch pacing {
        case .scheduled: scheduleNext()
        case .concurrency(let count):
            for _ in 0..<count where !state.value.isExhausted { sendNext() }
            endIfDone()
        }
    }

    private func scheduleNext() {
        guard !state.value.isEnded else { return }
        guard let planned = state.value.source.next() else {
            state.value.isExhausted = true
            return endIfDone()
        }
        guard let offset = planned.offset else { preconditionFailure("an open loop knows when a request is due") }
        loop.scheduleTask(deadline: start + .nanoseconds(offset.nanoseconds)) { [self] in
            send(planned, due: offset.seconds)
            scheduleNext()
        }
    }

    private func sendNext() {
        guard !state.value.isEnded, !state.value.isExhausted else { return }
        let elapsed = NIODeadline.now() - start
        if let durationMax, elapsed >= durationMax { state.value.isExhausted = true }
        guard !state.value.isExhausted, let planned = state.value.source.next() else {
            state.value.isExhausted = true
            return
        }
        send(planned, due: nil)
    }

    private func send(_ planned: PlannedRequest, due: Double?) {
        guard !state.value.isEnded else { return }
        let sent = seconds(NIODeadline.now() - start)
        var sample = RequestSample(
            index: planned.index, due: due ?? sent, sent: sent, promptTokensWanted: planned.promptTokenCount,
            outputTokensWanted: planned.outputTokenCount)
        state.value.sentCount += 1
        guard state.value.inFlightCount < inFlightMax else {
            sample.failure = ErrorKind.overload
            sample.end = sent
            return collect(sample, detail: nil)
        }
        let prompt = prompts.prompt(tokenCount: planned.promptTokenCount, seed: planned.seed)
        let json = body.json(prompt, outputTokenCount: planned.outputTokenCount, seed: planned.seed)
        guard
            var request = try? HTTPClient.Request(url: url, method: .POST, body: .byteBuffer(ByteBuffer(string: json)))
        else {
            sample.failure = "invalid url"
            return collect(sample, detail: nil)
        }
        request.headers.add(name: "content-type", value: "application/json")
        request.headers.add(name: "accept", value: "text/event-stream")
        if let apiKey { request.headers.add(name: "authorization", value: "Bearer " + apiKey) }
        state.value.inFlightCount += 1
        let reader = ResponseReader(sample, start: start, on: loop) { [self] sample, detail in
            state.value.inFlightCount -= 1
            collect(sample, detail: detail)
            if case .concurrency = pacing { sendNext() }
            endIfDone()
        }
        _ = http.execute(
            request: request, delegate: reader, eventLoop: .delegateAndChannel(on: loop), deadline: .now() + timeout)
    }

    private func collect(_ sample: RequestSample, detail: String?) {
        state.value.samples.append(sample)
        guard let failure = sample.failure else {
            state.value.failuresInARow = 0
            state.value.outputTokenCount += sample.outputTokens
            return
        }
        state.value.failedCount += 1
        state.value.failuresInARow += 1
        if state.value.details[failure] == nil, let detail { state.value.details[failure] = detail }
        if case .concurrency = pacing, state.value.failuresInARow >= Self.failuresInARowMax {
            state.value.isExhausted = true
            state.value.stoppedEarly = "\(Self.failuresInARowMax) requests in a row failed: \(failure)"
        }
    }

    private func endIfDone() {
        guard state.value.isExhausted, state.value.inFlightCount == 0 else { return }
        let current = state.value
        let result = Result(
            samples: current.samples.sorted { $0.index < $1.index }, details: current.details,
            seconds: current.samples.map(\.end).max() ?? 0, stoppedEarly: current.stoppedEarly)
        end(with: .success(result))
    }

    private func end(with result: Swift.Result<Result, any Error>) {
        guard !state.value.isEnded else { return }
        state.value.isEnded = true
        promise.completeWith(result)
    }

    private func snapshot(_ base: LoadProgress) -> LoadProgress {
        var progress = base
        progress.seconds = max(0, seconds(NIODeadline.now() - start))
        progress.sentCount = state.value.sentCount
        progress.inFlightCount = state.value.inFlightCount
        progress.failedCount = state.value.failedCount
        progress.doneCount = state.value.samples.count - state.value.failedCount
        progress.outputTokenCount = state.value.outputTokenCount
        return progress
    }
}

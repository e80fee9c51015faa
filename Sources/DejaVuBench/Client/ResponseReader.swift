import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// Reads one streamed answer on the event loop and notes the time of each token. No task, lock or hop for a token: the
/// generator shares the machine with the server that it measures.
final class ResponseReader: HTTPClientResponseDelegate, Sendable {
    /// Called once, on the event loop, with the finished sample and, where it failed, a line that says more.
    typealias Completion = @Sendable (RequestSample, _ detail: String?) -> Void

    private struct State {
        var sample: RequestSample
        var parser = EventStreamParser()
        var lastTokenAt: NIODeadline?
        var chunkCount = 0
        var sawDone = false
        var sawFinish = false
        var outputTokens: Int?
        var failure: String?
        var errorBody = ByteBuffer()
        var isComplete = false

        mutating func note(_ chunk: StreamChunk, at now: NIODeadline, start: NIODeadline) {
            if chunk.isError { failure = failure ?? ErrorKind.errorEvent }
            if chunk.isDone { sawDone = true }
            if chunk.isFinished { sawFinish = true }
            if let count = chunk.promptTokenCount { sample.promptTokens = count }
            if let count = chunk.outputTokenCount { outputTokens = count }
            guard chunk.hasText else { return }
            chunkCount += 1
            if let lastTokenAt {
                sample.gapsMicroseconds.append(Int(((now - lastTokenAt).nanoseconds + 500) / 1000))
            } else {
                sample.firstToken = seconds(now - start)
            }
            lastTokenAt = now
        }
    }

    private let state: NIOLoopBoundBox<State>
    private let start: NIODeadline
    private let completion: Completion

    /// - Parameter start: the start of the run, from which the sample's times count.
    init(_ sample: RequestSample, start: NIODeadline, on loop: any EventLoop, completion: @escaping Completion) {
        state = NIOLoopBoundBox(State(sample: sample), eventLoop: loop)
        self.start = start
        self.completion = completion
    }

    func didReceiveHead(task: HTTPClient.Task<Void>, _ head: HTTPResponseHead) -> EventLoopFuture<Void> {
        if head.status != .ok { state.value.failure = ErrorKind.status(Int(head.status.code)) }
        return task.eventLoop.makeSucceededVoidFuture()
    }

    func didReceiveBodyPart(task: HTTPClient.Task<Void>, _ buffer: ByteBuffer) -> EventLoopFuture<Void> {
        let now = NIODeadline.now()
        if state.value.failure == nil {
            Self.read(buffer, at: now, start: start, into: &state.value)
        } else if state.value.errorBody.readableBytes < 1024 {
            state.value.errorBody.writeBytes(buffer.readableBytesView.prefix(1024))
        }
        return task.eventLoop.makeSucceededVoidFuture()
    }

    func didFinishRequest(task: HTTPClient.Task<Void>) throws {
        let current = state.value
        if current.failure == nil, !current.sawDone, !current.sawFinish {
            state.value.failure = ErrorKind.truncated
        }
        complete(detail: current.errorBody.readableBytes > 0 ? ErrorKind.excerpt(current.errorBody) : nil)
    }

    func didReceiveError(task: HTTPClient.Task<Void>, _ error: any Error) {
        if state.value.failure == nil { state.value.failure = ErrorKind.name(of: error) }
        complete(detail: nil)
    }

    private static func read(_ buffer: ByteBuffer, at now: NIODeadline, start: NIODeadline, into state: inout State) {
        // The parser is taken out so that its callback may change the rest of the state.
        var parser = state.parser
        state.parser = EventStreamParser()
        let isWhole = buffer.withUnsafeReadableBytes { bytes in
            parser.feed(bytes) { event in
                if let chunk = StreamChunk(parsing: event) {
                    state.note(chunk, at: now, start: start)
                } else {
                    state.failure = state.failure ?? ErrorKind.malformed
                }
            }
        }
        state.parser = parser
        if !isWhole { state.failure = state.failure ?? ErrorKind.malformed }
    }

    private func complete(detail: String?) {
        guard !state.value.isComplete else { return }
        state.value.isComplete = true
        var sample = state.value.sample
        sample.end = seconds(NIODeadline.now() - start)
        sample.outputTokens = state.value.outputTokens ?? state.value.chunkCount
        sample.failure = state.value.failure
        completion(sample, detail)
    }
}

func seconds(_ amount: TimeAmount) -> Double { Double(amount.nanoseconds) / 1e9 }

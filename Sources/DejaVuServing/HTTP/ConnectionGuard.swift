import DejaVuCore
import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes

/// Holds one connection to its limits: how long a client may take to ask, to send and to read, how much it may send
/// ahead, and what happens to bytes that are no HTTP.
///
/// It stands between the HTTP codec and the task that serves the connection. One timer a connection looks at
/// everything; nothing is scheduled per request or per token.
final class ConnectionGuard: ChannelDuplexHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private enum Phase {
        /// No request is under way. Fresh connections get less time than those that have asked before.
        case waiting(isFresh: Bool)
        case readingBody
        /// The whole request is here; the answer is not yet written.
        case answering
        /// The last answer is written: what the client still sends is dropped until it closes.
        case lingering
    }

    private let configuration: ServingConfiguration
    private let metrics: ServingMetrics
    private let isOverLimit: Bool
    private var phase = Phase.waiting(isFresh: true)
    private var phaseStarted = NIODeadline.now()
    private var ticker: RepeatedTask?
    private var closesAfterAnswer = false
    private var pipelinedPartCount = 0
    private var bytesWritten = 0
    private var bytesSent = 0
    private var lastProgress = NIODeadline.now()

    init(_ configuration: ServingConfiguration, metrics: ServingMetrics, isOverLimit: Bool) {
        self.configuration = configuration
        self.metrics = metrics
        self.isOverLimit = isOverLimit
    }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { start(context) }
    }

    func channelActive(context: ChannelHandlerContext) {
        start(context)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        ticker?.cancel()
        ticker = nil
        context.fireChannelInactive()
    }

    private func start(_ context: ChannelHandlerContext) {
        guard ticker == nil else { return }
        let interval = amount(configuration.tickInterval)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        ticker = context.eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
            let (handler, context) = bound.value
            handler.tick(context)
        }
        enter(.waiting(isFresh: true))
        guard isOverLimit else { return }
        let error = APIError(
            status: 503, type: "server_error", code: "too_many_connections",
            message: "The server has as many connections as it takes.", retryAfter: 1)
        refuse(context, error, cause: "limit")
    }

    private func enter(_ phase: Phase) {
        self.phase = phase
        phaseStarted = .now()
    }

    // MARK: From the client

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        switch phase {
        case .lingering: return
        case .answering:
            // The next request before this one's answer: allowed, within bounds.
            pipelinedPartCount += 1
            guard pipelinedPartCount <= configuration.pipelinedPartCountMax else {
                return abandon(context, cause: "pipelining")
            }
            context.fireChannelRead(data)
        case .waiting, .readingBody:
            read(part, context)
            context.fireChannelRead(data)
        }
    }

    private func read(_ part: HTTPRequestPart, _ context: ChannelHandlerContext) {
        switch part {
        case .head(let head):
            if head.headerFields[.connection]?.lowercased() == "close" { closesAfterAnswer = true }
            enter(.readingBody)
            if head.headerFields[.expect]?.lowercased() == "100-continue" {
                context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
            }
        case .body: break
        case .end: enter(.answering)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed:
            // A client that will not say any more is taken to be gone: there is no way to tell the two apart before
            // an answer is written, and its generation would run for nobody.
            context.close(promise: nil)
        case is ChannelShouldQuiesceEvent:
            if case .waiting = phase { context.close(promise: nil) } else { closesAfterAnswer = true }
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? HTTPParserError else {
            context.close(promise: nil)
            return
        }
        switch phase {
        case .waiting, .readingBody:
            let isTooLong = error == .headerOverflow
            refuse(
                context,
                APIError(
                    status: isTooLong ? 431 : 400, code: isTooLong ? "headers_too_large" : "malformed_http",
                    message: isTooLong ? "The request's headers are too long." : "This is not a valid HTTP request."),
                cause: "malformed")
        case .answering: closesAfterAnswer = true
        case .lingering: break
        }
    }

    // MARK: To the client

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .lingering = phase {
            // The connection was answered for already, by `refuse`.
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        switch unwrapOutboundIn(data) {
        case .head(var head):
            if head.headerFields[.connection] == "close" { closesAfterAnswer = true }
            // What the client has not sent yet of a request that is answered already is not worth reading.
            if case .readingBody = phase { closesAfterAnswer = true }
            if closesAfterAnswer { head.headerFields[.connection] = "close" }
            context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .body(let buffer):
            if bytesWritten == bytesSent { lastProgress = .now() }
            bytesWritten += buffer.readableBytes
            context.write(data, promise: promise)
        case .end:
            context.write(data, promise: promise)
            endAnswer(context)
        }
    }

    private func endAnswer(_ context: ChannelHandlerContext) {
        guard closesAfterAnswer else {
            pipelinedPartCount = 0
            enter(.waiting(isFresh: false))
            return
        }
        linger(context)
    }

    /// Says that nothing more will come, and gives the client the time to read what did: to close at once could
    /// take the answer out of its hands (RFC 9112, section 9.6).
    private func linger(_ context: ChannelHandlerContext) {
        enter(.lingering)
        context.flush()
        context.close(mode: .output, promise: nil)
    }

    /// Answers in place of the task that serves the connection.
    private func refuse(_ context: ChannelHandlerContext, _ error: APIError, cause: String) {
        metrics.countClosed(cause)
        metrics.count(route: "other", code: error.status)
        var json = JSONWriter()
        error.write(&json)
        var head = HTTPResponse(status: .init(code: error.status))
        head.headerFields = [
            .contentType: "application/json", .contentLength: String(json.bytes.count), .connection: "close",
        ]
        if let seconds = error.retryAfter { head.headerFields[.retryAfter] = String(seconds) }
        if let name = HTTPField.Name("x-request-id") {
            head.headerFields[name] = RequestIdentity.name(nil, number: .random(in: 1 ... .max))
        }
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(ByteBuffer(bytes: json.bytes))), promise: nil)
        context.write(wrapOutboundOut(.end(nil)), promise: nil)
        linger(context)
    }

    private func abandon(_ context: ChannelHandlerContext, cause: String) {
        metrics.countClosed(cause)
        enter(.lingering)
        context.close(promise: nil)
    }

    // MARK: Time

    private func tick(_ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        if isStalled(context) { return abandon(context, cause: "slow_reader") }
        let elapsed = NIODeadline.now() - phaseStarted
        switch phase {
        case .waiting(let isFresh):
            let timeout = isFresh ? configuration.headerTimeout : configuration.idleTimeout
            guard elapsed > amount(timeout) else { return }
            if isFresh { metrics.countClosed("slow_request") }
            context.close(promise: nil)
        case .readingBody:
            guard elapsed > amount(configuration.bodyTimeout) else { return }
            let error = APIError(
                status: 408, code: "request_timeout", message: "The request's body did not come in time.")
            refuse(context, error, cause: "slow_request")
        case .answering: break
        case .lingering:
            if elapsed > .seconds(2), buffered(context) == 0 { context.close(promise: nil) }
        }
    }

    /// Whether bytes have waited for the client longer than it may take.
    private func isStalled(_ context: ChannelHandlerContext) -> Bool {
        let waiting = buffered(context)
        let sent = bytesWritten - waiting
        if waiting == 0 || sent > bytesSent {
            bytesSent = waiting == 0 ? bytesWritten : sent
            lastProgress = .now()
            return false
        }
        return NIODeadline.now() - lastProgress > amount(configuration.writeTimeout)
    }

    private func buffered(_ context: ChannelHandlerContext) -> Int {
        (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    private func amount(_ span: TimeSpan) -> TimeAmount { .nanoseconds(span.nanoseconds) }
}

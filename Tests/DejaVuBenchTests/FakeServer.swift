import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A server on loopback that speaks just enough of the API and misbehaves as told.
final class FakeServer: Sendable {
    /// What a completion request is answered with.
    struct Script: Sendable {
        enum Ending: Sendable {
            case complete
            /// The connection goes away inside the body.
            case disconnect
            /// Nothing more comes.
            case hang
        }
        var status = HTTPResponseStatus.ok
        /// The body, in pieces that are written apart.
        var pieces: [String] = []
        var ending = Ending.complete

        /// A well-behaved stream of so many tokens.
        static func stream(tokens: Int, promptTokens: Int = 7, isChat: Bool = false, usage: Bool = true) -> Script {
            var events: [String] = []
            if isChat { events.append(#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#) }
            for index in 0..<tokens {
                events.append(
                    isChat
                        ? #"{"choices":[{"delta":{"content":"t\#(index)"},"finish_reason":null}]}"#
                        : #"{"choices":[{"text":"t\#(index)","finish_reason":null}]}"#)
            }
            events.append(#"{"choices":[{"text":"","delta":{},"finish_reason":"length"}]}"#)
            if usage {
                events.append(
                    #"{"choices":[],"usage":{"prompt_tokens":\#(promptTokens),"completion_tokens":\#(tokens)}}"#)
            }
            return Script(pieces: events.map { "data: \($0)\n\n" } + ["data: [DONE]\n\n"])
        }
    }

    struct Log: Sendable {
        var bodies: [String] = []
        var inFlight = 0
        var inFlightMax = 0
    }

    private struct Settings: Sendable {
        let hasTokenize: Bool
        let answer: @Sendable (_ index: Int, _ body: String) -> Script
    }

    let port: Int
    private let log: LogBox
    private let channel: any Channel

    final class LogBox: Sendable {
        let state = Mutex(Log())
    }

    /// Starts on a free port. `answer` is asked for each completion request, with its number and its body.
    static func start(
        hasTokenize: Bool = true, answer: @escaping @Sendable (_ index: Int, _ body: String) -> Script
    ) async throws -> FakeServer {
        let log = LogBox()
        let settings = Settings(hasTokenize: hasTokenize, answer: answer)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(settings: settings, log: log))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return FakeServer(channel: channel, log: log)
    }

    private init(channel: any Channel, log: LogBox) {
        self.channel = channel
        self.log = log
        port = channel.localAddress?.port ?? 0
    }

    var url: String { "http://127.0.0.1:\(port)" }
    var seen: Log { log.state.withLock { $0 } }

    func stop() async throws { try await channel.close() }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let settings: Settings
        private let log: LogBox
        private var path = ""
        private var body = ""

        init(settings: Settings, log: LogBox) {
            self.settings = settings
            self.log = log
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head):
                path = head.uri
                body = ""
            case .body(let buffer): body += String(buffer: buffer)
            case .end: answer(context)
            }
        }

        private func answer(_ context: ChannelHandlerContext) {
            switch path {
            case "/v1/models":
                write(Script(pieces: [#"{"data":[{"id":"fake","max_model_len":512}]}"#]), context)
            case "/tokenize" where settings.hasTokenize:
                // One token for each word, as if the vocabulary were made of words.
                let content = body.split(separator: "\"", omittingEmptySubsequences: false)[3]
                let tokens = content.split(separator: " ").indices.map { String($0) }.joined(separator: ",")
                write(Script(pieces: ["{\"tokens\":[\(tokens)]}"]), context)
            case "/v1/completions", "/v1/chat/completions": complete(context)
            default: write(Script(status: .notFound, pieces: ["{}"]), context)
            }
        }

        private func complete(_ context: ChannelHandlerContext) {
            if !body.contains("\"stream\":true") {
                // Only asked how long a prompt is: words plus a template of five tokens.
                let words = body.split(separator: "\"").map { $0.split(separator: " ").count }.max() ?? 0
                return write(
                    Script(pieces: ["{\"usage\":{\"prompt_tokens\":\(words + 5),\"completion_tokens\":1}}"]), context)
            }
            let index = log.state.withLock { log in
                log.bodies.append(body)
                log.inFlight += 1
                log.inFlightMax = max(log.inFlightMax, log.inFlight)
                return log.bodies.count - 1
            }
            let log = log
            write(settings.answer(index, body), context) { log.state.withLock { $0.inFlight -= 1 } }
        }

        private func write(
            _ script: Script, _ context: ChannelHandlerContext, before done: @escaping @Sendable () -> Void = {}
        ) {
            let head = HTTPResponseHead(
                version: .http1_1, status: script.status, headers: ["content-type": "text/event-stream"])
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            for piece in script.pieces {
                context.writeAndFlush(
                    wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: piece)))), promise: nil)
            }
            done()
            switch script.ending {
            case .complete: context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            case .disconnect: context.close(promise: nil)
            case .hang: context.flush()
            }
        }
    }
}

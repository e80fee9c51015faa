import DejaVuMetrics
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import Synchronization

/// How a connection is set up and served: HTTP/1.1 behind a guard that holds it to its limits.
///
/// The task that serves a connection is cancelled as soon as the connection is gone, whatever the task waits for.
struct ConnectionChannel: HTTPChannelHandler {
    typealias Value = ServedConnection

    let responder: Responder
    private let configuration: ServingConfiguration
    private let metrics: ServingMetrics
    private let connections = ConnectionCount()

    init(responder: @escaping Responder, configuration: ServingConfiguration, metrics: ServingMetrics) {
        self.responder = responder
        self.configuration = configuration
        self.metrics = metrics
    }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<ServedConnection> {
        channel.eventLoop.makeCompletedFuture {
            if let options = channel.syncOptions {
                try options.setOption(.tcpOption(.tcp_nodelay), value: 1)
                try options.setOption(.socketOption(.so_sndbuf), value: .init(configuration.sendBufferBytes))
            }
            var limits = NIOHTTPDecoderLimitConfiguration()
            limits.maxHeaderFieldSize = configuration.headerBytesMax
            limits.maxHeaderListSize = configuration.headerBytesMax
            limits.maxHeaderFieldCount = 100
            let pipeline = channel.pipeline.syncOperations
            try pipeline.configureHTTPServerPipeline(
                withPipeliningAssistance: false, withErrorHandling: false, withOutboundHeaderValidation: false,
                withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
            try pipeline.addHandler(HTTP1ToHTTPServerCodec(secure: false))
            let isOver = !connections.enter(max: configuration.connectionCountMax)
            metrics.connections.set(Double(connections.count))
            let (connections, metrics) = (connections, metrics)
            channel.closeFuture.whenComplete { _ in metrics.connections.set(Double(connections.leave())) }
            try pipeline.addHandler(ConnectionGuard(configuration, metrics: metrics, isOverLimit: isOver))
            return ServedConnection(
                stream: try NIOAsyncChannel(
                    wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true)),
                executor: EventLoopExecutor(channel.eventLoop))
        }
    }

    func handle(value: ServedConnection, logger: Logger) async {
        await withTaskExecutorPreference(value.executor) {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await handleHTTP(asyncChannel: value.stream, logger: logger) }
                try? await value.channel.closeFuture.get()
                group.cancelAll()
            }
        }
    }
}

/// A connection and where its tasks run.
struct ServedConnection: ServerChildChannelValue {
    let stream: NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>
    let executor: EventLoopExecutor
    var channel: any Channel { stream.channel }
}

/// How many connections are open, over all event loops.
private final class ConnectionCount: Sendable {
    private let open = Atomic<Int>(0)

    var count: Int { open.load(ordering: .relaxed) }
    /// Counts one in, also if that is one too many.
    func enter(max: Int) -> Bool { open.wrappingAdd(1, ordering: .relaxed).newValue <= max }
    func leave() -> Int { open.wrappingSubtract(1, ordering: .relaxed).newValue }
}

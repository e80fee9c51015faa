package import DejaVuControl
package import DejaVuCore
package import DejaVuMetrics
package import Hummingbird
import HummingbirdCore
package import Logging
package import NIOCore

/// The HTTP server as a service: run it in a service group; it ends with graceful shutdown, when the answers that are
/// under way have been written.
///
/// - Parameters:
///   - restored: requests that a server before this one had taken; the backend follows them.
///   - onListening: called once with the port that the server listens on.
/// - Throws: `.invalidArgument` if the configuration contradicts itself.
package func makeServingApplication(
    configuration: ServingConfiguration, model: any TextModel, backend: any GenerationBackend,
    restored: [RestoredRequest] = [], metrics: MetricsRegistry, eventLoopGroup: any EventLoopGroup, logger: Logger,
    onListening: @escaping @Sendable (_ port: Int) async -> Void = { _ in }
) throws(DejaVuError) -> Application<ServingResponder> {
    try configuration.validate()
    let metrics = ServingMetrics(metrics)
    let service = ServingService(
        configuration: configuration, model: model, backend: backend, metrics: metrics, eventLoopGroup: eventLoopGroup)
    service.restore(restored)
    var quiet = logger
    // Hummingbird tells every start and stop at info; the command says it in its own words.
    quiet.logLevel = max(logger.logLevel, .notice)
    return Application(
        responder: ServingResponder(configuration: configuration, service: service, logger: logger),
        server: HTTPServerBuilder { responder in
            ConnectionChannel(responder: responder, configuration: configuration, metrics: metrics)
        },
        configuration: ApplicationConfiguration(
            address: .hostname(configuration.host, port: configuration.port), serverName: "dejavu", backlog: 512),
        onServerRunning: { await onListening($0.localAddress?.port ?? configuration.port) },
        eventLoopGroupProvider: .shared(eventLoopGroup), logger: quiet)
}

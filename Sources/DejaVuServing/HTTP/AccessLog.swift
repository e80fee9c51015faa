import Logging

/// One log line and one count for each answered request; never what was asked or answered.
struct AccessLog: Sendable {
    let exchange: Exchange
    let method: String
    let path: String
    let peer: String?
    let metrics: ServingMetrics

    func write(status: Int, notes: [(String, String)]) {
        metrics.count(route: exchange.route?.rawValue ?? "other", code: status)
        let level: Logger.Level = exchange.route?.isPolled == true ? .debug : .info
        guard exchange.logger.logLevel <= level else { return }
        var metadata: Logger.Metadata = [
            "method": "\(method)", "path": "\(path.prefix(200))", "status": "\(status)",
            "milliseconds": "\(Int(seconds(from: exchange.started, to: .now) * 1000))",
        ]
        if let peer { metadata["peer"] = "\(peer)" }
        for (key, value) in notes { metadata[key] = "\(value)" }
        exchange.logger.log(level: level, "request", metadata: metadata)
    }
}

import DejaVuCore

/// When requests are sent.
package enum Arrivals: Hashable, Sendable, Codable {
    /// Open loop: exponential gaps, so many requests a second on average, whatever the server does.
    case poisson(rate: Double)
    /// Closed loop: always so many requests in flight.
    case concurrency(Int)
    /// Open loop: at the times of a trace, `speed` times as fast, with its lengths scaled to the model's context.
    case trace(path: String, speed: Double)

    package var isOpenLoop: Bool {
        if case .concurrency = self { false } else { true }
    }
}

/// Which API is asked.
package enum Endpoint: String, Hashable, Sendable, Codable, CaseIterable {
    case completions
    case chat

    var path: String { self == .chat ? "/v1/chat/completions" : "/v1/completions" }
}

/// What a request must keep to count for goodput; nil asks nothing.
package struct Objectives: Hashable, Sendable, Codable {
    package var timeToFirstToken: Double?
    /// Of the mean time per output token after the first.
    package var timePerOutputToken: Double?
    package var endToEnd: Double?
    package init(timeToFirstToken: Double? = nil, timePerOutputToken: Double? = nil, endToEnd: Double? = nil) {
        self.timeToFirstToken = timeToFirstToken
        self.timePerOutputToken = timePerOutputToken
        self.endToEnd = endToEnd
    }
    var isEmpty: Bool { timeToFirstToken == nil && timePerOutputToken == nil && endToEnd == nil }
}

/// Everything that decides what a load run does. Two runs of one configuration send the same requests in the same
/// order.
package struct LoadConfiguration: Hashable, Sendable, Codable {
    /// The server's base, with or without `/v1`.
    package var url: String
    package var endpoint: Endpoint = .completions
    /// nil takes the first that the server names.
    package var model: String?
    package var arrivals: Arrivals
    /// How many requests are sent at most. nil is no limit; a trace then ends with its last row.
    package var requestCount: Int?
    /// After how many seconds no more requests are sent; those in flight are waited for.
    package var durationSeconds: Double?
    package var promptTokens: LengthDistribution = .fixed(128)
    package var outputTokens: LengthDistribution = .fixed(64)
    /// Positions of the model's context; nil asks the server.
    package var contextTokens: Int?
    package var seed: UInt64 = 1
    /// Requests before the measurement, whose results are dropped.
    package var warmUpCount = 2
    package var requestTimeoutSeconds = 600.0
    /// An open loop sends no more than so many at once; what would go beyond it counts as failed.
    package var inFlightMax = 1024
    package var ignoresEndOfText = true
    package var temperature = 0.0
    package var objectives = Objectives()
    /// Members added to each request's JSON object, as JSON: `{"cache_prompt":false}`.
    package var extraBody: String?
    /// Sent as a bearer token; never written anywhere.
    package var apiKey: String?

    private enum CodingKeys: String, CodingKey {
        case url, endpoint, model, arrivals, requestCount, durationSeconds, promptTokens, outputTokens, contextTokens
        case seed, warmUpCount, requestTimeoutSeconds, inFlightMax, ignoresEndOfText, temperature, objectives, extraBody
    }

    package init(url: String, arrivals: Arrivals) {
        self.url = url
        self.arrivals = arrivals
    }

    /// The largest number of requests that one run keeps in memory.
    static let requestCountMax = 1_000_000

    /// - Throws: `DejaVuError.invalidArgument` that names the setting.
    package func validate() throws {
        func require(_ condition: Bool, _ subject: String, _ rule: String) throws {
            guard condition else { throw DejaVuError(.invalidArgument, "\(subject) \(rule)", subject: subject) }
        }
        let hasScheme = url.hasPrefix("http://") || url.hasPrefix("https://")
        try require(hasScheme && url.utf8.count <= 2048, "url", "must begin with http:// or https://")
        switch arrivals {
        case .poisson(let rate): try require(rate > 0 && rate <= 100_000, "rate", "must be above 0, at most 100000")
        case .concurrency(let count): try require((1...16_384).contains(count), "concurrency", "must be 1 to 16384")
        case .trace(_, let speed):
            try require(speed >= 1e-6 && speed <= 1e6, "trace-speed", "must be 0.000001 to 1000000")
        }
        if let requestCount {
            try require(
                (1...Self.requestCountMax).contains(requestCount), "requests", "must be 1 to \(Self.requestCountMax)")
        }
        if let durationSeconds {
            try require(durationSeconds > 0 && durationSeconds <= 1e6, "duration", "must be above 0, at most 1000000 s")
        }
        if case .trace = arrivals {
        } else {
            try require(requestCount != nil || durationSeconds != nil, "requests", "or duration must say when to stop")
        }
        if let contextTokens { try require(contextTokens >= 2, "context", "must be at least 2") }
        try require((0...10_000).contains(warmUpCount), "warm-up", "must be 0 to 10000")
        try require(
            requestTimeoutSeconds > 0 && requestTimeoutSeconds <= 1e6, "timeout", "must be above 0, at most 1000000 s")
        try require((1...16_384).contains(inFlightMax), "in-flight-max", "must be 1 to 16384")
        try require(temperature >= 0 && temperature <= 100, "temperature", "must be 0 to 100")
    }
}

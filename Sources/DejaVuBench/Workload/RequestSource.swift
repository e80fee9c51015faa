package import DejaVuCore

/// A request before its prompt is made.
package struct PlannedRequest: Hashable, Sendable {
    package let index: Int
    /// When it is due after the start of the run; nil in a closed loop: at once.
    package let offset: TimeSpan?
    package let promptTokenCount: Int
    package let outputTokenCount: Int
    /// Decides the prompt's content.
    package let seed: UInt64
}

/// The endless or finite row of requests that a configuration describes. Same configuration, same requests.
package struct RequestSource: Sendable {
    /// What a trace's lengths were multiplied by to fit the context; 1 without a trace.
    package let lengthScale: Double
    private let configuration: LoadConfiguration
    private let contextTokens: Int?
    private let rows: [TraceRow]
    private let countMax: Int
    private let offsetMax: TimeSpan
    private var index = 0
    private var clock = 0.0
    // Apart, so that what one draws does not change the others.
    private var arrivalGenerator: SeededGenerator
    private var lengthGenerator: SeededGenerator
    private var contentGenerator: SeededGenerator

    /// - Parameters:
    ///   - contextTokens: no request is longer than this in all; nil if nobody knows.
    ///   - rows: the trace, where the arrivals are one; never empty then.
    package init(_ configuration: LoadConfiguration, contextTokens: Int?, rows: [TraceRow] = []) {
        if case .trace = configuration.arrivals {
            precondition(!rows.isEmpty, "a trace has at least one row")
            let longest = rows.map { $0.promptTokenCount + $0.outputTokenCount }.max() ?? 1
            lengthScale = contextTokens.map { min(1, Double($0) / Double(max(1, longest))) } ?? 1
        } else {
            lengthScale = 1
        }
        self.configuration = configuration
        self.contextTokens = contextTokens
        self.rows = rows
        countMax = configuration.requestCount ?? LoadConfiguration.requestCountMax
        offsetMax = configuration.durationSeconds.map { TimeSpan.seconds($0) } ?? TimeSpan(nanoseconds: .max)
        var seeds = SeededGenerator(seed: configuration.seed)
        arrivalGenerator = SeededGenerator(seed: seeds.next())
        lengthGenerator = SeededGenerator(seed: seeds.next())
        contentGenerator = SeededGenerator(seed: seeds.next())
    }

    /// A source of requests like this one's first, with other prompts: for warming up.
    package static func warmUp(_ configuration: LoadConfiguration, contextTokens: Int?, rows: [TraceRow] = [])
        -> RequestSource
    {
        var changed = configuration
        changed.requestCount = configuration.warmUpCount
        changed.durationSeconds = nil
        // Another seed gives other prompts: nothing that the server remembers of them helps the measured run.
        changed.seed = mix64(configuration.seed ^ 0x7761_726D_7570)
        return RequestSource(changed, contextTokens: contextTokens, rows: rows)
    }

    /// The next request, nil after the last.
    package mutating func next() -> PlannedRequest? {
        guard index < countMax else { return nil }
        var offset: TimeSpan?
        var prompt = configuration.promptTokens.draw(from: &lengthGenerator)
        var output = configuration.outputTokens.draw(from: &lengthGenerator)
        switch configuration.arrivals {
        case .concurrency: break
        case .poisson(let rate):
            clock += -CMath.log(1 - arrivalGenerator.nextUnit()) / rate
            offset = TimeSpan.seconds(min(clock, 1e9))
        case .trace(_, let speed):
            guard index < rows.count else { return nil }
            let row = rows[index]
            offset = TimeSpan.seconds(min(row.offset.seconds / speed, 1e9))
            prompt = Int((Double(row.promptTokenCount) * lengthScale).rounded())
            output = Int((Double(row.outputTokenCount) * lengthScale).rounded())
        }
        if let offset, offset > offsetMax { return nil }
        if let contextTokens {
            output = min(output, contextTokens - 1)
            prompt = min(prompt, contextTokens - max(1, output))
        }
        defer { index += 1 }
        return PlannedRequest(
            index: index, offset: offset, promptTokenCount: max(1, prompt), outputTokenCount: max(1, output),
            seed: contentGenerator.next())
    }
}

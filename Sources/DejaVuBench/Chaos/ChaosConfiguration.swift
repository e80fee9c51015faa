package import DejaVuCore

/// A load, and the faults that are brought upon the workers meanwhile.
package struct ChaosConfiguration: Hashable, Sendable, Codable {
    /// The server; it and its workers run on this machine.
    package var url: String
    package var apiKey: String?
    package var concurrency = 8
    package var tokenCount = 120
    /// Different requests; they are sent over and over.
    package var jobCount = 8
    package var faultCount = 10
    /// Faults at given times, in place of `faultCount` random ones; nothing is waited for between them.
    package var schedule: ChaosSchedule?
    /// Strike no more after so long.
    package var secondsMax: Double?
    package var faults = [Fault.kill]
    package var target = FaultTarget.stage
    /// Between the moment when all is well again and the next fault, drawn evenly.
    package var calmSeconds = 0.2...2.0
    /// Strike without waiting until all is well again.
    package var isRelentless = false
    /// How long a fault that is not deadly lasts.
    package var faultSeconds = 1.0
    /// How long the server may take until all is well again.
    package var recoverySecondsMax = 120.0
    package var seed: UInt64 = 1
    /// Where the server's workers take orders for faults of their links; nil if they have no relays.
    package var linkFaultDirectory: String?
    /// The token that the server's workers do not survive; nil if there is none.
    package var poisonToken: TokenID?

    package init(url: String) { self.url = url }

    /// - Throws: `.invalidArgument` for what makes no sense.
    package func validate() throws(DejaVuError) {
        func require(_ condition: Bool, _ what: String) throws(DejaVuError) {
            if !condition { throw DejaVuError(.invalidArgument, what) }
        }
        try require((1...256).contains(concurrency), "the concurrency is 1 to 256")
        try require((1...4096).contains(tokenCount), "an answer has 1 to 4096 tokens")
        try require((1...64).contains(jobCount), "there are 1 to 64 different requests")
        try require((0...100_000).contains(faultCount), "there are 0 to 100000 faults")
        try require((secondsMax ?? 1) > 0, "the time is positive")
        try require(!faults.isEmpty, "at least one kind of fault")
        try require(calmSeconds.lowerBound >= 0 && calmSeconds.upperBound <= 3600, "the calm is 0 to 3600 seconds")
        try require((0.01...600).contains(faultSeconds), "a fault lasts 0.01 to 600 seconds")
        try require((1...3600).contains(recoverySecondsMax), "a recovery takes 1 to 3600 seconds")
        let kinds = schedule?.entries.map(\.fault.fault) ?? faults
        try require(
            linkFaultDirectory != nil || !kinds.contains(where: \.isOfLink),
            "links can only be struck of a server that was started for it: give a model instead of --url")
        try require(
            poisonToken != nil || !kinds.contains(.poison),
            "only a server that was started for it can be poisoned: give a model instead of --url")
    }

    /// The requests: greedy and seeded, and every fourth with two choices.
    var jobs: [ChaosJob] {
        let prompts = [
            "The capital of France is", "Once upon a time, in a small village by the sea, there lived",
            "def fibonacci(n):", "Water boils at", "The three laws of robotics are",
        ]
        return (0..<jobCount).map { index in
            ChaosJob(
                prompt: prompts[index % prompts.count], temperature: index % 2 == 0 ? 0 : 0.8,
                seed: seed &+ UInt64(index), choiceCount: index % 4 == 3 ? 2 : 1, tokenCount: tokenCount)
        }
    }
}

/// One request whose answer is always the same.
struct ChaosJob: Hashable, Sendable {
    let prompt: String
    let temperature: Double
    let seed: UInt64
    let choiceCount: Int
    let tokenCount: Int

    /// A request that is nothing but one token, often enough to be worth a prompt stage where chaos asks for one.
    static func poisonJSON(_ token: TokenID) -> String {
        let prompt = Array(repeating: "\(token)", count: 24).joined(separator: ",")
        return "{\"prompt\":[\(prompt)],\"max_tokens\":4,\"temperature\":0,\"stream\":false}"
    }

    var json: String {
        "{\"prompt\":\(RequestBody.quoted(prompt)),\"max_tokens\":\(tokenCount),\"temperature\":\(temperature),"
            + "\"seed\":\(seed % (1 << 62)),\"n\":\(choiceCount),\"ignore_eos\":true,\"stream\":true}"
    }
}

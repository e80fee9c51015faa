import DejaVuCore

/// Whom a fault struck.
package enum ChaosRole: String, Hashable, Sendable, Codable, CaseIterable {
    case stage
    case promptStage = "prompt stage"
    case tokenStage = "token stage"
    case standby
    /// Whoever ran a poisonous request.
    case request
}

/// What the clients saw of the faults.
package struct ChaosReport: Hashable, Sendable, Codable {
    /// One fault and the pauses of the streams that ran when it came.
    package struct Strike: Hashable, Sendable, Codable {
        package let atSeconds: Double
        package let overSeconds: Double
        package let fault: Fault
        package let link: FaultLink?
        package let worker: String
        package let role: ChaosRole
        /// Of each stream that ran: the longest time without a token, from the fault on.
        package let pauseSeconds: [Double]
        /// The median time between two tokens of the same streams.
        package let usualGapSeconds: [Double]
    }

    package let configuration: ChaosConfiguration
    package let environment: MeasurementEnvironment
    package let seconds: Double
    package let requests: Int
    package let equal: Int
    /// Requests that did not end well.
    package let failed: Int
    package let failures: [String]
    /// Tokens a second of answers whose text equals the undisturbed one.
    package let goodput: Double
    /// The same without faults.
    package let undisturbedGoodput: Double
    package let strikes: [Strike]
    package let pauses: Summary?
    package let workersLost: Int
    package let recoveries: Int
    package let takeovers: Int
    package let positionsRunAgain: Int

    /// Share of the requests whose text equals the undisturbed run's.
    package var equalShare: Double { requests == 0 ? 0 : Double(equal) / Double(requests) }
    /// Whether every text was equal and every client got its answer.
    package var holds: Bool { requests > 0 && equal == requests && failed == 0 }

    private static var places: [(role: ChaosRole, link: FaultLink?)] {
        ChaosRole.allCases.flatMap { role in ([nil] + FaultLink.allCases).map { (role, $0) } }
    }

    package func json() throws -> String { try JSONText.encode(self) }

    package func text() -> String {
        func ms(_ seconds: Double) -> String { "\(Int((seconds * 1000).rounded())) ms" }
        func rounded(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
        var lines = ["\(strikes.count) faults in \(rounded(seconds)) s, \(requests) requests"]
        for fault in Fault.allCases {
            for (role, link) in Self.places {
                let some = strikes.filter { $0.fault == fault && $0.role == role && $0.link == link }
                guard !some.isEmpty else { continue }
                let pauses = Summary(some.flatMap(\.pauseSeconds))
                let told =
                    pauses.map { "pause median \(ms($0.p50)), worst \(ms($0.greatest)), \($0.count) streams" }
                    ?? "no stream ran"
                let place = role.rawValue + (link.map { "'s \($0.rawValue) link" } ?? "")
                lines.append("  \(fault.rawValue) of a \(place), \(some.count) times: \(told)")
            }
        }
        lines.append(
            "  \(workersLost) workers lost, \(recoveries) recoveries, \(takeovers) stages taken over by replicas, "
                + "\(positionsRunAgain) positions run again")
        lines.append("  goodput \(rounded(goodput)) tokens/s, \(rounded(undisturbedGoodput)) undisturbed")
        lines.append("  \(equal) of \(requests) texts equal the undisturbed run's, \(failed) requests failed")
        lines += failures.map { "    \($0)" }
        return lines.joined(separator: "\n") + "\n"
    }
}

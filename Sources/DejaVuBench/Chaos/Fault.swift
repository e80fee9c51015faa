package import DejaVuCore

/// What is done to a worker, to one of its links, or by a request.
package enum Fault: String, Hashable, Sendable, Codable, CaseIterable {
    /// `kill -9`.
    case kill
    /// Stopped for a while, then continued: a process that the system did not run.
    case pause
    /// Stopped and continued in turns: a process that gets half of its time.
    case slow
    /// SIGTERM: the worker hands its stages over and ends. Nothing is lost by it.
    case drain
    /// A link ends, and cannot be opened again for a while.
    case cut
    /// Nothing comes through a link for a while.
    case silence
    /// A bit of what goes over a link is flipped.
    case corrupt
    /// A request that brings down every worker that runs it.
    case poison

    /// Whether a link is struck, which takes a server with relays in front of its links.
    package var isOfLink: Bool { self == .cut || self == .silence || self == .corrupt }

    /// Whether the struck process is gone once the fault is over.
    var isDeadly: Bool { self == .kill || self == .drain }
}

/// Which workers are struck.
package enum FaultTarget: String, Hashable, Sendable, Codable, CaseIterable {
    /// Those with any stage.
    case stage
    /// Those with a stage that runs prompts for others, or with one that makes tokens.
    case prompt, token
    case standby, any
}

/// Which of a worker's links is struck.
package enum FaultLink: String, Hashable, Sendable, Codable, CaseIterable {
    /// To the controller.
    case controller
    /// From the stage before.
    case peer
    /// From those whose replicas the worker holds.
    case bulk
}

/// A fault that is to come.
package struct PlannedFault: Hashable, Sendable, Codable {
    package var fault: Fault
    package var target: FaultTarget
    /// A stage by number, of the first pipeline that the target names; nil for any worker of the target.
    package var stage: Int?
    /// nil draws one that the fault can strike.
    package var link: FaultLink?
    package var seconds: Double
}

/// Faults and when they come, one a line: `SECONDS FAULT [WORKER] [LINK] [for SECONDS]`, WORKER being `stage`,
/// `prompt` or `token`, each also with `:N`, `standby` or `any`. What stands behind a # is a remark.
package struct ChaosSchedule: Hashable, Sendable, Codable {
    package struct Entry: Hashable, Sendable, Codable {
        package let atSeconds: Double
        package let fault: PlannedFault
    }
    /// In order of time.
    package let entries: [Entry]

    /// - Throws: `.invalidArgument` with the line.
    package init(parsing text: String, faultSeconds: Double) throws(DejaVuError) {
        var entries: [Entry] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace).map(String.init)
            guard !words.isEmpty else { continue }
            guard let entry = Self.entry(words, faultSeconds) else {
                throw DejaVuError(
                    .invalidArgument,
                    "line \(index + 1) of the schedule is not 'SECONDS FAULT [WORKER] [LINK] [for SECONDS]': \(line)",
                    subject: "schedule")
            }
            entries.append(entry)
        }
        self.entries = entries.sorted { $0.atSeconds < $1.atSeconds }
    }

    private static func entry(_ words: [String], _ faultSeconds: Double) -> Entry? {
        guard words.count >= 2, let at = Double(words[0]), (0...86_400).contains(at),
            let fault = Fault(rawValue: words[1])
        else { return nil }
        var planned = PlannedFault(fault: fault, target: .stage, seconds: faultSeconds)
        var rest = words[2...]
        while let word = rest.popFirst() {
            if let target = FaultTarget(rawValue: word) {
                planned.target = target
            } else if let (target, stage) = numberedStage(word) {
                (planned.target, planned.stage) = (target, stage)
            } else if let link = FaultLink(rawValue: word), fault.isOfLink {
                planned.link = link
            } else if word == "for", let seconds = rest.popFirst().flatMap(Double.init), (0.01...600).contains(seconds)
            {
                planned.seconds = seconds
            } else {
                return nil
            }
        }
        return Entry(atSeconds: at, fault: planned)
    }

    private static func numberedStage(_ word: String) -> (FaultTarget, Int)? {
        let parts = word.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let target = FaultTarget(rawValue: String(parts[0])),
            [.stage, .prompt, .token].contains(target), let stage = Int(parts[1]), stage >= 0
        else { return nil }
        return (target, stage)
    }
}

import DejaVuCore

/// A worker that was lost: who comes back under its name gets a stage only if nobody else can take it, until so much
/// time has passed.
struct Probation: Hashable {
    var until: Instant
    /// The next one is twice as long.
    var time: TimeSpan
}

extension ControllerMachine {
    /// How many names are remembered.
    private static let probationsMax = 1024

    mutating func putOnProbation(_ name: String) {
        for known in probations.keys {
            guard let former = probations[known], former.until + limits.restMax < now else { continue }
            probations.remove(known)
        }
        if let index = probations.index(of: name) {
            probations[at: index].time = min(probations[at: index].time * 2, limits.restMax)
            probations[at: index].until = now + probations[at: index].time
        } else if probations.count < Self.probationsMax {
            probations.insert(Probation(until: now + limits.restMin, time: limits.restMin), for: name)
        }
    }

    func isOnProbation(_ id: WorkerID) -> Bool {
        guard let name = workers[id]?.hello.name, let probation = probations[name] else { return false }
        return now < probation.until
    }
}

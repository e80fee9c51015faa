import DejaVuControl
import DejaVuCore

/// What a worker is when something happens to it.
package enum Role: String, Hashable, Codable, CaseIterable, Sendable {
    /// Runs a stage whose replica is there; whose replica is being made; that has none.
    case source, sourceOfNew, sourceAlone
    /// Has its replicas whole; still gets rows that were there before it; loads.
    case holder, filling, loading
    /// Takes a stage over: with its replica; without.
    case taker, joiner
    /// A standby that holds nothing.
    case idle
    /// Runs a stage of a prompt pipeline that serves.
    case promptStage

    /// Whether no order gives a worker this role: one has to look.
    var comesUnheard: Bool {
        switch self {
        case .source, .sourceAlone, .holder, .idle, .promptStage: true
        case .sourceOfNew, .filling, .loading, .taker, .joiner: false
        }
    }
}

/// What the cluster is doing when something happens.
package enum Phase: String, CaseIterable, Sendable {
    /// Some pipeline lacks a stage, or its stages load.
    case recovering
    /// Prompts run; steps run; nothing does.
    case prompt, token, quiet
}

/// How often each kind of fault struck each role in each phase.
package struct Coverage: Sendable {
    package static let kinds = [
        "crash", "vanish", "pause", "hang", "slow", "cutPeer", "cutController", "failPass", "failLoad", "cutBulk",
        "corruptFrame", "slowBulk", "leave", "staleOrder",
        "crashController",
    ]
    package private(set) var cells: [Int]

    package init() {
        cells = [Int](repeating: 0, count: Self.kinds.count * Role.allCases.count * Phase.allCases.count)
    }

    private func index(_ kind: Int, _ role: Int, _ phase: Int) -> Int {
        (kind * Role.allCases.count + role) * Phase.allCases.count + phase
    }

    mutating func count(_ fault: Scenario.FaultKind, _ role: Role, _ phase: Phase) {
        guard let kind = Self.kinds.firstIndex(of: fault.name), let role = Role.allCases.firstIndex(of: role),
            let phase = Phase.allCases.firstIndex(of: phase)
        else { return }
        cells[index(kind, role, phase)] += 1
    }

    package func count(_ kind: String, _ role: Role, _ phase: Phase) -> Int {
        guard let kind = Self.kinds.firstIndex(of: kind), let role = Role.allCases.firstIndex(of: role),
            let phase = Phase.allCases.firstIndex(of: phase)
        else { return 0 }
        return cells[index(kind, role, phase)]
    }

    /// Whether there is such a moment at all, and not only one within another.
    private static func isReachable(_ role: Role, _ phase: Phase) -> Bool {
        switch role {
        // To take a stage over is to recover.
        case .taker, .joiner: phase == .recovering
        // Rows come to a new holder while its sequence runs; that takes some ways over a link. Where another pipeline
        // recovers just then it is chance.
        case .filling: phase == .prompt || phase == .token
        default: true
        }
    }

    /// Where faults struck less often than that, of all places that they can; in words.
    package func gaps(least: Int) -> [String] {
        var gaps: [String] = []
        for kind in Self.kinds {
            for role in Role.allCases {
                for phase in Phase.allCases where Self.isReachable(role, phase) && count(kind, role, phase) < least {
                    gaps.append("\(kind) at \(role.rawValue) while \(phase.rawValue): \(count(kind, role, phase))")
                }
            }
        }
        return gaps
    }

    package static func += (left: inout Coverage, right: Coverage) {
        for index in left.cells.indices { left.cells[index] += right.cells[index] }
    }

    /// One line for each kind of fault and role, one column for each phase.
    package var table: [String] {
        func pad(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(0, width - text.count))
        }
        var lines = [pad("fault", 16) + pad("at", 13) + Phase.allCases.map { pad($0.rawValue, 12) }.joined()]
        for kind in Self.kinds {
            for role in Role.allCases {
                let counts = Phase.allCases.map { pad(String(count(kind, role, $0)), 12) }
                lines.append(pad(kind, 16) + pad(role.rawValue, 13) + counts.joined())
            }
        }
        return lines
    }
}

extension Scenario.FaultKind {
    var name: String {
        switch self {
        case .crash: "crash"
        case .vanish: "vanish"
        case .pause: "pause"
        case .hang: "hang"
        case .slow: "slow"
        case .cutPeer: "cutPeer"
        case .cutController: "cutController"
        case .failPass: "failPass"
        case .failLoad: "failLoad"
        case .cutBulk: "cutBulk"
        case .corruptFrame: "corruptFrame"
        case .slowBulk: "slowBulk"
        case .leave: "leave"
        case .staleOrder: "staleOrder"
        case .pauseController: "pauseController"
        case .crashController: "crashController"
        }
    }
}

extension World {
    func role(of slot: Int, in status: ClusterStatus) -> Role {
        guard let id = processes[slot].link, let worker = status.workers.first(where: { $0.id == id }) else {
            return .idle
        }
        // Each running sequence may have the rows of a step or two on the way.
        let usual = 2 * status.sequencesRunning
        if let index = worker.stageIndex, let pipeline = status.pipelines.first(where: { $0.id == worker.pipeline }) {
            if pipeline.state != .serving {
                return processes[slot].told.contains(where: { $0.replica != nil }) ? .taker : .joiner
            }
            if pipeline.role == .prompt { return .promptStage }
            let stage = pipeline.stages[index]
            guard stage.holder != nil else { return .sourceAlone }
            return stage.replicaReady && stage.replicaLag <= usual ? .source : .sourceOfNew
        }
        guard !worker.replicas.isEmpty else { return .idle }
        guard worker.replicas.allSatisfy({ $0.ready }) else { return .loading }
        let lag = status.pipelines.flatMap(\.stages).reduce(0) { $0 + ($1.holder == id ? $1.replicaLag : 0) }
        return lag <= usual ? .holder : .filling
    }

    static func phase(of status: ClusterStatus) -> Phase {
        if status.pipelines.contains(where: { $0.state != .serving && $0.epoch > Epoch(0) }) { return .recovering }
        guard status.pipelines.contains(where: { !$0.microbatches.isEmpty }) else { return .quiet }
        let prompts = status.pipelines.flatMap(\.microbatches).contains { $0.rows > $0.sequences }
        return prompts ? .prompt : .token
    }
}

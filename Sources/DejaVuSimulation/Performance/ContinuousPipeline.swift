import DejaVuControl
import DejaVuCore

/// One pipeline's members and the passes it makes of them, as the controller's scheduling does.
struct ContinuousPipeline: Sendable {
    struct Member: Sendable {
        let job: Int
        let promptCount: Int
        let outputCount: Int
        let reserved: Int
        /// Whether its prompt runs here.
        let promptEndsHere: Bool
        /// Prompt rows that are in some pass.
        var scheduledRows: Int
        var producedCount: Int
        var inFlight = 0
        var lastTurn = 0
        var isHere = true
    }

    /// A member's rows in a pass.
    struct Entry: Sendable {
        let member: Int
        let first: Int
        let count: Int
        var end: Int { first + count }
    }

    /// How many rows a pass may have; see `ControllerLimits`.
    struct Rows: Sendable {
        let max: Int
        /// Of prompts, where steps wait for the pass.
        let chunkMax: Int
        /// Where prompts are spread over several passes, none gets fewer.
        let chunkMin: Int
    }

    var line: StageLine
    let positions: Int
    let devicePositions: Int
    private(set) var reserved = 0
    /// Those that have left keep their place, so that indices stay.
    private(set) var members: [Member] = []
    /// Indices of those that are here, in the order in which they came.
    private var present: [Int] = []
    private var flights: [[Entry]] = []
    private var flightsInAir = 0
    /// Rows of prompts in them, but for chunks of a single one.
    private var chunkRowsInFlight = 0
    private var turnCount = 0
    private var passTimes = PassTimes()
    private let sequencesMax: Int
    /// Whether steps run here, which a chunk of a prompt must not keep waiting.
    private let makesTokens: Bool

    init(line: StageLine, positions: Int, devicePositions: Int, sequencesMax: Int, makesTokens: Bool = true) {
        self.makesTokens = makesTokens
        self.line = line
        self.positions = positions
        self.devicePositions = devicePositions
        self.sequencesMax = sequencesMax
    }

    var memberCount: Int { present.count }

    func hasRoom(_ wanted: Int) -> Bool { present.count < sequencesMax && reserved + wanted <= positions }

    mutating func admit(_ job: PerformanceScenario.Job, job number: Int, positions: Int, producedCount: Int) {
        precondition(hasRoom(positions), "admitted without room")
        reserved += positions
        present.append(members.count)
        members.append(
            Member(
                job: number, promptCount: job.promptCount, outputCount: job.outputCount, reserved: positions,
                promptEndsHere: producedCount == 0, scheduledRows: producedCount == 0 ? 0 : job.promptCount,
                producedCount: producedCount))
    }

    mutating func release(_ member: Int) {
        precondition(members[member].isHere && members[member].inFlight == 0, "released twice, or in a pass")
        members[member].isHere = false
        reserved -= members[member].reserved
        present.removeAll { $0 == member }
    }

    /// What the next pass is; nil if there are passes enough or nothing is to do.
    func nextEntries(_ limits: Rows) -> [Entry]? {
        let flightsMax = line.stages.count
        guard flightsInAir < flightsMax else { return nil }
        var steps: [Int] = []
        var stepsInFlight = 0
        var chunks: [Int] = []
        for index in present {
            let member = members[index]
            if member.scheduledRows < member.promptCount {
                if member.inFlight < flightsMax { chunks.append(index) }
            } else if member.inFlight > 0 {
                stepsInFlight += 1
            } else {
                steps.append(index)
            }
        }
        let running = steps.count + stepsInFlight
        let share = (running + flightsMax - 1) / flightsMax
        if steps.count > share {
            steps.sort { members[$0].lastTurn < members[$1].lastTurn }
            steps.removeSubrange(share...)
        }
        var entries = steps.map {
            Entry(member: $0, first: members[$0].promptCount + members[$0].producedCount, count: 1)
        }
        var rows = chunkRows(limits, chunks, beside: entries.count, running: running)
        for index in chunks where rows > 0 {
            let first = members[index].scheduledRows
            let count = min(members[index].promptCount - first, rows)
            rows -= count
            entries.append(Entry(member: index, first: first, count: count))
        }
        return entries.isEmpty ? nil : entries
    }

    /// Prompts are spread over the passes that are in flight together.
    private func chunkRows(_ limits: Rows, _ waiting: [Int], beside steps: Int, running: Int) -> Int {
        var rows = limits.max - steps
        if running > 0, makesTokens { rows = min(rows, limits.chunkMax) }
        let flightsMax = line.stages.count
        guard flightsMax > 1, rows > limits.chunkMin else { return rows }
        let all = waiting.reduce(chunkRowsInFlight) { $0 + members[$1].promptCount - members[$1].scheduledRows }
        let share = (all + flightsMax - 1) / flightsMax
        return min(rows, max(min(share, passTimes.chunk(of: all, stages: flightsMax) ?? share), limits.chunkMin))
    }

    func load(of entries: [Entry]) -> PassLoad {
        var load = PassLoad()
        for entry in entries {
            if members[entry.member].scheduledRows < members[entry.member].promptCount {
                load.chunks.append(.init(first: entry.first, count: entry.count))
            } else {
                load.stepCount += 1
                load.stepPositions += entry.end
            }
        }
        return load
    }

    /// - Returns: the flight's number.
    mutating func launch(_ entries: [Entry]) -> Int {
        let load = load(of: entries)
        passTimes.add(size: load.rows, line.firstCost(of: load))
        for entry in entries {
            if entry.count > 1 { chunkRowsInFlight += entry.count }
            let isChunk = members[entry.member].scheduledRows < members[entry.member].promptCount
            if isChunk { members[entry.member].scheduledRows = entry.end }
            members[entry.member].inFlight += 1
            turnCount += 1
            members[entry.member].lastTurn = turnCount
        }
        flightsInAir += 1
        flights.append(entries)
        return flights.count - 1
    }

    /// - Returns: those that got a token from it.
    mutating func land(_ flight: Int) -> [Int] {
        flightsInAir -= 1
        var sampled: [Int] = []
        for entry in flights[flight] {
            if entry.count > 1 { chunkRowsInFlight -= entry.count }
            members[entry.member].inFlight -= 1
            guard entry.end >= members[entry.member].promptCount else { continue }
            members[entry.member].producedCount += 1
            sampled.append(entry.member)
        }
        flights[flight] = []
        return sampled
    }
}

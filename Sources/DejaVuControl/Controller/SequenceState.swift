import DejaVuCore
import DejaVuKV

/// A sequence as the controller sees it: its record and where it stands.
struct SequenceState: Hashable {
    enum Phase: Hashable {
        /// Has its home.
        case running
        /// Gives its places up.
        case leaving
        /// Has no place and waits for one.
        case parked
    }

    /// Whose work it is next.
    enum Turn: Hashable {
        case home, guest
        /// Rows are on their way from one to the other.
        case nobody
    }

    /// A prompt stage's leave to write to a token stage.
    struct Feed: Hashable {
        /// The prompt stage and the token stage, and who runs them.
        let from: Int
        let to: Int
        let source: WorkerID
        let target: WorkerID
        let ticket: Ticket
        /// Whether the source was told to copy.
        var subscribed = false
    }

    var record: SequenceRecord
    let isProbe: Bool
    /// Whether the client has been told the end; what is left is to give the cells back.
    var ended = false
    /// How it ended.
    var finish: FinishReason?
    /// Where its tokens are made.
    var home: Place?
    /// Where its prompt is run for it.
    var guest: Place?
    /// From the guest's stages to the home's. None without a guest.
    var feeds: [Feed] = []
    /// When the home was last known to get rows, or to lack none.
    var fedAt = Instant(nanoseconds: .min)
    /// When it was last put into a pass, counted over all: who has waited longest comes first.
    var lastTurn: UInt64 = 0
    /// Positions that were sent before, to tell a replay from a prompt.
    var sentMax = 0
    /// Positions that all stages of one place had committed: what of them runs once more was lost.
    var committedMax = 0
    /// Workers lost in a row in passes that contain it.
    var strikes = 0
    /// Where the cause must be, if it is this sequence: the positions that all those passes ran, `record.knownCount`
    /// among them if they sampled.
    var struck = 0..<0

    init(record: SequenceRecord, isProbe: Bool) {
        self.record = record
        self.isProbe = isProbe
    }

    var phase: Phase {
        if let home, !home.isLeaving { return .running }
        return home == nil && guest == nil ? .parked : .leaving
    }

    var positionsReserved: Int { record.positionCountMax }

    /// Its place in a pipeline.
    subscript(pipeline: Int) -> Place? {
        if home?.pipeline == pipeline { return home }
        return guest?.pipeline == pipeline ? guest : nil
    }

    /// Changes its place in a pipeline, if it has one.
    mutating func change(_ pipeline: Int, _ body: (inout Place) -> Void) {
        if home?.pipeline == pipeline {
            home.mutate(body)
        } else if guest?.pipeline == pipeline {
            guest.mutate(body)
        }
    }

    /// The worker of that stage knows nothing of it any more.
    mutating func forget(_ pipeline: Int, _ stage: Int) {
        change(pipeline) { $0.forget(stage) }
        if home?.pipeline == pipeline { feeds.removeAll { $0.to == stage } }
        if guest?.pipeline == pipeline { feeds.removeAll { $0.from == stage } }
    }

    // MARK: The rule of work with two places

    /// What the home must hold before its own passes go on: all that is known but the last token, as far as the guest
    /// runs it.
    var owed: Int { min(record.knownCount - 1, guest?.positions ?? .max) }
    /// What of that the home lacks, though the guest has it.
    var streamLag: Int {
        guard let home, let guest, !guest.isLeaving else { return 0 }
        return max(0, min(guest.watermarks.least, owed) - home.watermarks.least)
    }

    var turn: Turn {
        guard let home, !home.isLeaving else { return .nobody }
        guard let guest else { return .home }
        if guest.inFlight > 0 { return .guest }
        if guest.isLeaving || home.inFlight > 0 || home.watermarks.least >= owed { return .home }
        let known = record.knownCount
        return guest.nextStart(known: known) < min(known, guest.positions) ? .guest : .nobody
    }

    /// Where the next pass of that pipeline begins and may end; nil if it is not its turn.
    func work(in pipeline: Int) -> Range<Int>? {
        let known = record.knownCount
        let place: Place?
        switch turn {
        case .home: place = home
        case .guest: place = guest?.isLeaving == false ? guest : nil
        case .nobody: return nil
        }
        guard let place, place.pipeline == pipeline else { return nil }
        let start = place.nextStart(known: known)
        let end = min(known, place.positions)
        return start..<max(start, end)
    }

    // MARK: Strikes

    /// A worker was lost in a pass that ran these positions.
    mutating func strike(_ positions: Range<Int>) {
        let common = strikes > 0 ? struck.clamped(to: positions) : positions
        strikes = common.isEmpty ? 1 : strikes + 1
        struck = common.isEmpty ? positions : common
    }

    /// All stages of a place have run past the place of the strikes: it was not this sequence.
    mutating func clearStrikes(past watermark: Int) {
        if strikes > 0, struck.upperBound <= watermark { strikes = 0 }
    }
}

extension Optional {
    /// Changes what is there, in place.
    fileprivate mutating func mutate(_ body: (inout Wrapped) -> Void) {
        guard var value = take() else { return }
        body(&value)
        self = value
    }
}

/// A request that is queued or running.
struct RequestState: Hashable {
    let request: Request
    let outputCountMax: Int
    /// Empty while it is queued; then one for each choice.
    var choices: [SequenceID] = []
    /// Choices that have ended.
    var ended: [Bool]
    let submittedAt: Instant
    var admittedAt: Instant?

    init(request: Request, outputCountMax: Int, now: Instant) {
        self.request = request
        self.outputCountMax = outputCountMax
        ended = [Bool](repeating: false, count: request.choiceCount)
        submittedAt = now
    }

    /// Positions that one choice reserves.
    var positions: Int { request.prompt.count + outputCountMax - 1 }
    /// What the queue counts.
    var tokens: Int { positions * request.choiceCount }
}

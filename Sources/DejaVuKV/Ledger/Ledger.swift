public import DejaVuCore

/// What one store knows of the sequences it holds, and who may write what: tickets, arrivals, watermarks, release.
///
/// It is pure: the store asks before every write and every read, and moves the bytes itself. What it promises is in
/// docs/streaming.md. All of it can be trusted if the store keeps four rules: no byte is written without `.write` from
/// `take`; only the rows of an arrival's `parts` are written; nothing is read above `watermark`; a ticket's memory is
/// given away only when the ticket was reported quiet.
public struct Ledger: Sendable {
    struct Record: Hashable {
        enum State: Hashable {
            case landing
            /// All bytes are there and agree; waits for the one before it.
            case whole
            /// Still landing, but it can no longer commit.
            case doomed(Refusal)
        }
        let arrival: Arrival
        /// The ticket that it came under: the first one, or a share.
        let number: UInt64
        /// nil for rows that the store's own engine writes.
        let writer: Incarnation?
        var takenBytes = 0
        var state = State.landing
    }

    struct Entry: Hashable {
        /// The one that the sequence was opened or renewed with; its number names the memory.
        var ticket: Ticket
        /// Of further writers into the same memory.
        var shares: [Ticket] = []
        var marks: LayerMarks
        var text: SequenceText
        /// In order of admission.
        var records: [Record] = []
    }

    /// A released sequence that somebody may still be writing.
    struct Draining: Hashable {
        let ticket: Ticket
        var records: [Record]
    }

    public let layers: LayerRange
    /// Bytes of K and V of one position in one layer.
    public let rowBytes: Int
    public let numericClass: NumericClass
    public let limits: LedgerLimits

    var tickets = TicketBook()
    /// Ascending by sequence.
    var entries: [Entry] = []
    var draining: [Draining] = []
    var faults = FaultCounts()
    var arrivalNumber: UInt64 = 0
    /// Whose each arrival is; looked up only.
    var whereabouts: [ArrivalID: SequenceID] = [:]
    /// Frames that are landing or waiting, over all sequences.
    public internal(set) var arrivalCount = 0
    /// Positions that the open tickets promise.
    public internal(set) var positionsPromised = 0
    /// Promised to released sequences that are not quiet yet.
    var positionsDraining = 0

    /// - Precondition: there are layers, rows have bytes, and every limit is at least 1.
    public init(layers: LayerRange, rowBytes: Int, numericClass: NumericClass, limits: LedgerLimits = LedgerLimits()) {
        precondition(layers.count > 0 && rowBytes > 0, "a store holds rows of layers")
        limits.check()
        self.layers = layers
        self.rowBytes = rowBytes
        self.numericClass = numericClass
        self.limits = limits
    }

    // MARK: Opening

    /// Takes a ticket in. `tokens` are those known so far; frames bring the others.
    ///
    /// - Throws: `.invalidArgument` if the number was used before, the sequence is open, or the ticket reaches beyond
    ///   the store's layers; `.resourceExhausted` beyond a limit. Nothing is changed then.
    public mutating func open(_ ticket: Ticket, tokens: [TokenID] = []) throws(DejaVuError) {
        try check(ticket, tokens: tokens.count)
        guard self.ticket(of: ticket.sequence) == nil else {
            throw DejaVuError(.invalidArgument, "\(ticket.sequence) is open already", subject: "ticket")
        }
        guard entries.count + draining.count < limits.sequencesMax else {
            throw DejaVuError(.resourceExhausted, "the store holds \(limits.sequencesMax) sequences, and no more")
        }
        guard ticket.positionLimit <= limits.positionsMax - positionsPromised - positionsDraining else {
            throw DejaVuError(.resourceExhausted, "the store has promised all its positions")
        }
        let isNew = tickets.insert(ticket)
        precondition(isNew, "the ticket was checked")
        positionsPromised += ticket.positionLimit
        entries.insert(
            Entry(ticket: ticket, marks: LayerMarks(layers: ticket.layers), text: SequenceText(tokens)),
            at: position(of: ticket.sequence))
    }

    /// Gives an open sequence a new ticket, for another writer or incarnation, in the same memory, which the new
    /// number names from now on. What is committed stays; the old number and all shares are dead at once, and what they
    /// let in can no longer commit.
    ///
    /// - Throws: as `open`; `.notFound` if the sequence is not open; `.invalidArgument` if layers or limit differ.
    public mutating func renew(_ ticket: Ticket) throws(DejaVuError) -> Settlement {
        try check(ticket, tokens: 0)
        guard let index = index(of: ticket.sequence) else {
            throw DejaVuError(.notFound, "\(ticket.sequence) is not open", subject: "ticket")
        }
        let old = entries[index].ticket
        guard ticket.layers == old.layers, ticket.positionLimit == old.positionLimit else {
            throw DejaVuError(.invalidArgument, "a new ticket covers what the old one did", subject: "ticket")
        }
        let isNew = tickets.renew(ticket)
        precondition(isNew, "the ticket was checked")
        entries[index].ticket = ticket
        entries[index].shares = []
        var settled = Settlement()
        doom(at: index, .revoked, into: &settled) { $0.writer != nil }
        return settled
    }

    /// Lets a further writer into the memory of an open sequence: another stage that computes other layers of it, or a
    /// second store that has a copy. Rows are written by one of them only, whoever comes first.
    ///
    /// - Throws: as `open`; `.notFound` if the sequence is not open; `.invalidArgument` if the ticket reaches beyond
    ///   the one it was opened with; `.resourceExhausted` beyond the limit.
    public mutating func share(_ ticket: Ticket) throws(DejaVuError) {
        try check(ticket, tokens: 0)
        guard let index = index(of: ticket.sequence) else {
            throw DejaVuError(.notFound, "\(ticket.sequence) is not open", subject: "ticket")
        }
        let first = entries[index].ticket
        guard first.layers.contains(ticket.layers), ticket.positionLimit <= first.positionLimit else {
            throw DejaVuError(.invalidArgument, "a share lies within the first ticket", subject: "ticket")
        }
        guard entries[index].shares.count < limits.sharesPerSequenceMax else {
            throw DejaVuError(.resourceExhausted, "a sequence has at most \(limits.sharesPerSequenceMax) shares")
        }
        tickets.spend(ticket.number)
        entries[index].shares.append(ticket)
    }

    /// Takes a share back: its number is dead at once, and what it let in can no longer commit. No effect on others.
    public mutating func withdraw(_ number: UInt64, of sequence: SequenceID) -> Settlement {
        var settled = Settlement()
        guard let index = index(of: sequence),
            let share = entries[index].shares.firstIndex(where: { $0.number == number })
        else { return settled }
        entries[index].shares.remove(at: share)
        doom(at: index, .revoked, into: &settled) { $0.writer != nil && $0.number == number }
        return settled
    }

    /// Takes all shares back that reach into these layers: another writer is to have them, or the store's own engine.
    public mutating func withdrawShares(of sequence: SequenceID, layers: LayerRange) -> Settlement {
        var settled = Settlement()
        for share in shares(of: sequence) where share.layers.intersection(layers) != nil {
            let one = withdraw(share.number, of: sequence)
            settled.ended += one.ended
            settled.quiet += one.quiet
        }
        return settled
    }

    /// Tells tokens of an open sequence that came another way: with a pass, or from the controller. The caller vouches
    /// for them: frames that are landing with others are given up.
    ///
    /// - Throws: `.notFound` if it is not open; `.mismatch` if they are not those that are certain, or leave a gap;
    ///   `.invalidArgument` beyond the ticket.
    public mutating func tell(
        _ tokens: [TokenID], at first: Int, of sequence: SequenceID
    ) throws(DejaVuError) -> Settlement {
        guard let index = index(of: sequence) else { throw DejaVuError(.notFound, "\(sequence) is not open") }
        // The last token of a sequence is never fed back, so it has no position.
        guard first >= 0, first <= limits.positionsPerSequenceMax,
            tokens.count <= entries[index].ticket.positionLimit + 1 - first
        else { throw DejaVuError(.invalidArgument, "more tokens than the ticket has positions") }
        var settled = Settlement()
        if first > entries[index].text.count
            || !entries[index].text.agrees(with: tokens, at: first, endHash: nil)
        {
            guard first <= entries[index].text.firmCount, entries[index].text.agreesFirmly(with: tokens, at: first)
            else { throw DejaVuError(.mismatch, "\(sequence) has other tokens here") }
            doom(at: index, .otherTokens, into: &settled) { $0.writer != nil }
        }
        entries[index].text.extend(with: tokens, at: first)
        entries[index].text.makeFirm(to: first + tokens.count)
        return settled
    }

    private func check(_ ticket: Ticket, tokens: Int) throws(DejaVuError) {
        guard tickets.isNew(ticket.number) else {
            throw DejaVuError(.invalidArgument, "ticket \(ticket.number) is not a new one", subject: "ticket")
        }
        guard layers.contains(ticket.layers), ticket.layers.count > 0 else {
            throw DejaVuError(.invalidArgument, "the store has layers \(layers) only", subject: "ticket")
        }
        guard ticket.positionLimit >= 1, ticket.positionLimit <= limits.positionsPerSequenceMax else {
            throw DejaVuError(
                .resourceExhausted, "a sequence has 1 to \(limits.positionsPerSequenceMax) positions here",
                subject: "ticket")
        }
        guard tokens <= ticket.positionLimit + 1 else {
            throw DejaVuError(.invalidArgument, "more tokens than a sequence can have", subject: "tokens")
        }
    }

    // MARK: Asking

    public var sequenceCount: Int { entries.count }
    /// Open sequences, ascending.
    public var sequences: [SequenceID] { entries.map(\.ticket.sequence) }
    /// Released sequences whose memory is not quiet yet.
    public var drainingCount: Int { draining.count }

    public func ticket(of sequence: SequenceID) -> Ticket? { tickets.ticket(of: sequence) }

    /// The shares of a sequence that are open.
    public func shares(of sequence: SequenceID) -> [Ticket] { index(of: sequence).map { entries[$0].shares } ?? [] }

    /// Committed leading positions, the least over these layers; 0 for an unknown sequence or foreign layers.
    public func watermark(of sequence: SequenceID, layers: LayerRange) -> Int {
        guard let index = index(of: sequence), entries[index].ticket.layers.contains(layers), layers.count > 0 else {
            return 0
        }
        return entries[index].marks.least(over: layers)
    }

    /// The watermark of each layer, level neighbours together; empty for an unknown sequence.
    public func watermarks(of sequence: SequenceID) -> [LayerMarks.Level] {
        index(of: sequence).map { entries[$0].marks.levels } ?? []
    }

    /// Whether every row of the span is committed.
    public func mayRead(_ span: Span) -> Bool {
        !span.isEmpty && span.positions.upperBound <= watermark(of: span.sequence, layers: span.layers)
    }

    /// The tokens at some positions; nil beyond what is certain.
    public func tokens(of sequence: SequenceID, in positions: Range<Int>) -> ArraySlice<TokenID>? {
        guard let index = index(of: sequence), positions.lowerBound >= 0,
            positions.upperBound <= entries[index].text.firmCount
        else { return nil }
        return entries[index].text.tokens[positions]
    }

    /// The `TokenChain` hash of the first `end` tokens; nil beyond what is certain.
    public func tokensHash(of sequence: SequenceID, end: Int) -> UInt64? {
        guard let index = index(of: sequence), end <= entries[index].text.firmCount else { return nil }
        return entries[index].text.hash(at: end)
    }

    // MARK: Finding

    /// An arrival of an open sequence: the entry and the place among its records.
    func find(_ id: ArrivalID) -> (entry: Int, place: Int)? {
        guard let sequence = whereabouts[id], let index = index(of: sequence),
            let place = entries[index].records.firstIndex(where: { $0.arrival.id == id })
        else { return nil }
        return (index, place)
    }

    func position(of sequence: SequenceID) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].ticket.sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func index(of sequence: SequenceID) -> Int? {
        let index = position(of: sequence)
        return index < entries.count && entries[index].ticket.sequence == sequence ? index : nil
    }
}

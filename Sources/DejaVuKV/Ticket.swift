public import DejaVuCore

/// The receiver's leave to write a sequence's KV into a layer range up to a position. Never used again after release.
public struct Ticket: Hashable, Codable, Sendable {
    public let number: UInt64
    public let sequence: SequenceID
    public let layers: LayerRange
    /// Positions at and above this may not be written.
    public let positionLimit: Int
    /// Who may write.
    public let writer: Incarnation
    public init(number: UInt64, sequence: SequenceID, layers: LayerRange, positionLimit: Int, writer: Incarnation) {
        self.number = number
        self.sequence = sequence
        self.layers = layers
        self.positionLimit = positionLimit
        self.writer = writer
    }
}

/// The tickets that one holder has and that are still open, at most one for each sequence.
///
/// A number that was taken in once is never taken again, not even after it was revoked.
package struct TicketBook: Hashable, Sendable {
    /// Ascending by sequence.
    private var open: [Ticket] = []
    /// The greatest number ever taken in. Numbers come in ascending order, since their giver counts and links keep
    /// order.
    private var numberMax: UInt64 = 0

    package init() {}

    package var count: Int { open.count }

    /// Takes a ticket in.
    ///
    /// - Returns: false, and changes nothing, if the number is not a new one or the sequence has an open ticket.
    package mutating func insert(_ ticket: Ticket) -> Bool {
        guard ticket.number > numberMax else { return false }
        let index = position(of: ticket.sequence)
        if index < open.count, open[index].sequence == ticket.sequence { return false }
        numberMax = ticket.number
        open.insert(ticket, at: index)
        return true
    }

    /// The open ticket of a sequence.
    package func ticket(of sequence: SequenceID) -> Ticket? {
        let index = position(of: sequence)
        return index < open.count && open[index].sequence == sequence ? open[index] : nil
    }

    /// Puts a new ticket in the place of a sequence's open one, whose number is dead from now on.
    ///
    /// - Returns: false, and changes nothing, if the number is not a new one or the sequence has no open ticket.
    package mutating func renew(_ ticket: Ticket) -> Bool {
        guard ticket.number > numberMax else { return false }
        let index = position(of: ticket.sequence)
        guard index < open.count, open[index].sequence == ticket.sequence else { return false }
        numberMax = ticket.number
        open[index] = ticket
        return true
    }

    /// Notes a number as used, for a ticket that is kept elsewhere.
    package mutating func spend(_ number: UInt64) {
        precondition(isNew(number), "ticket \(number) is not a new one")
        numberMax = number
    }

    /// Whether a ticket of that number can still be taken in.
    package func isNew(_ number: UInt64) -> Bool { number > numberMax }

    /// Revokes a sequence's ticket.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    package mutating func revoke(_ sequence: SequenceID) -> Bool {
        let index = position(of: sequence)
        guard index < open.count, open[index].sequence == sequence else { return false }
        open.remove(at: index)
        return true
    }

    package mutating func revokeAll() { open.removeAll() }

    private func position(of sequence: SequenceID) -> Int {
        var low = 0
        var high = open.count
        while low < high {
            let middle = (low + high) / 2
            if open[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }

    package func checkIntegrity() {
        for index in open.indices {
            precondition(open[index].number <= numberMax, "a ticket with a number that was never given")
            precondition(index == 0 || open[index - 1].sequence < open[index].sequence, "tickets out of order")
        }
    }
}

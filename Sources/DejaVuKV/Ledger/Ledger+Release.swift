public import DejaVuCore

/// How memory comes back, and how a watermark falls.
extension Ledger {
    /// A watermark that fell because what was kept turned out bad.
    public struct Lowering: Hashable, Sendable {
        public let sequence: SequenceID
        public let layers: LayerRange
        public let from: Int
        public let to: Int
        public init(sequence: SequenceID, layers: LayerRange, from: Int, to: Int) {
            self.sequence = sequence
            self.layers = layers
            self.from = from
            self.to = to
        }
    }

    /// Revokes a sequence's ticket at once: nothing more is written, read or committed for it.
    ///
    /// - Returns: nil if it is not open. `quiet` has the ticket's number if nobody is writing; else the call that ends
    ///   the last arrival brings it.
    public mutating func release(_ sequence: SequenceID) -> Settlement? {
        guard let index = index(of: sequence) else { return nil }
        var settled = Settlement()
        let entry = entries.remove(at: index)
        tickets.revoke(sequence)
        positionsPromised -= entry.ticket.positionLimit
        var writing: [Record] = []
        for record in entry.records {
            if record.state == .whole {
                forget(record)
                settled.ended.append(
                    .init(arrival: record.arrival.id, completion: .refused(.revoked, watermark: 0)))
            } else {
                writing.append(record)
            }
        }
        if writing.isEmpty {
            settled.quiet.append(entry.ticket.number)
        } else {
            positionsDraining += entry.ticket.positionLimit
            draining.append(Draining(ticket: entry.ticket, records: writing))
        }
        return settled
    }

    /// Releases everything: the store closes, or its memory is gone.
    public mutating func releaseAll() -> Settlement {
        var all = Settlement()
        for sequence in sequences {
            guard let settled = release(sequence) else { continue }
            all.ended += settled.ended
            all.quiet += settled.quiet
        }
        return all
    }

    /// Brings watermarks down to what is whole: the only way in which one falls. What was to continue the lost rows is
    /// given up.
    ///
    /// - Returns: what fell, to be reported; empty if nothing was above `end`, or the sequence is not open.
    public mutating func lower(
        _ sequence: SequenceID, layers: LayerRange, to end: Int
    ) -> (report: [Lowering], settled: Settlement) {
        precondition(end >= 0, "a watermark is not negative")
        var settled = Settlement()
        guard let index = index(of: sequence),
            let layers = layers.intersection(entries[index].ticket.layers)
        else { return ([], settled) }
        let report = entries[index].marks.levels(over: layers).filter { $0.mark > end }.map { level in
            Lowering(sequence: sequence, layers: level.layers, from: level.mark, to: end)
        }
        guard !report.isEmpty else { return ([], settled) }
        entries[index].marks.lower(layers, to: end)
        revalidate(at: index, into: &settled)
        return (report, settled)
    }

    /// Raises watermarks to what a store found whole when it opened its memory again: a disk's scan. The tokens must
    /// have been told.
    ///
    /// - Precondition: the sequence is open, nothing is landing in it, and its tokens reach `end`.
    public mutating func recover(_ sequence: SequenceID, layers: LayerRange, to end: Int) {
        guard let index = index(of: sequence), entries[index].records.isEmpty,
            entries[index].ticket.layers.contains(layers), end <= entries[index].text.firmCount,
            end <= entries[index].ticket.positionLimit
        else { preconditionFailure("\(sequence) cannot hold rows up to \(end) in layers \(layers)") }
        entries[index].marks.raise(layers, to: end)
    }

    /// Ends an arrival of a released sequence.
    ///
    /// - Returns: whether there was such a one.
    @discardableResult
    mutating func endDraining(_ id: ArrivalID, into settled: inout Settlement) -> Bool {
        for index in draining.indices {
            guard let place = draining[index].records.firstIndex(where: { $0.arrival.id == id }) else { continue }
            forget(draining[index].records.remove(at: place))
            if draining[index].records.isEmpty { makeQuiet(index, into: &settled) }
            return true
        }
        return false
    }

    mutating func makeQuiet(_ index: Int, into settled: inout Settlement) {
        let ticket = draining.remove(at: index).ticket
        positionsDraining -= ticket.positionLimit
        settled.quiet.append(ticket.number)
    }

    /// Proves that the books agree with each other.
    package func checkIntegrity() {
        tickets.checkIntegrity()
        precondition(tickets.count == entries.count, "a sequence without a ticket, or the reverse")
        var arrivals = 0
        var promised = 0
        for (index, entry) in entries.enumerated() {
            precondition(tickets.ticket(of: entry.ticket.sequence) == entry.ticket, "two tickets of one sequence")
            precondition(
                index == 0 || entries[index - 1].ticket.sequence < entry.ticket.sequence, "sequences out of order")
            entry.marks.checkIntegrity()
            let greatest = entry.marks.greatest(over: entry.marks.layers)
            precondition(greatest <= entry.ticket.positionLimit, "a watermark beyond the ticket")
            precondition(greatest <= entry.text.firmCount, "rows of unknown tokens")
            precondition(entry.text.firmCount <= entry.text.count, "more firm tokens than tokens")
            checkParts(of: entry)
            precondition(entry.shares.count <= limits.sharesPerSequenceMax, "more shares than the limit allows")
            for record in entry.records {
                precondition(whereabouts[record.arrival.id] == entry.ticket.sequence, "an arrival got lost")
            }
            arrivals += entry.records.count
            promised += entry.ticket.positionLimit
        }
        for gone in draining {
            precondition(!gone.records.isEmpty, "quiet memory that was not reported")
            arrivals += gone.records.count
        }
        precondition(arrivals == arrivalCount && whereabouts.count == arrivalCount, "arrivals are counted wrong")
        precondition(promised == positionsPromised, "positions are counted wrong")
        precondition(
            draining.reduce(0) { $0 + $1.ticket.positionLimit } == positionsDraining, "positions are counted wrong")
        precondition(arrivals <= limits.arrivalsMax && entries.count + draining.count <= limits.sequencesMax)
        precondition(positionsPromised + positionsDraining <= limits.positionsMax, "more promised than there is")
    }

    /// What may still be written is above the watermark, and nobody else's.
    private func checkParts(of entry: Entry) {
        for (place, record) in entry.records.enumerated() where record.isLive {
            for part in record.arrival.parts where !part.positions.isEmpty {
                precondition(
                    entry.marks.greatest(over: part.layers) <= part.positions.lowerBound,
                    "an arrival lands below the watermark")
                for other in entry.records[..<place] {
                    for theirs in other.arrival.parts where theirs.layers.intersection(part.layers) != nil {
                        precondition(!theirs.positions.overlaps(part.positions), "two arrivals land on one row")
                    }
                }
            }
        }
    }
}

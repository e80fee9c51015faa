public import DejaVuCore

/// How arrivals end.
extension Ledger {
    /// All bytes of an arrival have come, and nothing writes for it any more.
    ///
    /// - Parameter intact: whether the checksum agrees. Rows that the store's own engine wrote are.
    /// - Returns: what became of it, and what that settled for others that were waiting.
    public mutating func finish(
        _ id: ArrivalID, intact: Bool, at now: Instant
    ) -> (completion: Completion, settled: Settlement) {
        var settled = Settlement()
        guard let (index, place) = find(id) else {
            let wasDraining = endDraining(id, into: &settled)
            return (.refused(wasDraining ? .revoked : .ended, watermark: 0), settled)
        }
        let record = entries[index].records[place]
        let span = record.arrival.span
        func refusal(_ reason: Refusal) -> Completion {
            .refused(reason, watermark: entries[index].marks.least(over: span.layers))
        }
        if case .doomed(let reason) = record.state {
            remove(place, at: index)
            return (refusal(reason), settled)
        }
        precondition(record.state == .landing, "\(id) has been finished before")
        if record.writer != nil, record.takenBytes < record.arrival.payloadBytes {
            remove(place, at: index)
            revalidate(at: index, into: &settled)
            return (refusal(.incomplete), settled)
        }
        guard intact else {
            if let writer = record.writer { settled.fault = countFault(of: writer, at: now) }
            remove(place, at: index)
            revalidate(at: index, into: &settled)
            return (refusal(.wrongChecksum), settled)
        }
        entries[index].records[place].state = .whole
        commitWhole(at: index, into: &settled)
        if let own = settled.ended.firstIndex(where: { $0.arrival == id }) {
            return (settled.ended.remove(at: own).completion, settled)
        }
        return (.waiting, settled)
    }

    /// Gives an arrival up, and says that nothing writes for it any more. No effect on one that has ended.
    public mutating func abandon(_ id: ArrivalID) -> Settlement {
        var settled = Settlement()
        guard let (index, place) = find(id) else {
            endDraining(id, into: &settled)
            return settled
        }
        remove(place, at: index)
        revalidate(at: index, into: &settled)
        return settled
    }

    /// A writer's link is closed, or the writer has confirmed that it writes nothing more of what it began: abandons
    /// all its arrivals but those that are whole. Its tickets stay open.
    public mutating func quieten(_ writer: Incarnation) -> Settlement {
        var settled = Settlement()
        for index in entries.indices {
            let before = entries[index].records.count
            for place in entries[index].records.indices.reversed()
            where entries[index].records[place].writer == writer && entries[index].records[place].state != .whole {
                remove(place, at: index)
            }
            if entries[index].records.count < before { revalidate(at: index, into: &settled) }
        }
        for index in draining.indices.reversed() {
            for place in draining[index].records.indices.reversed()
            where draining[index].records[place].writer == writer {
                forget(draining[index].records.remove(at: place))
            }
            if draining[index].records.isEmpty { makeQuiet(index, into: &settled) }
        }
        return settled
    }

    /// Commits what is whole and has nothing missing before it.
    private mutating func commitWhole(at index: Int, into settled: inout Settlement) {
        var place = 0
        while place < entries[index].records.count {
            let record = entries[index].records[place]
            guard record.state == .whole, continues(record, entries[index].marks) else {
                place += 1
                continue
            }
            let span = record.arrival.span
            entries[index].marks.raise(span.layers, to: span.positions.upperBound)
            entries[index].text.makeFirm(to: span.positions.upperBound)
            forget(entries[index].records.remove(at: place))
            let watermark = entries[index].marks.least(over: span.layers)
            settled.ended.append(.init(arrival: record.arrival.id, completion: .committed(watermark: watermark)))
            // One before it may have waited for other layers of this one.
            place = 0
        }
    }

    /// Whether everything below what a frame lands is below these marks.
    private func continues(_ record: Record, _ marks: LayerMarks) -> Bool {
        for part in record.arrival.parts where part.positions.lowerBound > marks.least(over: part.layers) {
            return false
        }
        return true
    }

    /// Gives up what continued something that will not commit any more.
    mutating func revalidate(at index: Int, into settled: inout Settlement) {
        var expected = entries[index].marks
        var place = 0
        while place < entries[index].records.count {
            let record = entries[index].records[place]
            if record.isLive {
                if continues(record, expected) {
                    expected.raise(record.arrival.span.layers, to: record.arrival.span.positions.upperBound)
                } else if giveUp(place, at: index, .orphaned, into: &settled) {
                    continue
                }
            }
            place += 1
        }
        entries[index].text.truncate(to: expected.greatest(over: expected.layers))
    }

    /// Gives up all that `which` names, and what continued it.
    mutating func doom(
        at index: Int, _ reason: Refusal, into settled: inout Settlement, which: (Record) -> Bool
    ) {
        var place = 0
        while place < entries[index].records.count {
            let record = entries[index].records[place]
            if record.isLive, which(record), giveUp(place, at: index, reason, into: &settled) { continue }
            place += 1
        }
        revalidate(at: index, into: &settled)
    }

    /// - Returns: whether the record is gone: one that is whole writes nothing more.
    private mutating func giveUp(
        _ place: Int, at index: Int, _ reason: Refusal, into settled: inout Settlement
    ) -> Bool {
        guard entries[index].records[place].state == .whole else {
            entries[index].records[place].state = .doomed(reason)
            return false
        }
        let arrival = entries[index].records[place].arrival
        remove(place, at: index)
        let watermark = entries[index].marks.least(over: arrival.span.layers)
        settled.ended.append(.init(arrival: arrival.id, completion: .refused(reason, watermark: watermark)))
        return true
    }

    mutating func remove(_ place: Int, at index: Int) {
        forget(entries[index].records.remove(at: place))
    }

    mutating func forget(_ record: Record) {
        whereabouts[record.arrival.id] = nil
        arrivalCount -= 1
    }
}

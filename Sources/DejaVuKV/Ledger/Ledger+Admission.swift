public import DejaVuCore

/// Who may land what.
extension Ledger {
    /// Judges a frame by its header.
    ///
    /// A frame may begin where one before it, still landing, will end; it then commits after that one or not at all.
    public mutating func admit(_ header: FrameHeader, at now: Instant) -> Admission {
        let span = header.span
        guard let index = index(of: span.sequence) else { return .refused(.unknownSequence, fault: nil) }
        guard let ticket = entries[index].ticket(header.ticket) else { return .refused(.oldTicket, fault: nil) }
        guard header.writer == ticket.writer else { return .refused(.otherWriter, fault: nil) }
        guard !span.isEmpty, ticket.layers.contains(span.layers), span.positions.upperBound <= ticket.positionLimit
        else { return .refused(.beyondTicket, fault: nil) }
        guard header.payloadBytes == span.payloadBytes(rowBytes: rowBytes) else {
            return .refused(.wrongLength, fault: nil)
        }
        guard header.numericClass == numericClass else {
            return .refused(.otherNumericClass, fault: countFault(of: header.writer, at: now))
        }
        let marks = entries[index].marks
        let expected = expectedMarks(at: index)
        guard span.positions.lowerBound <= expected.least(over: span.layers) else {
            return .gap(watermark: marks.least(over: span.layers))
        }
        guard
            entries[index].text.agrees(
                with: header.tokens, at: span.positions.lowerBound, endHash: header.tokensHash)
        else { return .refused(.otherTokens, fault: countFault(of: header.writer, at: now)) }
        let least = marks.least(over: span.layers)
        if span.positions.upperBound <= least { return .known(watermark: least) }
        return land(
            span, tokens: header.tokens, above: expected, writer: header.writer, number: ticket.number, at: index)
    }

    /// Asks for leave to let the store's own engine write rows: a pass. What is committed already is not among the
    /// arrival's parts and must go to a scratch row.
    ///
    /// - Returns: as for a frame; `gap` if the rows below are not committed yet, since the pass reads them. Ends by
    ///   `finish` or `abandon`; no `take` is needed.
    public mutating func admitLocal(_ span: Span, tokens: [TokenID]) -> Admission {
        precondition(tokens.count == span.positions.count, "a pass has a token for each position")
        guard let index = index(of: span.sequence) else { return .refused(.unknownSequence, fault: nil) }
        let ticket = entries[index].ticket
        guard !span.isEmpty, ticket.layers.contains(span.layers), span.positions.upperBound <= ticket.positionLimit
        else { return .refused(.beyondTicket, fault: nil) }
        let marks = entries[index].marks
        let least = marks.least(over: span.layers)
        guard span.positions.lowerBound <= least else { return .gap(watermark: least) }
        guard entries[index].text.agrees(with: tokens, at: span.positions.lowerBound, endHash: nil) else {
            return .refused(.otherTokens, fault: nil)
        }
        if span.positions.upperBound <= least { return .known(watermark: least) }
        return land(span, tokens: tokens, above: marks, writer: nil, number: ticket.number, at: index)
    }

    /// What to do with the next bytes of an arrival. To be asked for each chunk, just before it is written.
    public mutating func take(_ id: ArrivalID, bytes: Int) -> ChunkLeave {
        precondition(bytes >= 0, "a length is not negative")
        guard let (index, place) = find(id) else { return .swallow }
        let record = entries[index].records[place]
        guard bytes <= record.arrival.payloadBytes - record.takenBytes else { return .tooMany }
        entries[index].records[place].takenBytes += bytes
        return record.state == .landing ? .write : .swallow
    }

    private mutating func land(
        _ span: Span, tokens: [TokenID], above floor: LayerMarks, writer: Incarnation?, number: UInt64,
        at index: Int
    ) -> Admission {
        guard arrivalCount < limits.arrivalsMax, entries[index].records.count < limits.arrivalsPerSequenceMax else {
            return .refused(.tooManyArrivals, fault: nil)
        }
        let end = span.positions.upperBound
        var parts: [Arrival.Part] = []
        for level in floor.levels(over: span.layers) {
            let positions = max(span.positions.lowerBound, min(level.mark, end))..<end
            if let last = parts.last, last.positions == positions {
                let layers = LayerRange(last.layers.first, level.layers.end)
                parts[parts.count - 1] = Arrival.Part(layers: layers, positions: positions)
            } else {
                parts.append(Arrival.Part(layers: level.layers, positions: positions))
            }
        }
        guard !isBeingWritten(parts, at: index) else { return .refused(.busy, fault: nil) }
        arrivalNumber += 1
        arrivalCount += 1
        whereabouts[ArrivalID(arrivalNumber)] = span.sequence
        let arrival = Arrival(
            id: ArrivalID(arrivalNumber), ticket: entries[index].ticket.number, span: span,
            payloadBytes: span.payloadBytes(rowBytes: rowBytes) ?? 0, parts: parts)
        entries[index].records.append(Record(arrival: arrival, number: number, writer: writer))
        entries[index].text.extend(with: tokens, at: span.positions.lowerBound)
        return .land(arrival)
    }

    /// Whether somebody else writes, or has written and may yet commit, rows that these parts would write. Frames of a
    /// chain never overlap; what is left are those that were given up, and the store's own engine.
    private func isBeingWritten(_ parts: [Arrival.Part], at index: Int) -> Bool {
        for record in entries[index].records {
            for theirs in record.arrival.parts {
                for ours in parts
                where ours.layers.intersection(theirs.layers) != nil && ours.positions.overlaps(theirs.positions) {
                    return true
                }
            }
        }
        return false
    }

    /// The marks that will be, if all that is landing commits.
    func expectedMarks(at index: Int) -> LayerMarks {
        var marks = entries[index].marks
        for record in entries[index].records where record.isLive {
            marks.raise(record.arrival.span.layers, to: record.arrival.span.positions.upperBound)
        }
        return marks
    }

    mutating func countFault(of writer: Incarnation, at now: Instant) -> PeerFault? {
        faults.add(writer, at: now, limits: limits)
    }
}

extension Ledger.Entry {
    /// The open ticket of that number.
    func ticket(_ number: UInt64) -> Ticket? {
        ticket.number == number ? ticket : shares.first { $0.number == number }
    }
}

extension Ledger.Record {
    /// Whether it can still commit.
    var isLive: Bool {
        switch state {
        case .landing, .whole: true
        case .doomed: false
        }
    }
}

extension Span {
    /// Length of the packed rows; nil if that is more than an `Int` holds.
    public func payloadBytes(rowBytes: Int) -> Int? {
        let (rows, rowsOverflow) = layers.count.multipliedReportingOverflow(by: positions.count)
        let (bytes, bytesOverflow) = rows.multipliedReportingOverflow(by: rowBytes)
        return rowsOverflow || bytesOverflow ? nil : bytes
    }
}

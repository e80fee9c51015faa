public import DejaVuCore
public import DejaVuKV

/// One store on the other side of a transfer, and the leave to write into it.
public struct StreamTarget: Sendable {
    public let store: any KVStore
    /// Given by the store's side. Its layers say which part of a span is the store's.
    public let ticket: Ticket

    public init(_ store: any KVStore, ticket: Ticket) {
        self.store = store
        self.ticket = ticket
    }
}

extension Streamer {
    /// Copies one contiguous run of packed rows to another store: one read, one frame, one receipt.
    ///
    /// - Returns: the target's watermark over the span's layers.
    /// - Throws: as `scatter`; `.invalidArgument` also if the run is larger than a frame may be.
    @discardableResult
    public func flush(
        _ span: Span, from source: any KVStore, to target: StreamTarget, priority: StreamPriority = .handOver,
        within time: TimeSpan = .seconds(60)
    ) async throws(DejaVuError) -> Int {
        guard span.rowCount * source.rowBytes <= options.frameBytesMax || span.rowCount == 1 else {
            throw DejaVuError(.invalidArgument, "\(span) is more than one frame holds")
        }
        return try await scatter(span, from: source, to: target, priority: priority, within: time)
    }

    /// Copies one contiguous run of packed rows from another store into one here, the opposite of `flush`.
    @discardableResult
    public func fetch(
        _ span: Span, from source: any KVStore, into target: StreamTarget, priority: StreamPriority = .swapIn,
        within time: TimeSpan = .seconds(60)
    ) async throws(DejaVuError) -> Int {
        try await flush(span, from: source, to: target, priority: priority, within: time)
    }

    /// Moves a region of one memory to one peer: packs it into staging buffers and sends these as frames.
    ///
    /// What the target holds already is not sent again.
    ///
    /// - Returns: the target's watermark over the span's layers.
    /// - Throws: `.notFound` if the source does not hold the span or its tokens are not known; `.invalidArgument` if
    ///   the ticket does not cover it; `.refused`, `.mismatch` and others as the target's store does.
    @discardableResult
    public func scatter(
        _ span: Span, from source: any KVStore, to target: StreamTarget, priority: StreamPriority = .handOver,
        within time: TimeSpan = .seconds(60)
    ) async throws(DejaVuError) -> Int {
        try await withDeadline(time, "the transfer of \(span) to \(target.store.name)") { () throws(DejaVuError) in
            try await self.move(span, from: source, to: target, priority: priority)
        }
    }

    /// Fetches a region from one peer into one memory, the opposite of `scatter`.
    @discardableResult
    public func gather(
        _ span: Span, from peer: any KVStore, into target: StreamTarget, priority: StreamPriority = .restoration,
        within time: TimeSpan = .seconds(60)
    ) async throws(DejaVuError) -> Int {
        try await scatter(span, from: peer, to: target, priority: priority, within: time)
    }

    /// Sends a span to a pipeline whose stages cut the layers elsewhere: every piece goes to whoever runs its layers.
    ///
    /// - Parameter targets: their tickets' layers must cover the span's, each once.
    /// - Returns: the least watermark that the targets hold of it.
    @discardableResult
    public func streamOut(
        _ span: Span, from source: any KVStore, to targets: [StreamTarget], priority: StreamPriority = .handOver,
        within time: TimeSpan = .seconds(60)
    ) async throws(DejaVuError) -> Int {
        try await stream(span, from: [(source.layers, source)], to: targets, priority: priority, within: time)
    }

    /// Brings a span together from a pipeline whose stages cut the layers elsewhere, the opposite of `streamOut`.
    ///
    /// - Parameter sources: their layers must cover the span's, each once.
    @discardableResult
    public func streamIn(
        _ span: Span, from sources: [any KVStore], into target: StreamTarget, priority: StreamPriority = .restoration,
        within time: TimeSpan = .seconds(60)
    ) async throws(DejaVuError) -> Int {
        try await stream(
            span, from: sources.map { ($0.layers, $0) }, to: [target], priority: priority, within: time)
    }

    private func stream(
        _ span: Span, from sources: [(layers: LayerRange, store: any KVStore)], to targets: [StreamTarget],
        priority: StreamPriority, within time: TimeSpan
    ) async throws(DejaVuError) -> Int {
        let pieces = try LayerPieces.of(
            span.layers, sources: sources.map(\.layers), targets: targets.map(\.ticket.layers))
        let stores = sources.map(\.store)
        return try await withDeadline(time, "the transfer of \(span)") { () throws(DejaVuError) in
            let result = await withTaskGroup(of: Result<Int, DejaVuError>.self) { group in
                for piece in pieces {
                    let part = Span(sequence: span.sequence, layers: piece.layers, positions: span.positions)
                    group.addTask {
                        do throws(DejaVuError) {
                            return .success(
                                try await self.move(
                                    part, from: stores[piece.source], to: targets[piece.target], priority: priority))
                        } catch { return .failure(error) }
                    }
                }
                var least = Result<Int, DejaVuError>.success(span.positions.upperBound)
                for await next in group {
                    switch (least, next) {
                    case (.failure, _): break
                    case (.success(let mark), .success(let other)): least = .success(min(mark, other))
                    case (.success, .failure):
                        least = next
                        // What the others have committed is theirs; the rest is not wanted any more.
                        group.cancelAll()
                    }
                }
                return least
            }
            return try result.get()
        }
    }
}

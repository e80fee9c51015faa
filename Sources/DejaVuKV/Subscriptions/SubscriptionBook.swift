public import DejaVuCore

/// The source's side of all its subscriptions: what each destination has, what is on its way, and what goes next.
///
/// Only differences are sent: rows below the source's watermark that the destination has not acknowledged and that are
/// not on their way. It is pure; who drives it reads the rows, sends them and reports every answer. A stream (one
/// sequence of one subscription) begins once the destination's ticket is known: `grant`.
public struct SubscriptionBook: Sendable {
    struct Source: Hashable {
        let sequence: SequenceID
        var marks: LayerMarks
    }

    /// One sequence of one subscription.
    struct Stream: Hashable {
        let sequence: SequenceID
        var ticket: Ticket?
        var acknowledged: LayerMarks
        /// What the destination has when all that is on its way has arrived.
        var sent: LayerMarks
        /// The destination refused; it stands still until somebody says otherwise.
        var isHeld = false
        /// The last round in which it was served.
        var round: UInt64 = 0
        /// Rows that could be sent now.
        var pendingRows = 0
    }

    struct Order: Hashable {
        let subscription: Subscription
        /// The subscription's layers that the source has.
        let layers: LayerRange
        /// Ascending by sequence.
        var streams: [Stream] = []
        /// Its subscriber wants nothing for now.
        var isPaused = false
    }

    struct Destination: Hashable {
        let id: StoreID
        var isConnected = true
        /// Ascending by sequence.
        var tickets: [Ticket] = []
        var bytesInFlight = 0
        var flightCount = 0
    }

    struct Flight: Hashable {
        let id: FlightID
        let subscription: SubscriptionID
        let destination: StoreID
        let ticket: UInt64
        let span: Span
        let bytes: Int
        /// The stream went back below it: a gap that it meets is no news.
        var isStale = false
    }

    /// The source's.
    public let layers: LayerRange
    public let rowBytes: Int
    public let limits: SubscriptionLimits

    /// Ascending by sequence.
    var sources: [Source] = []
    /// By priority, then in order of subscription.
    var orders: [Order] = []
    var destinations: [Destination] = []
    /// Ascending by id.
    var flights: [Flight] = []
    var flightNumber: UInt64 = 0
    /// For each priority.
    var rounds = [UInt64](repeating: 1, count: StreamPriority.allCases.count)

    /// - Precondition: limits are at least 1; a frame holds one row, and a destination's bound one frame.
    public init(layers: LayerRange, rowBytes: Int, limits: SubscriptionLimits = SubscriptionLimits()) {
        precondition(layers.count > 0 && rowBytes > 0, "a source has rows of layers")
        precondition(
            limits.subscriptionsMax >= 1 && limits.sequencesMax >= 1 && limits.flightsMax >= 1
                && limits.frameBytesMax >= rowBytes && limits.bytesInFlightMax >= limits.frameBytesMax,
            "limits that let nothing through")
        self.layers = layers
        self.rowBytes = rowBytes
        self.limits = limits
    }

    // MARK: Subscriptions

    /// - Throws: `.invalidArgument` if the id is in use or has none of the source's layers; `.resourceExhausted` beyond
    ///   the limit.
    public mutating func subscribe(_ subscription: Subscription) throws(DejaVuError) {
        guard !orders.contains(where: { $0.subscription.id == subscription.id }) else {
            throw DejaVuError(.invalidArgument, "there is a subscription \(subscription.id) already")
        }
        guard let common = layers.intersection(subscription.layers) else {
            throw DejaVuError(.invalidArgument, "the source has no layers of \(subscription.layers)")
        }
        guard orders.count < limits.subscriptionsMax else {
            throw DejaVuError(.resourceExhausted, "a source has at most \(limits.subscriptionsMax) subscriptions")
        }
        if destination(subscription.destination) == nil {
            destinations.append(Destination(id: subscription.destination))
        }
        let index = orders.firstIndex { $0.subscription.priority > subscription.priority } ?? orders.count
        orders.insert(Order(subscription: subscription, layers: common), at: index)
        for source in sources where subscription.sequences.contains(source.sequence) {
            begin(source.sequence, index)
        }
    }

    /// Ends an order. Frames on their way still count as in flight until they are answered.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    public mutating func unsubscribe(_ id: SubscriptionID) -> Bool {
        guard let index = orders.firstIndex(where: { $0.subscription.id == id }) else { return false }
        orders.remove(at: index)
        dropIdleDestinations()
        return true
    }

    public var subscriptions: [Subscription] { orders.map(\.subscription) }

    /// Stops an order, or lets it go on where it was. Frames on their way are not called back.
    ///
    /// - Returns: whether there is one.
    @discardableResult
    public mutating func setPaused(_ id: SubscriptionID, _ isPaused: Bool) -> Bool {
        guard let index = orders.firstIndex(where: { $0.subscription.id == id }) else { return false }
        orders[index].isPaused = isPaused
        return true
    }

    // MARK: The source

    /// The source's watermark has risen for some layers.
    ///
    /// - Throws: `.resourceExhausted` beyond the limit of sequences.
    /// - Precondition: the layers are the source's.
    public mutating func sourceRaised(
        _ sequence: SequenceID, layers: LayerRange, to mark: Int
    ) throws(DejaVuError) {
        precondition(self.layers.contains(layers) && mark >= 0, "the source has no layers \(layers)")
        let index = sourcePosition(sequence)
        if index == sources.count || sources[index].sequence != sequence {
            guard sources.count < limits.sequencesMax else {
                throw DejaVuError(.resourceExhausted, "a source streams at most \(limits.sequencesMax) sequences")
            }
            sources.insert(Source(sequence: sequence, marks: LayerMarks(layers: self.layers)), at: index)
            for order in orders.indices where orders[order].subscription.sequences.contains(sequence) {
                begin(sequence, order)
            }
        }
        guard layers.count > 0 else { return }
        sources[index].marks.raise(layers, to: mark)
        refresh(sequence)
    }

    /// The source found that it holds less than it thought. What was sent was read whole, and stays.
    public mutating func sourceLowered(_ sequence: SequenceID, layers: LayerRange, to mark: Int) {
        let index = sourcePosition(sequence)
        guard index < sources.count, sources[index].sequence == sequence,
            let common = layers.intersection(self.layers)
        else { return }
        sources[index].marks.lower(common, to: max(0, mark))
        refresh(sequence)
    }

    /// The source no longer holds the sequence. Frames on their way still count as in flight until they are answered.
    public mutating func sourceReleased(_ sequence: SequenceID) {
        let index = sourcePosition(sequence)
        guard index < sources.count, sources[index].sequence == sequence else { return }
        sources.remove(at: index)
        for order in orders.indices {
            if let stream = orders[order].index(of: sequence) { orders[order].streams.remove(at: stream) }
        }
        for place in destinations.indices { destinations[place].remove(sequence) }
    }

    /// Adds a sequence's stream to an order.
    private mutating func begin(_ sequence: SequenceID, _ order: Int) {
        let marks = LayerMarks(layers: orders[order].layers)
        let ticket = ticket(for: sequence, by: orders[order].subscription.destination)
        let index = orders[order].position(of: sequence)
        orders[order].streams.insert(
            Stream(sequence: sequence, ticket: ticket, acknowledged: marks, sent: marks), at: index)
        refresh(order, index)
    }

    // MARK: Asking

    public var flightCount: Int { flights.count }

    /// Whether a frame is on its way and not answered.
    public func isFlying(_ id: FlightID) -> Bool { flights.contains { $0.id == id } }

    /// Whether what becomes of a flight still says something about its stream: it is unanswered, and the stream has not
    /// gone back since it was sent.
    public func isTelling(_ id: FlightID) -> Bool { flights.contains { $0.id == id && !$0.isStale } }

    /// The sequences that the source is known to have or a destination to take, ascending.
    public var sequences: [SequenceID] {
        var all = sources.map(\.sequence)
        for destination in destinations { all += destination.tickets.map(\.sequence) }
        all.sort()
        var last: SequenceID?
        return all.filter { sequence in
            defer { last = sequence }
            return sequence != last
        }
    }

    public func bytesInFlight(to id: StoreID) -> Int { destination(id).map { destinations[$0].bytesInFlight } ?? 0 }

    /// What a destination has acknowledged, the least over these layers; nil if no such stream is known.
    public func acknowledged(_ id: SubscriptionID, _ sequence: SequenceID, layers: LayerRange? = nil) -> Int? {
        guard let (order, stream) = stream(id, sequence) else { return nil }
        let marks = orders[order].streams[stream].acknowledged
        guard let common = marks.layers.intersection(layers ?? marks.layers) else { return nil }
        return marks.least(over: common)
    }

    /// How far a subscription is behind, whether or not it can send now.
    public func backlog(of id: SubscriptionID) -> Backlog {
        var backlog = Backlog()
        for order in orders where order.subscription.id == id {
            for stream in order.streams { add(lack(of: stream, behind: \.acknowledged), to: &backlog) }
        }
        return backlog
    }

    /// How far all subscriptions are behind, together.
    public var backlog: Backlog {
        var backlog = Backlog()
        for order in orders {
            for stream in order.streams { add(lack(of: stream, behind: \.acknowledged), to: &backlog) }
        }
        return backlog
    }

    private func add(_ lack: (rows: Int, positions: Int), to backlog: inout Backlog) {
        guard lack.rows > 0 else { return }
        backlog.sequences += 1
        backlog.positions += lack.positions
        backlog.rows += lack.rows
        backlog.bytes += lack.rows * rowBytes
    }
}

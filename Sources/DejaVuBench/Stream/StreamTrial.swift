import DejaVuCore
import DejaVuKV
import DejaVuLib
import Synchronization

/// One prompt and some steps of a batch, with or without streaming.
struct StreamTrial {
    /// What one run took.
    struct Outcome {
        /// Until the last row was acknowledged, or computed if nothing is streamed.
        var total = TimeSpan.zero
        var prompt = TimeSpan.zero
        /// Each step.
        var steps: [TimeSpan] = []
        /// What the compute thread did for streaming, step by step: telling of rows and ringing.
        var doorbell: [TimeSpan] = []
        var lateness = Lateness()
        /// Of all processors.
        var processorShare = 0.0
        var counters = StreamCounters()
    }

    let device: BenchDevice
    let compute: any StreamCompute
    let prompt: Int
    let steps: Int
    /// nil streams nothing.
    let options: StreamOptions?
    let store: (any KVStore)?
    /// Whether compute is a device that shares no processor.
    let isEmulated: Bool
    /// Nothing is computed, and a task drives the steps as a server's would: each waits for its rows.
    var isTaskDriven = false

    private static let patience = TimeSpan.seconds(Int64(300))
    private static let numbers = Mutex<UInt64>(0)

    private static func next() -> UInt64 {
        numbers.withLock { number in
            number += 1
            return number
        }
    }

    /// Runs on the calling thread, which is the compute thread.
    func run() throws(DejaVuError) -> Outcome {
        let sequences = (0..<device.shape.batch).map { _ in SequenceID(Self.next()) }
        for (slot, sequence) in sequences.enumerated() { device.open(sequence, slot: slot) }
        defer { for sequence in sequences { device.close(sequence) } }
        guard let options, let store else { return try measure(sequences, nil, nil) }
        let reports = Reports()
        let streamer = Streamer(options: options)
        let engine = StreamEngine(source: device, streamer: streamer) { reports.add($0) }
        let (device, length) = (device, prompt + steps)
        let order = Subscription(
            id: SubscriptionID(1), destination: StoreID(1), layers: device.layers, priority: .replica)
        let subscription = try engine.subscribe(order, to: store)
        try blocking { () throws(DejaVuError) in
            for sequence in sequences {
                let ticket = Ticket(
                    number: Self.next(), sequence: sequence, layers: device.layers, positionLimit: length,
                    writer: Incarnation(1))
                try await store.open(ticket, tokens: [])
                try streamer.tokens.append((0..<length).map { TokenID($0 % 1000) }, of: sequence)
                try engine.grant(ticket, by: StoreID(1))
            }
        }
        let running = Task.detached { await engine.run() }
        defer {
            running.cancel()
            try? blocking { () throws(DejaVuError) in
                await running.value
                for sequence in sequences { try await store.release(sequence) }
            }
        }
        let outcome =
            isTaskDriven ? try measureSteps(sequences, engine) : try measure(sequences, engine, subscription)
        if let bad = reports.first {
            throw DejaVuError(.internalError, "streaming met with a failure: \(bad)")
        }
        try verify(sequences, store, options)
        return outcome
    }

    private func measure(
        _ sequences: [SequenceID], _ engine: StreamEngine?, _ subscription: StreamSubscription?
    ) throws(DejaVuError) -> Outcome {
        var outcome = Outcome()
        if isEmulated { BenchClock.becomeDevice() }
        defer { if isEmulated { BenchClock.becomeDevice(false) } }
        let before = (processor: BenchClock.processTime, wall: BenchClock.now)
        try compute.begin()
        try compute.prompt(prompt) { (layers) throws(DejaVuError) in
            _ = tell(sequences, layers, prompt, engine)
        }
        try passEnded(engine)
        outcome.prompt = compute.elapsed
        var last = outcome.prompt
        for step in 0..<steps {
            try compute.step(at: prompt + step)
            outcome.doorbell.append(tell(sequences, device.layers, prompt + step + 1, engine))
            try passEnded(engine)
            outcome.steps.append(compute.elapsed - last)
            last = compute.elapsed
        }
        if let engine, let subscription {
            let from = BenchClock.now
            try blocking { () throws(DejaVuError) in
                // First until the last notes are taken in: before that there is no backlog to see.
                try await engine.settled(within: Self.patience)
                try await subscription.caughtUp(within: Self.patience)
            }
            compute.spent(BenchClock.now - from)
        }
        outcome.total = compute.elapsed
        let processor = BenchClock.processTime - before.processor
        outcome.processorShare =
            processor.seconds / ((BenchClock.now - before.wall).seconds * Double(BenchClock.processorCount))
        outcome.lateness = compute.lateness
        if let engine { outcome.counters = engine.counters }
        return outcome
    }

    private func measureSteps(_ sequences: [SequenceID], _ engine: StreamEngine) throws(DejaVuError) -> Outcome {
        let (device, prompt, steps) = (device, prompt, steps)
        return try blocking { () throws(DejaVuError) in
            var outcome = Outcome()
            for mark in prompt...prompt + steps {
                device.commit(sequences, layers: device.layers, to: mark)
                let from = BenchClock.now
                for sequence in sequences { engine.doorbell.note(sequence, layers: device.layers, watermark: mark) }
                engine.doorbell.ring()
                let told = BenchClock.now
                try await engine.passEnded()
                guard mark > prompt else { continue }
                outcome.doorbell.append(told - from)
                outcome.steps.append(BenchClock.now - from)
            }
            outcome.counters = engine.counters
            return outcome
        }
    }

    /// What the compute thread does for streaming when rows are there.
    private func tell(
        _ sequences: [SequenceID], _ layers: LayerRange, _ mark: Int, _ engine: StreamEngine?
    ) -> TimeSpan {
        let from = BenchClock.now
        device.commit(sequences, layers: layers, to: mark)
        guard let engine else { return .zero }
        let told = BenchClock.now
        for sequence in sequences { engine.doorbell.note(sequence, layers: layers, watermark: mark) }
        engine.doorbell.ring()
        let time = BenchClock.now - told
        compute.spent(BenchClock.now - from)
        return time
    }

    /// Where streaming may not overlap with compute, compute waits.
    private func passEnded(_ engine: StreamEngine?) throws(DejaVuError) {
        guard let engine, let options, !options.tokenOverlap else { return }
        let from = BenchClock.now
        try blocking { () throws(DejaVuError) in try await engine.passEnded() }
        compute.spent(BenchClock.now - from)
    }

    /// A sample of what has arrived is what the device holds. (Naive frames arrive in the device's own order; their
    /// checksums were verified.)
    private func verify(
        _ sequences: [SequenceID], _ store: any KVStore, _ options: StreamOptions
    ) throws(DejaVuError) {
        let (device, layers) = (device, device.layers)
        let last = prompt + steps
        let samples = [0, prompt / 2, last - 1]
        try blocking { () throws(DejaVuError) in
            for sequence in sequences {
                let mark = try await store.watermark(of: sequence, layers: layers)
                guard mark == last else {
                    throw DejaVuError(.internalError, "\(sequence) arrived up to \(mark) of \(last)")
                }
                guard options.bufferedCopies else { continue }
                for position in samples {
                    let span = Span(sequence: sequence, layers: layers, positions: position..<position + 1)
                    let (here, there) = (try await device.read(span), try await store.read(span))
                    guard here == there else {
                        throw DejaVuError(.internalError, "\(span) arrived with other bytes")
                    }
                }
            }
        }
    }
}

/// What an engine has reported.
private final class Reports: Sendable {
    private let events = Mutex<[StreamEvent]>([])
    func add(_ event: StreamEvent) { events.withLock { $0.append(event) } }
    var first: StreamEvent? { events.withLock { $0.first } }
}

import Synchronization

/// A number that only grows. Safe from any thread; an addition is one atomic loop.
package final class CounterInstrument: Sendable {
    private let bits = Atomic<UInt64>(0)

    package var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

    /// Negative and non-finite amounts are ignored: a counter never falls.
    package func add(_ amount: Double = 1) {
        guard amount > 0, amount.isFinite else { return }
        bits.add(amount)
    }

    func reset() { bits.store(0, ordering: .relaxed) }
}

/// A number that goes up and down.
package final class GaugeInstrument: Sendable {
    private let bits = Atomic<UInt64>(0)

    package var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
    package func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    package func add(_ amount: Double) { bits.add(amount) }
}

/// Observations counted in fixed buckets.
package final class HistogramInstrument: Sendable {
    /// What a histogram holds at one moment.
    package struct Reading: Hashable, Sendable {
        /// Observations at or below each bound but above the one before, and last those above all.
        package let counts: [UInt64]
        package let sum: Double
        package var count: UInt64 { counts.reduce(0, +) }
    }

    package let bounds: [Double]
    private let counts: [Cell]
    private let sum = Atomic<UInt64>(0)

    private final class Cell: Sendable {
        let value = Atomic<UInt64>(0)
    }

    init(bounds: [Double]) {
        self.bounds = bounds
        self.counts = (0...bounds.count).map { _ in Cell() }
    }

    /// Counts one observation; one that is not a number is ignored.
    package func observe(_ value: Double) {
        guard !value.isNaN else { return }
        var low = 0
        var high = bounds.count
        while low < high {
            let middle = (low + high) / 2
            if value <= bounds[middle] { high = middle } else { low = middle + 1 }
        }
        counts[low].value.add(1, ordering: .relaxed)
        if value.isFinite { sum.add(value) }
    }

    package var reading: Reading {
        Reading(
            counts: counts.map { $0.value.load(ordering: .relaxed) },
            sum: Double(bitPattern: sum.load(ordering: .relaxed)))
    }
}

extension Atomic where Value == UInt64 {
    /// Adds to the floating-point number whose bits are stored.
    fileprivate borrowing func add(_ amount: Double) {
        var old = load(ordering: .relaxed)
        while true {
            let sum = (Double(bitPattern: old) + amount).bitPattern
            let (exchanged, original) = weakCompareExchange(expected: old, desired: sum, ordering: .relaxed)
            if exchanged { return }
            old = original
        }
    }
}

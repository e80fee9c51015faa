import DejaVuCore
import DejaVuKV

/// Stores, the routes between them, sequences, and what goes wrong: everything that a run of `LedgerWorld` depends on.
package struct LedgerScenario: Sendable {
    struct Store: Hashable, Sendable {
        let layers: LayerRange
        /// Its own engine computes the rows; the others only receive.
        let computes: Bool
    }

    /// A subscription of one store to another.
    struct Route: Hashable, Sendable {
        let from: Int
        let to: Int
        let layers: LayerRange
        let priority: StreamPriority
        /// Frames keep their order; else each takes its own way.
        let keepsOrder: Bool
    }

    struct Life: Hashable, Sendable {
        let id: SequenceID
        let length: Int
        let arrivesAt: Instant
        /// nil: it lives to the end.
        let releasedAt: Instant?
    }

    enum Fault: Hashable, Sendable {
        case crash(store: Int, downTime: TimeSpan)
        /// Nothing gets through, and after a while both sides learn it.
        case partition(route: Int, time: TimeSpan)
        /// A committed row's bytes change.
        case rot(store: Int)
        /// A store gives up one sequence's memory; it is opened again later.
        case drop(store: Int)
        /// A new ticket without need.
        case renew(store: Int)
    }

    /// How often a frame meets what, in calm and storm.
    struct Weather: Hashable, Sendable {
        var lost = 0.0
        var duplicated = 0.0
        var cut = 0.0
        var corrupted = 0.0
        var mangled = 0.0
        var answerLost = 0.0
        /// Of writes: they land late, after what was decided meanwhile.
        var lateWrite = 0.0
    }

    let seed: UInt64
    let layerCount: Int
    let stores: [Store]
    let routes: [Route]
    let lives: [Life]
    let faults: [(at: Instant, fault: Fault)]
    let weather: Weather
    let latency: TimeSpan
    let jitter: TimeSpan
    let frameRowsMax: Int
    let chunkRowsMax: Int
    /// When the weather turns calm and the last fault is over.
    let calmAt: Instant
}

extension LedgerScenario {
    /// The scenario of a seed: the same in every process.
    package static func drawn(seed: UInt64) -> LedgerScenario {
        var random = SeededGenerator(seed: mix64(seed ^ 0x1ED6E5))
        let layerCount = random.next(in: 1...4)
        let (stores, routes) = topology(layerCount, &random)
        let isStormy = random.chance(0.85)
        let stormTime = random.next(in: 20...200)
        let lives = (0..<random.next(in: 1...3)).map { index in
            let arrives = random.next(below: stormTime)
            let isReleased = random.chance(0.4)
            return Life(
                id: SequenceID(UInt64(index + 1)), length: random.next(in: 1...14),
                arrivesAt: .zero + .milliseconds(Int64(arrives)),
                releasedAt: isReleased
                    ? .zero + .milliseconds(Int64(arrives + random.next(in: 1...stormTime))) : nil)
        }
        var weather = Weather()
        if isStormy {
            weather.lost = random.nextUnit() * 0.15
            weather.duplicated = random.nextUnit() * 0.15
            weather.cut = random.nextUnit() * 0.1
            weather.corrupted = random.nextUnit() * 0.1
            weather.mangled = random.nextUnit() * 0.05
            weather.answerLost = random.nextUnit() * 0.1
        }
        weather.lateWrite = random.nextUnit() * 0.4
        let faults = isStormy ? faults(stormTime, stores.count, routes.count, &random) : []
        return LedgerScenario(
            seed: seed, layerCount: layerCount, stores: stores, routes: routes, lives: lives, faults: faults,
            weather: weather, latency: .microseconds(Int64(random.next(in: 50...1500))),
            jitter: .microseconds(Int64(random.next(in: 1...3000))), frameRowsMax: random.next(in: 1...24),
            chunkRowsMax: random.next(in: 1...8), calmAt: .zero + .milliseconds(Int64(2 * stormTime)))
    }

    private static func faults(
        _ time: Int, _ stores: Int, _ routes: Int, _ random: inout SeededGenerator
    ) -> [(at: Instant, fault: Fault)] {
        (0..<random.next(below: 8)).map { _ in
            let at = Instant.zero + .milliseconds(Int64(random.next(below: 2 * time)))
            let store = random.next(below: stores)
            let fault: Fault =
                switch random.next(below: 9) {
                case 0, 1: .crash(store: store, downTime: .milliseconds(Int64(random.next(in: 1...20))))
                case 2, 3:
                    .partition(
                        route: random.next(below: routes), time: .milliseconds(Int64(random.next(in: 1...40))))
                case 4, 5: .rot(store: store)
                case 6, 7: .drop(store: store)
                default: .renew(store: store)
                }
            return (at, fault)
        }
    }

    /// A chain, a fan, or two partitions of the layers with different boundaries.
    private static func topology(
        _ layerCount: Int, _ random: inout SeededGenerator
    ) -> ([Store], [Route]) {
        let all = LayerRange(0, layerCount)
        var stores: [Store] = []
        var routes: [Route] = []
        func connect(_ from: Int, _ to: Int) {
            guard let common = stores[from].layers.intersection(stores[to].layers) else { return }
            routes.append(
                Route(
                    from: from, to: to, layers: common,
                    priority: StreamPriority.allCases[random.next(below: StreamPriority.allCases.count)],
                    keepsOrder: random.chance(0.6)))
        }
        func part() -> LayerRange {
            let first = random.chance(0.6) ? 0 : random.next(below: layerCount)
            return LayerRange(first, random.next(in: first + 1...layerCount))
        }
        switch layerCount > 1 ? random.next(below: 3) : random.next(below: 2) {
        case 0:
            stores.append(Store(layers: all, computes: true))
            for index in 1...random.next(in: 1...3) {
                let wanted = part().intersection(stores[index - 1].layers) ?? stores[index - 1].layers
                stores.append(Store(layers: wanted, computes: false))
                connect(index - 1, index)
            }
        case 1:
            stores.append(Store(layers: all, computes: true))
            for index in 1...random.next(in: 1...3) {
                stores.append(Store(layers: part(), computes: false))
                connect(0, index)
            }
        default:
            let cut = random.next(in: 1...layerCount - 1)
            let other = random.next(in: 1...layerCount - 1)
            stores.append(Store(layers: LayerRange(0, cut), computes: true))
            stores.append(Store(layers: LayerRange(cut, layerCount), computes: true))
            stores.append(Store(layers: LayerRange(0, other), computes: false))
            stores.append(Store(layers: LayerRange(other, layerCount), computes: false))
            for from in 0...1 { for to in 2...3 { connect(from, to) } }
            if random.chance(0.5) {
                let copied = random.next(in: 2...3)
                stores.append(Store(layers: stores[copied].layers, computes: false))
                connect(copied, 4)
            }
        }
        return (stores, routes)
    }
}

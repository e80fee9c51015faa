import DejaVuCore
import DejaVuKV

/// What breaks.
extension LedgerWorld {
    mutating func strike(_ fault: LedgerScenario.Fault) {
        switch fault {
        case .crash(let store, let downTime): crash(store, downTime)
        case .partition(let index, let time): partition(index, time)
        case .rot(let store): rot(store)
        case .drop(let store):
            let sequences = stores[store].ledger.sequences
            guard stores[store].isAlive, !sequences.isEmpty else { return }
            release(sequences[random.next(below: sequences.count)], store, "its memory is wanted")
        case .renew(let store): stores[store].wantsRenewal = true
        }
    }

    private mutating func crash(_ store: Int, _ downTime: TimeSpan) {
        guard stores[store].isAlive else { return }
        let gone = stores[store].incarnation
        tell("store \(store) dies; \(gone) is no more")
        coverage.crashes += 1
        stores[store].isAlive = false
        for route in scenario.routes {
            if route.to == store {
                let at = Address(store: route.from, generation: stores[route.from].generation)
                queue.push(.linkLost(at, StoreID(UInt64(store))), at: now + delay())
            } else if route.from == store {
                let at = Address(store: route.to, generation: stores[route.to].generation)
                let late = TimeSpan.microseconds(Int64(random.next(below: 10_000)))
                queue.push(.writerGone(at, gone), at: now + delay() + late)
            }
        }
        queue.push(.restart(store), at: now + downTime)
    }

    mutating func restart(_ store: Int) {
        stores[store] = makeNode(store, generation: stores[store].generation + 1)
        let incarnation = stores[store].incarnation
        tell("store \(store) is back as \(incarnation)")
        for route in scenario.routes where route.to == store {
            let at = Address(store: route.from, generation: stores[route.from].generation)
            // The news of the loss comes before.
            queue.push(.linkOpened(at, StoreID(UInt64(store))), at: now + .milliseconds(10))
        }
    }

    private mutating func partition(_ index: Int, _ time: TimeSpan) {
        let route = scenario.routes[index]
        tell("nothing gets from store \(route.from) to store \(route.to) for \(time)")
        partitionedUntil[index] = max(partitionedUntil[index], now + time)
        let from = Address(store: route.from, generation: stores[route.from].generation)
        let to = Address(store: route.to, generation: stores[route.to].generation)
        if random.chance(0.7) {
            queue.push(.linkLost(from, StoreID(UInt64(route.to))), at: now + delay())
            queue.push(.linkOpened(from, StoreID(UInt64(route.to))), at: now + time + .milliseconds(10))
        }
        if random.chance(0.7) {
            queue.push(.writerGone(to, stores[route.from].incarnation), at: now + delay())
        }
    }

    /// Changes a committed row where it lies.
    private mutating func rot(_ store: Int) {
        guard stores[store].isAlive else { return }
        let open = stores[store].tenancies.indices.filter { stores[store].tenancies[$0].isOpen }
        guard !open.isEmpty else { return }
        let index = open[random.next(below: open.count)]
        let tenancy = stores[store].tenancies[index]
        let layer = random.next(below: tenancy.marks.count)
        guard tenancy.marks[layer] > 0 else { return }
        let position = random.next(below: tenancy.marks[layer])
        let place = layer * tenancy.length + position
        tell("store \(store): a bit of \(tenancy.sequence) layer \(layer) position \(position) flips")
        stores[store].slots[tenancy.slot].rows[place] = ~Self.truth(
            tenancy.sequence, layer + stores[store].layers.first, position)
        stores[store].tenancies[index].rotten.append(place)
    }
}

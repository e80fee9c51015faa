import DejaVuCore
import DejaVuKV

/// What must hold after every event, and at the end.
extension LedgerWorld {
    /// After something has happened to a store: watermarks have not fallen unsaid, what has newly committed is right;
    /// and the book is told.
    mutating func settle(_ store: Int) {
        guard violations.isEmpty else { return }
        for index in stores[store].tenancies.indices where stores[store].tenancies[index].isOpen {
            let sequence = stores[store].tenancies[index].sequence
            for level in stores[store].ledger.watermarks(of: sequence) {
                for layer in level.layers.indices { compare(layer, level.mark, index, at: store) }
            }
        }
        stores[store].ledger.checkIntegrity()
        if violations.isEmpty { pump(store) }
    }

    private mutating func compare(_ layer: Int, _ mark: Int, _ index: Int, at store: Int) {
        let tenancy = stores[store].tenancies[index]
        let offset = layer - stores[store].layers.first
        let seen = tenancy.marks[offset]
        guard mark != seen else { return }
        guard mark > seen else {
            fail("store \(store): the watermark of \(tenancy.sequence) layer \(layer) fell from \(seen) to \(mark)")
            return
        }
        for position in seen..<mark {
            let place = stores[store].place(layer, position, length: tenancy.length)
            guard stores[store].slots[tenancy.slot].rows[place] == Self.truth(tenancy.sequence, layer, position)
            else {
                fail(
                    "store \(store): a wrong row of \(tenancy.sequence) was committed at layer \(layer) position"
                        + " \(position)")
                return
            }
        }
        stores[store].tenancies[index].marks[offset] = mark
        do throws(DejaVuError) {
            try stores[store].book.sourceRaised(tenancy.sequence, layers: LayerRange(layer, layer + 1), to: mark)
        } catch {
            fail("store \(store): its book takes no more: \(error)")
        }
    }

    /// Every committed row of every store, and all books.
    mutating func checkAll() {
        for (store, node) in stores.enumerated() where node.isAlive {
            node.ledger.checkIntegrity()
            node.book.checkIntegrity()
            for tenancy in node.tenancies {
                guard node.slots[tenancy.slot].tenant == tenancy.id else {
                    fail("store \(store): the memory of \(tenancy.sequence) belongs to another")
                    return
                }
                guard tenancy.isOpen else { continue }
                for level in node.ledger.watermarks(of: tenancy.sequence) {
                    for layer in level.layers.indices {
                        for position in 0..<level.mark {
                            let place = node.place(layer, position, length: tenancy.length)
                            let row = node.slots[tenancy.slot].rows[place]
                            if row != Self.truth(tenancy.sequence, layer, position), !tenancy.rotten.contains(place) {
                                fail(
                                    "store \(store): a committed row of \(tenancy.sequence) is wrong: layer \(layer)"
                                        + " position \(position)")
                                return
                            }
                        }
                    }
                }
            }
        }
    }

    /// Whether every store holds all that it can, and nothing is under way.
    var isSettled: Bool {
        stores.allSatisfy { node in
            node.isAlive && node.incoming.isEmpty && node.waiting.isEmpty && node.ledger.arrivalCount == 0
                && node.ledger.drainingCount == 0 && node.book.flightCount == 0 && node.book.backlog.isEmpty
                && scenario.lives.allSatisfy { life in
                    isWanted(life)
                        ? node.ledger.watermark(of: life.id, layers: node.layers) == life.length
                        : node.ledger.ticket(of: life.id) == nil
                }
                && node.slots.count { $0.tenant != 0 } == node.ledger.sequenceCount
        }
    }

    /// What has not caught up, in words.
    var laggards: String {
        var lines: [String] = []
        for (store, node) in stores.enumerated() {
            if !node.isAlive { lines.append("store \(store) is dead") }
            if node.ledger.arrivalCount > 0 { lines.append("store \(store) has \(node.ledger.arrivalCount) arrivals") }
            if node.ledger.drainingCount > 0 { lines.append("store \(store) has memory that is not quiet") }
            let backlog = node.book.backlog
            if !backlog.isEmpty { lines.append("store \(store) has a backlog of \(backlog.rows) rows") }
            if node.book.flightCount > 0 { lines.append("store \(store) has \(node.book.flightCount) in flight") }
            for life in scenario.lives where isWanted(life) {
                let mark = node.ledger.watermark(of: life.id, layers: node.layers)
                if mark < life.length { lines.append("store \(store) has \(mark) of \(life.length) of \(life.id)") }
            }
        }
        return lines.joined(separator: "; ")
    }
}

import DejaVuCore
import DejaVuKV
import DejaVuLib

/// One text in one store: it can begin with an empty store, or go on from whatever the store holds.
struct Generation {
    static let sequence = SequenceID(1)
    static let wordCount = 60
    static var positionCount: Int { MadeUpModel.prompt.count + wordCount }

    let store: HostStore
    let ticket: Ticket
    let tokens: TokenBook

    static func makeStore(_ name: String) throws -> HostStore {
        try HostStore(
            name: name, layers: MadeUpModel.layers, rowBytes: MadeUpModel.rowBytes,
            numericClass: MadeUpModel.numericClass, options: HostStore.Options(budget: 1 << 20))
    }

    static func ticket(_ number: UInt64, for writer: Incarnation) -> Ticket {
        Ticket(
            number: number, sequence: sequence, layers: MadeUpModel.layers, positionLimit: positionCount, writer: writer
        )
    }

    /// How many positions the store holds.
    var watermark: Int {
        get async throws { try await store.watermark(of: Self.sequence, layers: MadeUpModel.layers) }
    }

    /// The words so far: the prompt, and what follows from the rows that are there.
    func known() async throws -> [TokenID] {
        var known = MadeUpModel.prompt
        for position in stride(from: MadeUpModel.prompt.count - 1, to: try await watermark, by: 1) {
            known.append(try await MadeUpModel.token(after: position, in: Self.sequence, from: store))
        }
        return known
    }

    /// Computes what the store lacks, one position at a time.
    ///
    /// - Parameter each: told of each new word and of how many positions the store holds then.
    func run(_ each: (TokenID, Int) async throws -> Void) async throws {
        var known = try await known()
        try tokens.append(known, of: Self.sequence)
        for position in try await watermark..<Self.positionCount - 1 {
            let rows = try await MadeUpModel.rows(
                of: known[position], at: position, in: Self.sequence, from: store)
            let span = Span(
                sequence: Self.sequence, layers: MadeUpModel.layers, positions: position..<position + 1)
            try await store.commit(rows, span, ticket: ticket, tokens: tokens)
            if position + 1 == known.count {
                let next = try await MadeUpModel.token(after: position, in: Self.sequence, from: store)
                known.append(next)
                try tokens.append([next], at: position + 1, of: Self.sequence)
            }
            try await each(known[position + 1], position + 1)
        }
    }
}

import DejaVuCore
import DejaVuEngine
import DejaVuGGML
import DejaVuGGUF
import DejaVuModel
import Testing

/// The promise everything stands on: the bits of a row depend on its sequence's tokens up to it, and on nothing else.
@Suite(.serialized)
struct RowInvarianceTests {
    /// Exactly what is promised is shown.
    static let cases = KernelSet.allCases.flatMap { kernels in
        RowInvariance.types(kernels).compactMap { type in
            ElementType(rawValue: type.rawValue).map { Case(kernels: kernels, type: $0) }
        }
    }

    struct Case: CustomTestStringConvertible, Sendable {
        let kernels: KernelSet
        let type: ElementType
        var testDescription: String { "\(kernels.rawValue) \(type)" }
    }

    /// Two layers of which the first and the second are a stage each, so that hidden rows are seen as well.
    private func file(_ type: ElementType) throws -> GGUFFile {
        var model = RandomModel()
        model.type = type
        model.layerCount = 2
        return try GGUFFile(bytes: try model.bytes())
    }

    @Test(arguments: cases)
    func rows_anySizeOfPass_haveTheSameBits(_ each: Case) throws {
        let file = try file(each.type)
        var random = SeededGenerator(seed: 7)
        let tokens = (0..<512).map { _ in TokenID(random.next(below: 320)) }
        let whole = try Rows(file, each.kernels, tokens, sizes: [512])
        let steps = try Rows(file, each.kernels, tokens, sizes: [1])
        #expect(steps.difference(from: whole) == nil, "one by one")
        for sizes in [[2], [7], [63], [64], [65], [1, 1, 65, 2, 63, 7, 64]] {
            let parts = try Rows(file, each.kernels, tokens, sizes: sizes)
            #expect(parts.difference(from: steps) == nil, "passes of \(sizes)")
        }
        let threads = try Rows(file, each.kernels, tokens, sizes: [65], threads: 2)
        #expect(threads.difference(from: steps) == nil, "two threads")
        let elsewhere = try Rows(file, each.kernels, tokens, sizes: [64], start: 512, neighbours: true)
        #expect(elsewhere.difference(from: steps) == nil, "elsewhere, beside others")
    }

    @Test
    func promise_eachType_isMadeIfItIsShown() throws {
        for type in TensorType.allCases {
            for kernels in KernelSet.allCases {
                let isShown = Self.cases.contains { $0.kernels == kernels && $0.type.rawValue == type.rawValue }
                let file = try file(matrices: [("blk.0.attn_q.weight", type)])
                #expect(RowInvariance.isPromised(for: file, kernels, backend: "CPU") == isShown, "\(type)")
                #expect(!RowInvariance.isPromised(for: file, kernels, backend: "CUDA0"), "\(type)")
                #expect(RowInvariance.unprovenTypes(of: file, kernels) == (isShown ? [] : [type]))
            }
        }
    }

    @Test
    func promise_severalMatrices_dependsOnThoseThatAreMultiplied() throws {
        let tied = try file(matrices: [("token_embd.weight", .iq1_s), ("blk.0.attn_q.weight", .q4_K)])
        #expect(RowInvariance.unprovenTypes(of: tied, .native) == [.iq1_s])
        let untied = try file(matrices: [("token_embd.weight", .iq1_s), ("output.weight", .q6_K)])
        #expect(RowInvariance.isPromised(for: untied, .native, backend: "CPU"))
        let mixed = try file(matrices: [("blk.0.ffn_up.weight", .iq1_m), ("blk.0.ffn_gate.weight", .iq1_s)])
        #expect(RowInvariance.unprovenTypes(of: mixed, .reference) == [.iq1_s, .iq1_m])
    }

    /// Matrices of zeros; not a model.
    private func file(matrices: [(name: String, type: TensorType)]) throws -> GGUFFile {
        var writer = GGUFWriter()
        for (name, type) in matrices {
            let bytes = [UInt8](repeating: 0, count: 512 / type.blockLength * type.blockByteCount)
            writer.add(name, type, [256, 2], bytes: bytes)
        }
        return try GGUFFile(bytes: writer.bytes())
    }
}

/// All that a sequence's positions become, computed in passes of given sizes, which repeat.
private struct Rows {
    var hidden: [UInt8] = []
    var keysAndValues: [[UInt8]] = []
    /// By position, for the last position of each pass.
    var logits: [Int: [Float]] = [:]
}

extension Rows {
    /// What differs first in bits, if anything; compared are the logits that both have.
    func difference(from other: Rows) -> String? {
        for (layer, rows) in keysAndValues.enumerated() {
            let rowBytes = rows.count / 512
            if let row = (0..<512).first(where: { row in
                let range = row * rowBytes..<(row + 1) * rowBytes
                return rows[range] != other.keysAndValues[layer][range]
            }) {
                return "\(layer % 2 == 0 ? "K" : "V") of layer \(layer / 2) at \(row)"
            }
        }
        if hidden != other.hidden { return "hidden rows" }
        let shared = logits.keys.filter { other.logits[$0] != nil }.sorted()
        if shared.isEmpty { return "no logits in common" }
        if let position = shared.first(where: { logits[$0]?.map(\.bitPattern) != other.logits[$0]?.map(\.bitPattern) })
        {
            return "logits at \(position)"
        }
        return nil
    }

    init(
        _ file: GGUFFile, _ kernels: KernelSet, _ tokens: [TokenID], sizes: [Int], threads: Int = 1, start: Int = 0,
        neighbours: Bool = false
    ) throws {
        self.init()
        let pipeline = try TestPipeline(
            file: file, stages: 2, cellCount: 2048, kernelSet: kernels, threads: threads, rowCountMax: 512)
        let id = SequenceID(1)
        try pipeline.open(record(id, tokens), cells: CellRun(start: start, count: 512))
        var others: [(id: SequenceID, done: Int)] = []
        if neighbours {
            for index in 0..<2 {
                let other = SequenceID(UInt64(index + 2))
                let run = CellRun(start: index == 0 ? 256 : 1024, count: 256)
                try pipeline.open(record(other, tokens.reversed()), cells: run)
                others.append((other, 0))
            }
        }
        var position = 0
        var turn = 0
        while position < tokens.count {
            let end = min(position + sizes[turn % sizes.count], tokens.count)
            var entries = [
                PassEntry(sequence: id, first: position, tokens: Array(tokens[position..<end]), samples: true)
            ]
            for index in others.indices where others[index].done < 200 {
                let count = index * 4 + 1
                let part = Array(tokens.reversed()[others[index].done..<others[index].done + count])
                let entry = PassEntry(
                    sequence: others[index].id, first: others[index].done, tokens: part, samples: index == 0)
                entries.insert(entry, at: index == 0 ? 0 : entries.count)
                others[index].done += count
            }
            try take(pipeline, entries, id, position..<end)
            position = end
            turn += 1
        }
        for (layer, engine) in pipeline.engines.enumerated() {
            let rows = engine.keyValueRows(of: id, layer: layer, positions: 0..<tokens.count)
            keysAndValues += [rows.keys, rows.values]
        }
    }

    private mutating func take(
        _ pipeline: TestPipeline, _ entries: [PassEntry], _ id: SequenceID, _ positions: Range<Int>
    ) throws {
        let pass = pipeline.pass(entries)
        guard case .hidden(let rows) = try pipeline.engines[0].run(pass, hidden: nil) else { return }
        let before = entries.prefix { $0.sequence != id }.reduce(0) { $0 + $1.tokens.count }
        let rowBytes = pipeline.engines[0].stage.hiddenRowBytes
        hidden += rows[before * rowBytes..<(before + positions.count) * rowBytes]
        let all = try pipeline.engines[1].logits(pass, hidden: rows)
        let index = entries.filter(\.samples).firstIndex { $0.sequence == id } ?? 0
        logits[positions.upperBound - 1] = all[index]
    }

    private func record(_ id: SequenceID, _ tokens: [TokenID]) -> SequenceRecord {
        SequenceRecord(
            id: id, request: RequestID(1), choice: 0, prompt: tokens, sampling: .greedy, outputCountMax: 1,
            stopTokens: [])
    }
}

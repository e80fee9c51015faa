import DejaVuCore
import DejaVuGGML

/// What decides the shape of a stage's graph. Positions and cells do not: they are inputs.
struct StageGraphKey: Hashable {
    let rowCount: Int
    /// Rows whose logits are computed; 0 on all stages but the last.
    let outputCount: Int
}

/// A stage's computation over a number of rows, with the tensors that go in and come out.
struct StageGraph {
    let key: StageGraphKey
    let graph: Graph
    /// I32 `[rows]` on the first stage, else nil.
    let tokens: Tensor?
    /// F32 `[embeddingSize, rows]` on the other stages, else nil.
    let hiddenIn: Tensor?
    /// I32 `[rows]`.
    let positions: Tensor
    /// I64 `[rows]`: where each row's K and V go.
    let cells: Tensor
    /// I32 `[2, rows]`: the first cell of the row's run, and its position; nil if nothing attends.
    let table: Tensor?
    /// I32 `[outputs]`: the rows whose logits are wanted; nil if none are.
    let outputRows: Tensor?
    /// Hidden rows, logits, or nil if a last stage's pass samples nothing.
    let output: Tensor?
}

/// Builds the graphs of a stage. The decoder itself is here: everything else is about where things are.
struct StageGraphBuilder {
    let model: DecoderDescription
    let range: LayerRange
    let weights: StageWeights
    let cells: CellStore
    let attention: AttentionOperator

    private var nodeCountMax: Int { range.count * 48 + 32 }
    private var isLast: Bool { range.end == model.layerCount }

    func build(_ key: StageGraphKey) -> StageGraph {
        let builder = GraphBuilder(nodeCountMax: nodeCountMax)
        let rows = key.rowCount
        let inputs = Inputs(
            positions: builder.input(.i32, [rows], name: "positions"),
            cells: builder.input(.i64, [rows], name: "cells"),
            table: builder.input(.i32, [2, rows], name: "table"),
            outputRows: key.outputCount > 0 ? builder.input(.i32, [key.outputCount], name: "output_rows") : nil)
        var tokens: Tensor?
        var hiddenIn: Tensor?
        var x: Tensor
        if range.first == 0 {
            guard let embedding = weights.embedding else { preconditionFailure("a first stage without embeddings") }
            let input = builder.input(.i32, [rows], name: "tokens")
            x = builder.rows(of: embedding, at: input)
            tokens = input
        } else {
            x = builder.input(.f32, [model.embeddingSize, rows], name: "hidden")
            hiddenIn = x
        }
        var result: Tensor? = x
        for (index, layer) in weights.layers.enumerated() {
            let isFinal = isLast && index == weights.layers.count - 1
            result = self.layer(layer, index, x, inputs, isFinal: isFinal, builder)
            guard let next = result else { break }
            x = next
        }
        let attends = result != nil || weights.layers.count > 1
        if isLast { result = result.map { logits($0, builder) } }
        let graph = Graph(of: builder, outputs: result.map { [$0] } ?? [], nodeCountMax: nodeCountMax)
        return StageGraph(
            key: key, graph: graph, tokens: tokens, hiddenIn: hiddenIn, positions: inputs.positions,
            cells: inputs.cells, table: attends ? inputs.table : nil, outputRows: inputs.outputRows, output: result)
    }

    private struct Inputs {
        let positions: Tensor
        let cells: Tensor
        let table: Tensor
        let outputRows: Tensor?
    }

    /// One layer; nil if it is the model's final one and no row is wanted of it: then only K and V are written.
    private func layer(
        _ layer: LayerWeights, _ index: Int, _ x: Tensor, _ inputs: Inputs, isFinal: Bool,
        _ builder: borrowing GraphBuilder
    ) -> Tensor? {
        let rows = x.rows
        let normed = builder.rmsNorm(x, epsilon: model.normEpsilon, weight: layer.attentionNorm)
        let value = layer.value.apply(normed, builder)
        let key = rotated(layer.key.apply(normed, builder), heads: model.keyHeadCount, inputs, builder)
        let keys = builder.write(builder.reshape(key, model.keySize, rows), into: cells.keys[index], at: inputs.cells)
        let values = builder.write(value, into: cells.values[index], at: inputs.cells)
        if isFinal && inputs.outputRows == nil { return nil }
        let query = rotated(layer.query.apply(normed, builder), heads: model.headCount, inputs, builder)
        var attended = attention.node(builder, query: query, keys: keys, values: values, table: inputs.table)
        var residual = x
        if isFinal, let wanted = inputs.outputRows {
            attended = builder.rows(of: attended, at: wanted)
            residual = builder.rows(of: residual, at: wanted)
        }
        let middle = builder.add(layer.attentionOutput.apply(attended, builder), residual)
        let normedMiddle = builder.rmsNorm(middle, epsilon: model.normEpsilon, weight: layer.feedForwardNorm)
        let gated = builder.swiglu(
            gate: layer.gate.apply(normedMiddle, builder), up: layer.up.apply(normedMiddle, builder))
        return builder.add(layer.down.apply(gated, builder), middle)
    }

    private func rotated(
        _ x: Tensor, heads: Int, _ inputs: Inputs, _ builder: borrowing GraphBuilder
    ) -> Tensor {
        builder.rotate(
            builder.reshape(x, model.headSize, heads, x.rows), positions: inputs.positions,
            factors: weights.rotationFactors, model.rotation)
    }

    private func logits(_ x: Tensor, _ builder: borrowing GraphBuilder) -> Tensor {
        guard let norm = weights.outputNorm, let output = weights.output else {
            preconditionFailure("a last stage without output weights")
        }
        return output.apply(builder.rmsNorm(x, epsilon: model.normEpsilon, weight: norm), builder)
    }
}

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
    let operators: RowOperators

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
        let result = decode(x, inputs, builder)
        let attends = result != nil || weights.layers.count > 1
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

    /// All layers, and what follows the last; nil if no row is wanted of it: then only K and V are written there.
    private func decode(_ first: Tensor, _ inputs: Inputs, _ builder: borrowing GraphBuilder) -> Tensor? {
        guard let opening = weights.layers.first else { preconditionFailure("a stage without layers") }
        var x = first
        var normed = operators.normed(
            x, opening.attentionNorm, [opening.query, opening.key, opening.value], builder)
        for (index, layer) in weights.layers.enumerated() {
            let isLastHere = index == weights.layers.count - 1
            let cells = write(layer, index, normed, inputs, builder)
            if isLastHere && isLast && inputs.outputRows == nil { return nil }
            let query = rotated(apply(layer.query, normed, builder), heads: model.headCount, inputs, builder)
            var attended = attention.node(
                builder, query: query, keys: cells.keys, values: cells.values, table: inputs.table)
            if isLastHere, let wanted = inputs.outputRows {
                attended = builder.rows(of: attended, at: wanted)
                x = builder.rows(of: x, at: wanted)
            }
            let output = apply(
                layer.attentionOutput, operators.entering(attended, [layer.attentionOutput], builder), builder)
            let middle = operators.normedSum(output, x, layer.feedForwardNorm, [layer.gate, layer.up], builder)
            let gated = operators.gated(
                apply(layer.gate, middle.normed, builder), apply(layer.up, middle.normed, builder), layer.down,
                builder)
            let down = apply(layer.down, gated, builder)
            if !isLastHere {
                let next = weights.layers[index + 1]
                (x, normed) = operators.normedSum(
                    down, middle.sum, next.attentionNorm, [next.query, next.key, next.value], builder)
            } else if isLast {
                return logits(down, middle.sum, builder)
            } else {
                x = builder.add(down, middle.sum)
            }
        }
        return x
    }

    /// Puts the rows' K and V into their cells; the results are the cells after that.
    private func write(
        _ layer: LayerWeights, _ index: Int, _ normed: RowInput, _ inputs: Inputs, _ builder: borrowing GraphBuilder
    ) -> (keys: Tensor, values: Tensor) {
        let value = apply(layer.value, normed, builder)
        let key = rotated(apply(layer.key, normed, builder), heads: model.keyHeadCount, inputs, builder)
        let flat = builder.reshape(key, model.keySize, value.rows)
        return (
            builder.write(flat, into: cells.keys[index], at: inputs.cells),
            builder.write(value, into: cells.values[index], at: inputs.cells)
        )
    }

    private func apply(_ layer: LinearLayer, _ x: RowInput, _ builder: borrowing GraphBuilder) -> Tensor {
        layer.apply(x, builder, threadCount: operators.threadCount)
    }

    private func rotated(
        _ x: Tensor, heads: Int, _ inputs: Inputs, _ builder: borrowing GraphBuilder
    ) -> Tensor {
        builder.rotate(
            builder.reshape(x, model.headSize, heads, x.rows), positions: inputs.positions,
            factors: weights.rotationFactors, model.rotation)
    }

    private func logits(_ x: Tensor, _ y: Tensor, _ builder: borrowing GraphBuilder) -> Tensor {
        guard let norm = weights.outputNorm, let output = weights.output else {
            preconditionFailure("a last stage without output weights")
        }
        return apply(output, operators.normedSum(x, y, norm, [output], builder).normed, builder)
    }
}

import DejaVuGGML

/// Rows on their way into linear layers, in the forms that these want.
struct RowInput {
    var floats: Tensor?
    var quantized: QuantizedRows?
}

/// A linear map of rows, and the seam at which its product is chosen: ggml's over the weights as they are, or ours over
/// packed ones.
struct LinearLayer {
    let weight: Tensor
    let bias: Tensor?
    var packed: PackedMatrix?

    func apply(_ x: RowInput, _ builder: borrowing GraphBuilder, threadCount: Int) -> Tensor {
        let product: Tensor
        if let packed {
            guard let quantized = x.quantized else { preconditionFailure("a packed layer without quantised rows") }
            product = builder.product(packed, quantized, threadCount: threadCount)
        } else {
            guard let floats = x.floats else { preconditionFailure("a layer without rows") }
            product = builder.product(weight, floats)
        }
        return bias.map { builder.add(product, $0) } ?? product
    }
}

/// What stands between the products. Where all layers that follow are packed the work ends in quantised rows at once.
struct RowOperators {
    let epsilon: Float
    let threadCount: Int

    /// Rows as they are.
    func entering(_ x: Tensor, _ layers: [LinearLayer], _ builder: borrowing GraphBuilder) -> RowInput {
        var input = RowInput()
        if layers.contains(where: { $0.packed == nil }) { input.floats = x }
        if layers.contains(where: { $0.packed != nil }) {
            input.quantized = builder.quantized(x, threadCount: threadCount)
        }
        return input
    }

    /// The RMS norm of rows.
    func normed(
        _ x: Tensor, _ weight: Tensor, _ layers: [LinearLayer], _ builder: borrowing GraphBuilder
    ) -> RowInput {
        if layers.allSatisfy({ $0.packed != nil }) {
            return RowInput(
                quantized: builder.quantizedNorm(x, epsilon: epsilon, weight: weight, threadCount: threadCount))
        }
        return entering(builder.rmsNorm(x, epsilon: epsilon, weight: weight), layers, builder)
    }

    /// The sum of rows, and its RMS norm.
    func normedSum(
        _ x: Tensor, _ y: Tensor, _ weight: Tensor, _ layers: [LinearLayer], _ builder: borrowing GraphBuilder
    ) -> (sum: Tensor, normed: RowInput) {
        if layers.allSatisfy({ $0.packed != nil }) {
            let both = builder.quantizedNormOfSum(
                x, y, epsilon: epsilon, weight: weight, threadCount: threadCount)
            return (both.sum, RowInput(quantized: both.normed))
        }
        let sum = builder.add(x, y)
        return (sum, normed(sum, weight, layers, builder))
    }

    /// silu(gate) * up.
    func gated(
        _ gate: Tensor, _ up: Tensor, _ layer: LinearLayer, _ builder: borrowing GraphBuilder
    ) -> RowInput {
        if layer.packed != nil {
            return RowInput(quantized: builder.quantizedGate(gate, up, threadCount: threadCount))
        }
        return RowInput(floats: builder.swiglu(gate: gate, up: up))
    }
}

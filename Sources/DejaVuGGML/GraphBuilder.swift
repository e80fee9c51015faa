internal import CGGML

/// Puts operations together. Each method adds a node and returns its result; nothing is computed yet.
///
/// Shapes are fastest dimension first. Preconditions are ggml's own; the caller has validated the model.
package struct GraphBuilder: ~Copyable {
    package let context: TensorContext
    /// What the graph has to keep alive, and the nodes that are run for what they write.
    final class Retained {
        var objects: [AnyObject] = []
        var effects: [Tensor] = []
    }
    let retained = Retained()
    private var raw: OpaquePointer { context.raw }

    /// - Parameter nodeCountMax: tensors that fit, and nodes of the graph.
    package init(nodeCountMax: Int) {
        context = TensorContext(tensorCount: nodeCountMax * 2, graphNodeCount: nodeCountMax)
    }

    /// Keeps an object alive as long as the graph.
    package func retain(_ object: AnyObject) { retained.objects.append(object) }

    /// A tensor that is written from outside before every run.
    package func input(_ type: ElementType, _ shape: [Int], name: String) -> Tensor {
        let tensor = context.tensor(type, shape, name: name)
        ggml_set_input(tensor.raw)
        return tensor
    }

    /// `[length, indices.count]`: rows of a matrix by number, as F32. `indices` is I32.
    package func rows(of matrix: Tensor, at indices: Tensor) -> Tensor {
        Tensor(ggml_get_rows(raw, matrix.raw, indices.raw))
    }

    package func rmsNorm(_ x: Tensor, epsilon: Float, weight: Tensor) -> Tensor {
        Tensor(ggml_mul(raw, ggml_rms_norm(raw, x.raw, epsilon), weight.raw))
    }

    package func add(_ a: Tensor, _ b: Tensor) -> Tensor { Tensor(ggml_add(raw, a.raw, b.raw)) }

    /// `[weight.rows, x.rows]`: ggml's own product of rows with a weight matrix.
    package func product(_ weight: Tensor, _ x: Tensor) -> Tensor { Tensor(ggml_mul_mat(raw, weight.raw, x.raw)) }

    /// silu(gate) * up, element by element.
    package func swiglu(gate: Tensor, up: Tensor) -> Tensor { Tensor(ggml_swiglu_split(raw, gate.raw, up.raw)) }

    package func scale(_ x: Tensor, by factor: Float) -> Tensor { Tensor(ggml_scale(raw, x.raw, factor)) }

    package func reshape(_ x: Tensor, _ a: Int, _ b: Int) -> Tensor {
        Tensor(ggml_reshape_2d(raw, x.raw, Int64(a), Int64(b)))
    }

    package func reshape(_ x: Tensor, _ a: Int, _ b: Int, _ c: Int) -> Tensor {
        Tensor(ggml_reshape_3d(raw, x.raw, Int64(a), Int64(b), Int64(c)))
    }

    /// The first `a * b` elements of a tensor as `[a, b]`.
    func view(_ x: Tensor, _ a: Int, _ b: Int) -> Tensor {
        Tensor(ggml_view_2d(raw, x.raw, Int64(a), Int64(b), a * ggml_element_size(x.raw), 0))
    }

    /// Rotates `[headSize, heads, rows]` by each row's position. `factors` are frequency divisors, F32.
    package func rotate(_ x: Tensor, positions: Tensor, factors: Tensor?, _ rotation: RotationParameters) -> Tensor {
        Tensor(
            ggml_rope_ext(
                raw, x.raw, positions.raw, factors?.raw, Int32(rotation.dimensions),
                rotation.pairsHalves ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL,
                Int32(rotation.originalContext), rotation.base, rotation.frequencyScale, rotation.extrapolation,
                rotation.magnitude, rotation.betaFast, rotation.betaSlow))
    }

    /// Writes F32 rows into a matrix at the row numbers `indices` (I64); the result is the matrix after that.
    package func write(_ rows: Tensor, into matrix: Tensor, at indices: Tensor) -> Tensor {
        let written = Tensor(ggml_set_rows(raw, matrix.raw, rows.raw, indices.raw))
        retained.effects.append(written)
        return written
    }

    /// A node that one of our own kernels computes; only where the backend runs host kernels.
    func custom(
        _ shape: (Int, Int), _ sources: [Tensor], taskCount: Int, _ function: ggml_custom_op_t,
        _ data: UnsafeMutableRawPointer
    ) -> Tensor {
        var arguments: [UnsafeMutablePointer<ggml_tensor>?] = sources.map(\.raw)
        return Tensor(
            ggml_custom_4d(
                raw, GGML_TYPE_F32, Int64(shape.0), Int64(shape.1), 1, 1, &arguments, Int32(arguments.count), function,
                Int32(taskCount), data))
    }
}

/// How positions turn heads: RoPE (Su et al. 2021) with linear and YaRN (Peng et al. 2023) scaling.
package struct RotationParameters: Hashable, Sendable {
    /// Leading elements of a head that are rotated.
    package var dimensions: Int
    /// Pairs are (i, i + half) instead of (2i, 2i + 1).
    package var pairsHalves: Bool
    package var base: Float
    /// 1 / the scaling factor; 1 for none.
    package var frequencyScale: Float = 1
    /// YaRN's mix of extrapolation; 0 is off.
    package var extrapolation: Float = 0
    /// What rotated vectors are multiplied by.
    package var magnitude: Float = 1
    package var betaFast: Float = 32
    package var betaSlow: Float = 1
    package var originalContext: Int

    package init(dimensions: Int, pairsHalves: Bool, base: Float, originalContext: Int) {
        self.dimensions = dimensions
        self.pairsHalves = pairsHalves
        self.base = base
        self.originalContext = originalContext
    }
}

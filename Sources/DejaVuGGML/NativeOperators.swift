internal import CGGML
internal import CKernels

/// Rows of activations, quantised for a product with a packed matrix. They lie in a node's memory from an offset on.
package struct QuantizedRows {
    let node: Tensor
    let offset: Int
    package let rowCount: Int
    package let columns: Int
}

/// Memory of a value that a node's callback reads; it lives as long as the graph.
private final class Box<Value> {
    let pointer: UnsafeMutablePointer<Value>
    init(_ value: Value) {
        pointer = .allocate(capacity: 1)
        pointer.initialize(to: value)
    }
    deinit {
        pointer.deinitialize(count: 1)
        pointer.deallocate()
    }
}

/// What the callbacks of this file find behind their pointer.
private struct RowCall {
    var rows: Int64
    var columns: Int64
    /// Where quantised rows start in the node that holds them, before alignment.
    var offset: Int
    var epsilon: Float = 0
    var packed: UnsafeRawPointer?
    var packedType: Int32 = 0
    var packedRows: Int64 = 0
}

private func aligned(_ pointer: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    pointer.alignedUp(toMultipleOf: 64)
}

private typealias Node = UnsafeMutablePointer<ggml_tensor>

/// The memory of a node's source and the bytes from row to row.
private func floats(_ source: Node?) -> (UnsafeMutablePointer<Float>, Int) {
    guard let source, let data = source.pointee.data else { preconditionFailure("a node without memory") }
    return (data.assumingMemoryBound(to: Float.self), Int(source.pointee.nb.1))
}

private func bytes(_ source: Node?) -> UnsafeMutableRawPointer {
    guard let data = source?.pointee.data else { preconditionFailure("a node without memory") }
    return data
}

/// Our own kernels as nodes of a graph: products with packed matrices, and the work between them that ends in
/// quantised rows. Every row is computed alone; threads share rows, or the rows of the matrix.
extension GraphBuilder {
    /// Quantises rows as they are.
    package func quantized(_ x: Tensor, threadCount: Int) -> QuantizedRows {
        rowNode(x, [x], RowCall(rows: 0, columns: 0, offset: 0), threadCount) { node, worker, workers, data in
            guard let node, let call = data?.assumingMemoryBound(to: RowCall.self).pointee else { return }
            let (x, stride) = floats(node.pointee.src.0)
            dejavu_quantize_rows(
                x, stride, call.rows, call.columns, aligned(bytes(node) + call.offset), worker, workers)
        }
    }

    /// Quantises the RMS norm of rows.
    package func quantizedNorm(_ x: Tensor, epsilon: Float, weight: Tensor, threadCount: Int) -> QuantizedRows {
        let call = RowCall(rows: 0, columns: 0, offset: 0, epsilon: epsilon)
        return rowNode(x, [x, weight], call, threadCount) { node, worker, workers, data in
            guard let node, let call = data?.assumingMemoryBound(to: RowCall.self).pointee else { return }
            let (x, stride) = floats(node.pointee.src.0)
            dejavu_rms_norm_quantize_rows(
                x, stride, floats(node.pointee.src.1).0, call.epsilon, call.rows, call.columns,
                aligned(bytes(node) + call.offset), worker, workers)
        }
    }

    /// Adds rows, and quantises the RMS norm of the sums.
    package func quantizedNormOfSum(
        _ x: Tensor, _ y: Tensor, epsilon: Float, weight: Tensor, threadCount: Int
    ) -> (sum: Tensor, normed: QuantizedRows) {
        let sumBytes = x.rowLength * x.rows * 4
        let call = RowCall(rows: 0, columns: 0, offset: sumBytes, epsilon: epsilon)
        let normed = rowNode(x, [x, y, weight], call, threadCount) { node, worker, workers, data in
            guard let node, let call = data?.assumingMemoryBound(to: RowCall.self).pointee else { return }
            let (x, stride) = floats(node.pointee.src.0)
            let (y, otherStride) = floats(node.pointee.src.1)
            dejavu_add_rms_norm_quantize_rows(
                x, stride, y, otherStride, bytes(node).assumingMemoryBound(to: Float.self), 4 * Int(call.columns),
                floats(node.pointee.src.2).0, call.epsilon, call.rows, call.columns,
                aligned(bytes(node) + call.offset), worker, workers)
        }
        return (view(normed.node, x.rowLength, x.rows), normed)
    }

    /// Quantises silu(gate) * up.
    package func quantizedGate(_ gate: Tensor, _ up: Tensor, threadCount: Int) -> QuantizedRows {
        rowNode(gate, [gate, up], RowCall(rows: 0, columns: 0, offset: 0), threadCount) { node, worker, workers, data in
            guard let node, let call = data?.assumingMemoryBound(to: RowCall.self).pointee else { return }
            let (gate, stride) = floats(node.pointee.src.0)
            let (up, otherStride) = floats(node.pointee.src.1)
            dejavu_swiglu_quantize_rows(
                gate, stride, up, otherStride, call.rows, call.columns, aligned(bytes(node) + call.offset), worker,
                workers)
        }
    }

    /// `[matrix.rows, rowCount]`: the product of quantised rows with a packed matrix.
    package func product(_ matrix: PackedMatrix, _ x: QuantizedRows, threadCount: Int) -> Tensor {
        precondition(matrix.columns == x.columns, "a product of \(matrix.columns) columns with rows of \(x.columns)")
        let box = Box(
            RowCall(
                rows: Int64(x.rowCount), columns: Int64(x.columns), offset: x.offset, packed: matrix.memory,
                packedType: Int32(matrix.type.rawValue), packedRows: Int64(matrix.rows)))
        retain(box)
        retain(matrix)
        return custom(
            (matrix.rows, x.rowCount), [x.node], taskCount: threadCount,
            { node, worker, workers, data in
                guard let node, let call = data?.assumingMemoryBound(to: RowCall.self).pointee else { return }
                let (output, stride) = floats(node)
                dejavu_matmul(
                    call.packedType, call.packedRows, call.columns, call.packed,
                    aligned(bytes(node.pointee.src.0) + call.offset), call.rows, output, stride, worker, workers)
            }, box.pointer)
    }

    /// A node that ends in quantised rows of the shape of `x`, behind `call.offset` bytes of something else.
    private func rowNode(
        _ x: Tensor, _ sources: [Tensor], _ call: RowCall, _ threadCount: Int, _ function: ggml_custom_op_t
    ) -> QuantizedRows {
        var call = call
        call.rows = Int64(x.rows)
        call.columns = Int64(x.rowLength)
        let box = Box(call)
        retain(box)
        // 64 bytes more than needed, since ggml aligns to 32 and the kernels want 64.
        let byteCount = call.offset + 64 + x.rows * dejavu_activation_row_size(call.columns)
        let node = custom((byteCount / 4, 1), sources, taskCount: threadCount, function, box.pointer)
        return QuantizedRows(node: node, offset: call.offset, rowCount: x.rows, columns: x.rowLength)
    }
}

internal import CGGML
internal import CKernels

/// Our own attention as a node of a graph: causal, ragged, over cells. See `attention.h` for what it guarantees.
package final class AttentionOperator {
    /// What the node's callback finds behind its pointer. The operator owns the memory.
    private struct Call {
        var heads: Int32
        var keyHeads: Int32
        var headSize: Int32
        var scale: Float
        var scratch: UnsafeMutablePointer<Float>
        var scratchFloats: Int
        var isNative: Bool
        var progress: @Sendable () -> Void
    }
    private let call: UnsafeMutablePointer<Call>
    private let threadCount: Int

    /// - Parameters:
    ///   - positionCountMax: no row stands at or above this position.
    ///   - isNative: the fast kernel instead of the one with the arithmetic of ggml's unfused attention.
    ///   - progress: called on a compute thread each time that a layer's attention begins.
    package init(
        heads: Int, keyHeads: Int, headSize: Int, scale: Float, positionCountMax: Int, threadCount: Int,
        isNative: Bool, progress: @escaping @Sendable () -> Void
    ) {
        precondition(keyHeads > 0 && heads % keyHeads == 0 && headSize % 16 == 0 && (16...512).contains(headSize))
        let floats = dv_attention_scratch_floats(
            Int32(heads), Int32(keyHeads), Int32(headSize), Int32(positionCountMax))
        let scratch = UnsafeMutableRawPointer.allocate(byteCount: 4 * floats * threadCount, alignment: 64)
            .bindMemory(to: Float.self, capacity: floats * threadCount)
        call = .allocate(capacity: 1)
        call.initialize(
            to: Call(
                heads: Int32(heads), keyHeads: Int32(keyHeads), headSize: Int32(headSize), scale: scale,
                scratch: scratch, scratchFloats: floats, isNative: isNative, progress: progress))
        self.threadCount = threadCount
    }

    deinit {
        call.pointee.scratch.deallocate()
        call.deinitialize(count: 1)
        call.deallocate()
    }

    /// `[heads * headSize, rows]`. `query` is `[headSize, heads, rows]`, `keys` and `values` are F16
    /// `[keyHeads * headSize, cells]`, `table` is I32 `[2, rows]`: first cell of the run, position.
    package func node(
        _ builder: borrowing GraphBuilder, query: Tensor, keys: Tensor, values: Tensor, table: Tensor
    ) -> Tensor {
        builder.retain(self)
        let rows = table.rows
        return builder.custom(
            (Int(call.pointee.heads * call.pointee.headSize), rows), [query, keys, values, table],
            taskCount: threadCount,
            { node, worker, workers, data in
                guard let node, let data else { return }
                AttentionOperator.run(node, worker, workers, data.assumingMemoryBound(to: Call.self).pointee)
            }, call)
    }

    private static func run(
        _ node: UnsafeMutablePointer<ggml_tensor>, _ worker: Int32, _ workers: Int32, _ call: Call
    ) {
        if worker == 0 { call.progress() }
        let sources = node.pointee.src
        guard let query = sources.0?.pointee.data, let keys = sources.1?.pointee.data,
            let values = sources.2?.pointee.data, let table = sources.3?.pointee.data, let output = node.pointee.data
        else { preconditionFailure("an attention node without memory") }
        var arguments = dv_attention(
            query: query.assumingMemoryBound(to: Float.self), keys: keys.assumingMemoryBound(to: UInt16.self),
            values: values.assumingMemoryBound(to: UInt16.self), table: table.assumingMemoryBound(to: Int32.self),
            output: output.assumingMemoryBound(to: Float.self), rows: Int32(node.pointee.ne.1), heads: call.heads,
            keyHeads: call.keyHeads, headSize: call.headSize, scale: call.scale, scratch: call.scratch,
            scratchFloats: call.scratchFloats)
        if call.isNative {
            dv_attention_native(&arguments, worker, workers)
        } else {
            dv_attention_reference(&arguments, worker, workers)
        }
    }
}

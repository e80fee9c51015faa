internal import CGGML
package import DejaVuCore

/// Holds the descriptions of tensors, and the memory of those that were given any.
package final class TensorContext {
    let raw: OpaquePointer
    private var buffers: [ggml_backend_buffer_t] = []

    /// - Parameter tensorCount: how many tensors fit, views and results of operations included.
    package init(tensorCount: Int, graphNodeCount: Int = 0) {
        _ = GGMLLibrary.start
        let graphBytes = graphNodeCount > 0 ? ggml_graph_overhead_custom(graphNodeCount, false) : 0
        let parameters = ggml_init_params(
            mem_size: tensorCount * ggml_tensor_overhead() + graphBytes, mem_buffer: nil, no_alloc: true)
        guard let raw = ggml_init(parameters) else { preconditionFailure("ggml_init failed") }
        self.raw = raw
    }

    deinit {
        for buffer in buffers { ggml_backend_buffer_free(buffer) }
        ggml_free(raw)
    }

    /// A tensor without memory.
    package func tensor(_ type: ElementType, _ shape: [Int], name: String = "") -> Tensor {
        precondition((1...4).contains(shape.count), "a tensor has 1 to 4 dimensions")
        let dimensions = shape.map(Int64.init)
        let tensor = Tensor(ggml_new_tensor(raw, type.ggml, Int32(shape.count), dimensions))
        if !name.isEmpty { _ = ggml_set_name(tensor.raw, name) }
        return tensor
    }

    /// Gives every tensor of the context that has none memory of its own on the backend.
    ///
    /// - Throws: `.resourceExhausted`.
    package func allocate(on backend: Backend, zeroed: Bool) throws(DejaVuError) {
        guard let buffer = ggml_backend_alloc_ctx_tensors(raw, backend.raw) else {
            throw GGMLLibrary.error(.resourceExhausted, "no memory for tensors on \(backend.name)")
        }
        buffers.append(buffer)
        if zeroed { ggml_backend_buffer_clear(buffer, 0) }
    }

    /// Places tensors in memory that someone else owns and that outlives this context, at these offsets of it; where
    /// the backend cannot use such memory, gives them memory of its own and copies them.
    ///
    /// The memory is only read. On the CPU no page of it is touched here.
    package func place(
        _ tensors: [(tensor: Tensor, offset: Int)], in memory: UnsafeRawBufferPointer, on backend: Backend
    ) throws(DejaVuError) {
        for (tensor, offset) in tensors {
            precondition(offset >= 0 && offset + tensor.byteCount <= memory.count, "a tensor outside of its memory")
        }
        let largest = tensors.map(\.tensor.byteCount).max() ?? 0
        // ggml wants tensors at multiples of 32; files with another alignment are rare and get a copy.
        let isAligned = tensors.allSatisfy { $0.offset % 32 == 0 }
        if isAligned, backend.takesHostMemory, let buffer = backend.buffer(over: memory, largestTensor: largest),
            let base = ggml_backend_buffer_get_base(buffer)
        {
            buffers.append(buffer)
            ggml_backend_buffer_set_usage(buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS)
            for (tensor, offset) in tensors {
                guard ggml_backend_tensor_alloc(buffer, tensor.raw, base + offset) == GGML_STATUS_SUCCESS else {
                    throw GGMLLibrary.error(.internalError, "a tensor cannot be placed")
                }
            }
            return
        }
        try allocate(on: backend, zeroed: false)
        for (tensor, offset) in tensors {
            tensor.set(UnsafeRawBufferPointer(rebasing: memory[offset..<offset + tensor.byteCount]))
        }
    }
}

internal import CGGML
package import DejaVuCore

/// A sequence of operations that can be run again and again with other inputs.
package final class Graph {
    let raw: OpaquePointer
    private let context: TensorContext
    /// Owners of memory that custom nodes point to.
    private var retained: [AnyObject]

    /// Ends the building: the graph computes `outputs`, in order, and what they need.
    package init(of builder: borrowing GraphBuilder, outputs: [Tensor], nodeCountMax: Int) {
        context = builder.context
        retained = builder.retained.objects
        guard let raw = ggml_new_graph_custom(context.raw, nodeCountMax, false) else {
            preconditionFailure("ggml_new_graph failed")
        }
        self.raw = raw
        for output in builder.retained.effects + outputs { ggml_build_forward_expand(raw, output.raw) }
        for output in outputs { ggml_set_output(output.raw) }
    }

    package var nodeCount: Int { Int(ggml_graph_n_nodes(raw)) }
}

/// The memory in which graphs compute. All graphs of one allocator share it, so only one runs at a time and nothing
/// in it outlives a run but the inputs of the next.
package final class GraphAllocator {
    private let raw: ggml_gallocr_t
    /// Raised when the memory has moved: graphs that were allocated before are void.
    package private(set) var generation = 0

    package init(backend: Backend) {
        raw = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend.raw))
    }

    deinit { ggml_gallocr_free(raw) }

    package var byteCount: Int { Int(ggml_gallocr_get_buffer_size(raw, 0)) }

    /// Gives a new graph its memory.
    ///
    /// - Throws: `.resourceExhausted`; every graph is void then.
    package func allocate(_ graph: Graph) throws(DejaVuError) {
        let before = byteCount
        guard ggml_gallocr_alloc_graph(raw, graph.raw) else {
            generation += 1
            throw GGMLLibrary.error(.resourceExhausted, "no memory to compute in")
        }
        if byteCount != before { generation += 1 }
    }
}

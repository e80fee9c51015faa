internal import CGGML
package import DejaVuCore

/// A device of ggml and its stream of work. Used by one thread.
package final class Backend {
    let raw: ggml_backend_t
    private let device: ggml_backend_dev_t
    private let pool: OpaquePointer?
    package let threadCount: Int
    private let isCPU: Bool

    /// How long the other threads spin for the next graph before they sleep, in units of 131,072 pauses of the
    /// processor: some milliseconds, which covers the time between two passes of a busy server.
    private static let pollLevel: UInt32 = 1

    /// The names that ggml was built with: `CPU`, and what else its build flags brought.
    package static var names: [String] {
        _ = GGMLLibrary.start
        return (0..<ggml_backend_dev_count()).compactMap { index in
            ggml_backend_dev_get(index).map { String(cString: ggml_backend_dev_name($0)) }
        }
    }

    /// - Parameter threadCount: compute threads, the caller's among them; never more than cores, since they spin.
    /// - Throws: `.notFound` if ggml has no such device, `.resourceExhausted` if it cannot be started.
    package init(name: String = "CPU", threadCount: Int = 1) throws(DejaVuError) {
        _ = GGMLLibrary.start
        precondition((1...Int(GGML_MAX_N_THREADS)).contains(threadCount), "\(threadCount) compute threads")
        guard let device = ggml_backend_dev_by_name(name) else {
            throw DejaVuError(
                .notFound, "ggml has no backend named \(name), only \(Backend.names.joined(separator: ", "))")
        }
        guard let raw = ggml_backend_dev_init(device, nil) else {
            throw GGMLLibrary.error(.resourceExhausted, "the backend \(name) cannot be started")
        }
        self.raw = raw
        self.device = device
        self.threadCount = threadCount
        isCPU = ggml_backend_is_cpu(raw)
        guard isCPU else {
            pool = nil
            return
        }
        var parameters = ggml_threadpool_params_default(Int32(threadCount))
        parameters.poll = Self.pollLevel
        guard let pool = ggml_threadpool_new(&parameters) else {
            ggml_backend_free(raw)
            throw GGMLLibrary.error(.resourceExhausted, "\(threadCount) compute threads cannot be started")
        }
        self.pool = pool
        ggml_backend_cpu_set_n_threads(raw, Int32(threadCount))
        ggml_backend_cpu_set_threadpool(raw, pool)
    }

    deinit {
        ggml_backend_free(raw)
        if let pool { ggml_threadpool_free(pool) }
    }

    package var name: String { String(cString: ggml_backend_dev_name(device)) }

    /// Whether the backend is ggml's CPU backend, on which kernels of our own can be nodes of a graph.
    package var runsHostKernels: Bool { isCPU }

    /// Whether this process can address the backend's memory.
    package var isHost: Bool { ggml_backend_buft_is_host(ggml_backend_get_default_buffer_type(raw)) }

    /// Whether tensors can live in memory that we already have, such as a mapped file.
    var takesHostMemory: Bool {
        var properties = ggml_backend_dev_props()
        ggml_backend_dev_get_props(device, &properties)
        return properties.caps.buffer_from_host_ptr
    }

    func buffer(over memory: UnsafeRawBufferPointer, largestTensor: Int) -> ggml_backend_buffer_t? {
        ggml_backend_dev_buffer_from_host_ptr(
            device, UnsafeMutableRawPointer(mutating: memory.baseAddress), memory.count, largestTensor)
    }

    /// Runs a graph to its end.
    ///
    /// - Throws: `.internalError` if the backend fails.
    package func compute(_ graph: Graph) throws(DejaVuError) {
        let status = ggml_backend_graph_compute(raw, graph.raw)
        guard status == GGML_STATUS_SUCCESS else {
            throw GGMLLibrary.error(
                .internalError, "computing failed (\(String(cString: ggml_status_to_string(status))))")
        }
    }
}

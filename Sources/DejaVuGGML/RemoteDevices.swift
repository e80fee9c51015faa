internal import CGGML
package import DejaVuCore

/// ggml's RPC backend: devices of other processes, whose memory this one cannot address. There if ggml was built with
/// it; it has no authentication, so it is for loopback and tests.
package enum RemoteDevices {
    private typealias AddServer = @convention(c) (UnsafePointer<CChar>?) -> ggml_backend_reg_t?
    private typealias StartServer =
        @convention(c) (
            UnsafePointer<CChar>?, UnsafePointer<CChar>?, Int, Int, UnsafeMutablePointer<ggml_backend_dev_t?>?
        ) -> Void

    package static var isAvailable: Bool { registry != nil }

    private static var registry: ggml_backend_reg_t? {
        _ = GGMLLibrary.start
        return ggml_backend_reg_by_name("RPC")
    }

    private static func function(_ name: String) throws(DejaVuError) -> UnsafeMutableRawPointer {
        guard let registry, let address = ggml_backend_reg_get_proc_address(registry, name) else {
            throw DejaVuError(.unsupported, "ggml was built without its RPC backend")
        }
        return address
    }

    /// Makes the devices of a server known to `Backend(name:)`.
    ///
    /// - Returns: their names.
    /// - Throws: `.unsupported` if ggml was built without RPC; `.network` if nobody answers.
    package static func add(_ endpoint: String) throws(DejaVuError) -> [String] {
        let before = Set(Backend.names)
        let add = unsafeBitCast(try function("ggml_backend_rpc_add_server"), to: AddServer.self)
        guard let server = add(endpoint) else {
            throw GGMLLibrary.error(.network, "no RPC server answers at \(endpoint)")
        }
        ggml_backend_register(server)
        return Backend.names.filter { !before.contains($0) }
    }

    /// Serves the CPU to others until the process ends. Blocks its thread.
    ///
    /// - Throws: `.unsupported` if ggml was built without RPC.
    package static func serve(_ endpoint: String, threadCount: Int) throws(DejaVuError) {
        let start = unsafeBitCast(try function("ggml_backend_rpc_start_server"), to: StartServer.self)
        var devices: [ggml_backend_dev_t?] = [ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)]
        start(endpoint, nil, threadCount, devices.count, &devices)
    }
}
